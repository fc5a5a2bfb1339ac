"""The encoder of the nano variants: a small residual network up to stride 16.

Plain 3x3 convolutions with few channels, which train twice as fast on a CPU as a MobileNetV2 of half width.
"""

from __future__ import annotations

from torch import Tensor, nn

from rvos_ensemble.adapters.networks.backbones.resnet import BasicBlock
from rvos_ensemble.adapters.networks.layers import FrozenBatchNorm2d

STEM = 16  # channels at stride 2
STAGES = ((24, 1), (48, 2), (96, 2))  # channels and blocks at strides 4, 8, 16


class ResNetNano(nn.Module):
    """Images to maps of 24, 48, 96 and, for the transformer, again 96 channels at strides 4, 8, 16, 16."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM, 3, 2, padding=1, bias=False)
        self.bn1 = FrozenBatchNorm2d(STEM)
        c_in = STEM
        for i, (channels, blocks) in enumerate(STAGES, start=1):
            more = (BasicBlock(channels, channels, 1) for _ in range(blocks - 1))
            self.add_module(f"layer{i}", nn.Sequential(BasicBlock(c_in, channels, 2), *more))
            c_in = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image [B, 3, H, W] to four maps [B, C, H / stride, W / stride]."""
        x = self.bn1(self.conv1(x)).relu_()
        x4 = self.layer1(x)
        x8 = self.layer2(x4)
        x16 = self.layer3(x8)
        return [x4, x8, x16, x16]
