"""ResNet-50 with detectron2's parameter names, a backbone of UNINEXT; torchvision's names are in `resnet.py`.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import FrozenBatchNorm2d


class ConvNorm(nn.Conv2d):
    """A convolution that contains its frozen batch norm and applies both in one step."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1):
        super().__init__(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = FrozenBatchNorm2d(c_out)
        self.norm.running_var -= self.norm.eps  # as in detectron2, so that an untrained norm is the identity

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h / stride, w / stride]."""
        scale, shift = self.norm.affine()
        return F.conv2d(x, self.weight * scale.view(-1, 1, 1, 1), shift, self.stride, self.padding)


class Detectron2Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions with a skip connection."""

    def __init__(self, c_in: int, width: int, stride: int):
        super().__init__()
        self.shortcut = ConvNorm(c_in, 4 * width, 1, stride) if c_in != 4 * width else nn.Identity()
        self.conv1 = ConvNorm(c_in, width, 1)
        self.conv2 = ConvNorm(width, width, 3, stride)
        self.conv3 = ConvNorm(width, 4 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, 4 * width, h / stride, w / stride]."""
        y = self.conv3(self.conv2(self.conv1(x).relu_()).relu_())
        return (y + self.shortcut(x)).relu_()


class Detectron2ResNet(nn.Module):
    """Frames to maps of 512, 1024 and 2048 channels at strides 8, 16 and 32, sizes rounded up."""

    channels = (512, 1024, 2048)
    divisor = 1  # inputs need no padding

    def __init__(self, depths: tuple[int, int, int, int] = (3, 4, 6, 3)):
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv1 = ConvNorm(3, 64, 7, 2)
        c_in = 64
        for i, depth in enumerate(depths):
            width = 64 << i
            first = Detectron2Bottleneck(c_in, width, stride=1 if i == 0 else 2)
            rest = (Detectron2Bottleneck(4 * width, width, stride=1) for _ in range(depth - 1))
            self.add_module(f"res{i + 2}", nn.Sequential(first, *rest))
            c_in = 4 * width

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Frames [B, 3, H, W] to three maps [B, C, h, w]."""
        x = F.max_pool2d(self.stem.conv1(frames).relu_(), 3, 2, padding=1)
        x8 = self.res3(self.res2(x))
        x16 = self.res4(x8)
        return [x8, x16, self.res5(x16)]
