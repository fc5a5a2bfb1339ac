"""The small ResNet, pre-trained on its own."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.family import Family


class ResNetNano(Family):
    """The small ResNet, pre-trained on its own."""

    kind = "backbone"
    training = "rvos_ensemble.adapters.training.pretrain_backbone"
