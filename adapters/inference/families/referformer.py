"""ReferFormer."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.family import Family


class ReferFormer(Family):
    """ReferFormer."""

    kind = "segmenter"
    training = "rvos_ensemble.adapters.training.segmenters"
