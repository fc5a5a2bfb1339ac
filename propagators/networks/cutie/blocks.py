"""Blocks that several parts of Cutie share."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResBlock(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, with a skip connection."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.downsample = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h, w]."""
        y = self.conv1(F.relu(x))
        return self.conv2(y.relu_()).add_(self.downsample(x))


class ChannelAttentionBlock(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, whose channels are weighted before the skip connection.

    Source: Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", CVPR 2020; its
    eq. 12 is the width of the convolution over channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        width = int((math.log2(channels) + 1) // 2) | 1  # the next odd number
        self.conv = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        y = self.conv1(F.relu(x))
        y = self.conv2(y.relu_())
        weight = self.conv(y.mean((2, 3))[:, None]).sigmoid()[:, 0, :, None, None]  # [B, C, 1, 1]
        return y.mul_(weight).add_(x)


class FeatureFusion(nn.Module):
    """Adds features of the frame, which all sequences share, to those of each sequence.

    Args:
        shared: channels of the features of the frame.
        own: channels of the features of a sequence.
        channels: of the result.
    """

    def __init__(self, shared: int, own: int, channels: int):
        super().__init__()
        self.distributor = nn.ModuleDict(
            {"x_transform": nn.Conv2d(shared, channels, 1), "g_transform": nn.Conv2d(own, channels, 1)}
        )
        self.block1 = ChannelAttentionBlock(channels)
        self.block2 = ChannelAttentionBlock(channels)

    def project(self, x: Tensor) -> Tensor:
        """The part that all sequences share: features of the frame, [1, shared, h, w] to [1, channels, h, w]."""
        return self.distributor["x_transform"](x)

    def forward(self, projected: Tensor, own: Tensor) -> Tensor:
        """`project`'s result and features [B, own, h, w] to [B, channels, h, w]."""
        return self.block2(self.block1(self.distributor["g_transform"](own) + projected))


def in_float32(x: Tensor) -> AbstractContextManager:
    """The context in which the device of x does not compute in lower precision."""
    return torch.autocast(x.device.type, enabled=False)


def shrink(x: Tensor, factor: int) -> Tensor:
    """Maps [B, C, h, w] to the means of cells, [B, C, h / factor, w / factor]."""
    return F.avg_pool2d(x, factor)


def grow(x: Tensor, factor: int) -> Tensor:
    """Maps [B, C, h, w], interpolated to [B, C, h * factor, w * factor]."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
