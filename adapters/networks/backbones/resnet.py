"""ResNet-18, ResNet-50 and ResNet-101, with frozen batch norms and the parameter names of torchvision.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import FrozenBatchNorm2d


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection, the block of ResNet-18."""

    expansion = 1

    def __init__(self, c_in: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = FrozenBatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm2d(width)
        self.downsample = None
        if stride != 1 or c_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, width, 1, stride, bias=False), FrozenBatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, width, h / stride, w / stride]."""
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu_()


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with a skip connection; each norm directly follows its convolution, to be folded."""

    expansion = 4

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
        """Map [B, c_in, h, w] to [B, 4 * width, h / stride, w / stride]."""
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu_()


class ResNet(nn.Module):
    """Images to maps at strides 4, 8, 16, 32, of 256, 512, 1024, 2048 channels in the published deep ones.

    Args:
        blocks: number of blocks per stage; (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101.
        stem: channels before the first stage, whose maps have `block.expansion` times as many; 64 in all of them.
        block: `Bottleneck`, or `BasicBlock` for ResNet-18, whose stages have (2, 2, 2, 2) blocks.
        inputs: channels of the image.

    Attributes:
        stages: the names of the stages, for checkpoints that call them otherwise.
    """

    stages: ClassVar[tuple[str, ...]] = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        blocks: tuple[int, ...],
        stem: int = 64,
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck,
        inputs: int = 3,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, stem, 7, 2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm2d(stem)
        self.channels, c_in = [], stem
        for i, count in enumerate(blocks):
            width = stem << i
            first = block(c_in, width, 1 if i == 0 else 2)
            c_in = block.expansion * width
            self.add_module(self.stages[i], nn.Sequential(first, *(block(c_in, width, 1) for _ in range(count - 1))))
            self.channels.append(c_in)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image [B, inputs, H, W] to one map [B, C, H / stride, W / stride] per stage."""
        return self.from_stem(self.conv1(x))

    def from_stem(self, x: Tensor) -> list[Tensor]:
        """The same from the output of the first convolution, [B, stem, H / 2, W / 2]."""
        x = F.max_pool2d(self.bn1(x).relu_(), 3, 2, padding=1)
        maps = []
        for name in self.stages[: len(self.channels)]:
            x = getattr(self, name)(x)
            maps.append(x)
        return maps
