"""ResNet-50 and ResNet-101 up to stride 16, the encoders of R50-AOTL, R101-AOTL and R50-DeAOTL.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; the stage at stride 32 is left out, as in
STM (Oh et al., ICCV 2019).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from propagators.networks.layers import FrozenBatchNorm2d


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut. The norm stands right after its convolution: it folds into it."""

    def __init__(self, c_in: int, width: int, stride: int):
        super().__init__()
        c_out = 4 * width
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = FrozenBatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = FrozenBatchNorm2d(c_out)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), FrozenBatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu_()


class ResNet(nn.Module):
    """Images to features of 256, 512, 1024 and 1024 channels at strides 4, 8, 16, 16; the last two are the same."""

    def __init__(self, blocks: tuple[int, int, int]):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm2d(64)
        self.layer1 = self._stage(64, 64, blocks[0], stride=1)
        self.layer2 = self._stage(256, 128, blocks[1], stride=2)
        self.layer3 = self._stage(512, 256, blocks[2], stride=2)

    @staticmethod
    def _stage(c_in: int, width: int, count: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            Bottleneck(c_in, width, stride), *(Bottleneck(4 * width, width, 1) for _ in range(count - 1))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image [B, 3, H, W] to four maps [B, C, H / stride, W / stride]."""
        x = self.bn1(self.conv1(x)).relu_()
        x4 = self.layer1(F.max_pool2d(x, 3, 2, padding=1))
        x8 = self.layer2(x4)
        x16 = self.layer3(x8)
        return [x4, x8, x16, x16]
