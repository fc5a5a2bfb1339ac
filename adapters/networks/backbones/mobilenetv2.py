"""MobileNetV2: up to stride 16 the encoder of AOT-T/S/B/L and DeAOT-T/S/B/L, up to stride 32 that of `candidates`.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018; for stride 16, dilation
replaces the last stride, as in DeepLab.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.layers import FrozenBatchNorm2d

STAGES = (  # expansion, channels, blocks, stride, dilation of the first block and of the others
    (1, 16, 1, 1, 1, 1),
    (6, 24, 2, 2, 1, 1),
    (6, 32, 3, 2, 1, 1),
    (6, 64, 4, 2, 1, 1),
    (6, 96, 3, 1, 1, 1),
    (6, 160, 3, 1, 1, 2),  # stride 2 in the paper
    (6, 320, 1, 1, 2, 2),
)
STRIDE_32 = 160  # channels of the stage that has a stride of 2 in the paper


class ConvNormReLU(nn.Sequential):
    """Convolution, frozen batch norm, ReLU6."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1, groups: int = 1):
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2 * dilation, dilation, groups, bias=False)
        super().__init__(conv, FrozenBatchNorm2d(c_out), nn.ReLU6(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h / stride, w / stride].

        Once the norm is folded, inference on a CPU takes one kernel of oneDNN: the numbers of convolution and ReLU6
        without two more passes over the map, which limit this network.
        """
        conv, norm, _ = self
        plain = torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type)  # which does not know the kernel
        if plain or not isinstance(norm, nn.Identity) or not _fuses(x.device.type, x.dtype):
            return super().forward(x)
        geometry = conv.padding, conv.stride, conv.dilation, conv.groups
        return torch.ops.mkldnn._convolution_pointwise(x, conv.weight, conv.bias, *geometry, "hardtanh", [0.0, 6.0], "")


@lru_cache(maxsize=16)
def _fuses(device: str, dtype: torch.dtype) -> bool:
    """Whether oneDNN has the kernel; it computes in bfloat16 only where the processor does."""
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class InvertedResidual(nn.Module):
    """Expansion, depth-wise convolution and projection, with a shortcut if input and output have the same shape."""

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int, dilation: int):
        super().__init__()
        wide = c_in * expansion
        widen = [ConvNormReLU(c_in, wide, 1)] if expansion > 1 else []
        depthwise = ConvNormReLU(wide, wide, 3, stride, dilation, groups=wide)
        self.conv = nn.Sequential(*widen, depthwise, nn.Conv2d(wide, c_out, 1, bias=False), FrozenBatchNorm2d(c_out))
        self.shortcut = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h / stride, w / stride]."""
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Images to maps of 24, 32, 96 and 1280 channels at strides 4, 8, 16, 16.

    Args:
        dilated: whether dilation replaces the last stride; otherwise the last map has stride 32, as in the paper.
    """

    ends = (4, 7, 14, 19)  # the number of blocks of `features` before each map

    def __init__(self, dilated: bool = True):
        super().__init__()
        blocks, c_in = [ConvNormReLU(3, 32, stride=2)], 32
        for expansion, channels, count, stride, first, others in STAGES:
            if not dilated:
                stride, first, others = 2 if channels == STRIDE_32 else stride, 1, 1
            for i in range(count):
                blocks.append(
                    InvertedResidual(c_in, channels, expansion, stride if i == 0 else 1, first if i == 0 else others)
                )
                c_in = channels
        self.features = nn.Sequential(*blocks, ConvNormReLU(c_in, 1280, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image [B, 3, H, W] to four maps [B, C, H / stride, W / stride]."""
        maps = []
        for i, block in enumerate(self.features, start=1):
            x = block(x)
            if i in self.ends:
                maps.append(x)
        return maps
