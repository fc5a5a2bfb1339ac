"""UNINEXT."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.family import Family


class UNINEXT(Family):
    """UNINEXT."""

    kind = "segmenter"
    training = "rvos_ensemble.adapters.training.uninext"
