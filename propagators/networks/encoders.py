"""The encoders of AOT and DeAOT: images to four maps at strides 4, 8, 16 and, for the transformer, 16 again.

ResNet and Swin are used without their stage at stride 32, as in STM (Oh et al., ICCV 2019).
"""

from __future__ import annotations

from torch import Tensor, nn

from rvos_ensemble.adapters.networks.backbones.mobilenetv2 import MobileNetV2
from rvos_ensemble.adapters.networks.backbones.resnet import ResNet
from rvos_ensemble.adapters.networks.backbones.swin import Swin
from rvos_ensemble.propagators.networks.resnet_nano import ResNetNano


class ResNet16(ResNet):
    """ResNet up to stride 16."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image [B, 3, H, W] to four maps [B, C, H / stride, W / stride]."""
        maps = super().forward(x)
        return [*maps, maps[-1]]


class Swin16(Swin):
    """Swin up to stride 16."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image [B, 3, H, W] to four maps [B, C, H / stride, W / stride]."""
        maps = super().forward(x)
        return [*maps, maps[-1]]


STEM_AND_STAGE = {  # prefixes of their weights' names, by kind of encoder
    "mobilenetv2": (("features.0.",), ("features.1.", "features.2.", "features.3.")),
    "resnet": (("conv1.", "bn1."), ("layer1.",)),
    "swin": (("patch_embed.",), ("layers.0.blocks.",)),  # its downsampling belongs to the next stage
}


def freeze(encoder: nn.Module, name: str, parts: int) -> None:
    """Excludes the first parts of an encoder from training.

    Args:
        encoder: one of `ENCODERS`.
        name: its key in `ENCODERS`.
        parts: 0 for none, 1 for the stem, 2 for stem and first stage.
    """
    kind = next(kind for kind in STEM_AND_STAGE if name.startswith(kind))
    prefixes = sum(STEM_AND_STAGE[kind][:parts], ())
    for key, weight in encoder.named_parameters():
        if key.startswith(prefixes):
            weight.requires_grad_(False)


ENCODERS = {
    "mobilenetv2": MobileNetV2,
    "resnet50": lambda: ResNet16((3, 4, 6)),
    "resnet101": lambda: ResNet16((3, 4, 23)),
    "swin_base": lambda: Swin16(128, (4, 8, 16), (2, 2, 18)),
    "swin_large": lambda: Swin16(192, (6, 12, 24), (2, 2, 18)),
    "resnet_nano": ResNetNano,
}
