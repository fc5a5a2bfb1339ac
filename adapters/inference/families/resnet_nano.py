"""The small ResNet as a network to pre-train; ReferFormer, MUTR, SOC and URVOS then start from its weights."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.checkpoints.family import Family


class ResNetNanoFamily(Family):
    """The backbone `resnet_nano`; its weights alone are not a network that a recipe can run."""

    kind = "backbone"
    runs = False
    training = "rvos_ensemble.adapters.training.pretrain_backbone"
