"""The small ConvNeXt as a network to pre-train; UNINEXT then starts from its weights."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.checkpoints.family import Family


class ConvNeXtNanoFamily(Family):
    """The backbone `convnext_nano`; its weights alone are not a network that a recipe can run."""

    kind = "backbone"
    runs = False
    training = "rvos_ensemble.adapters.training.pretrain_backbone"
