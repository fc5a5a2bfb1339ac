"""URVOS."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.family import Family


class URVOS(Family):
    """URVOS."""

    kind = "segmenter"
    training = "rvos_ensemble.adapters.training.urvos"
