"""Dynamic masks: each query has its own weights of three 1x1 convolutions, 8 channels wide.

The input of the first convolution is the features of a pixel and its offset (x, y) from the query's centre.

Source: Tian et al., "Conditional Convolutions for Instance Segmentation" (CondInst), ECCV 2020.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import Size

WIDTH = 8


def parameters_per_query(channels: int) -> int:
    """Number of weights and biases per query for features of `channels` channels.

    >>> parameters_per_query(256), parameters_per_query(8)
    (2153, 169)
    """
    return (channels + 2) * WIDTH + WIDTH * WIDTH + WIDTH + WIDTH + WIDTH + 1


class Kernels(NamedTuple):
    """The three convolutions of K queries in B frames."""

    features: Tensor  # [B, K, 8, C], first layer
    offset: Tensor  # [B, K, 8, 2], first layer
    bias: Tensor  # [B, K, 8]
    middle: Tensor  # [B, K, 8, 8]
    middle_bias: Tensor  # [B, K, 8]
    last: Tensor  # [B, K, 1, 8]
    last_bias: Tensor  # [B, K, 1]

    @classmethod
    def split(cls, parameters: Tensor, channels: int, offset_first: bool = False) -> Kernels:
        """Splits the output of the controller.

        Args:
            parameters: [B, K, parameters_per_query(channels)], weights of all layers, then biases of all layers.
            channels: C.
            offset_first: whether the two offset channels come before the features (UNINEXT) or after them.
        """
        lengths = [(channels + 2) * WIDTH, WIDTH * WIDTH, WIDTH, WIDTH, WIDTH, 1]
        first, middle, last, *biases = parameters.float().split(lengths, -1)
        first = first.unflatten(-1, (WIDTH, channels + 2))
        if offset_first:
            offset, features = first.split([2, channels], -1)
        else:
            features, offset = first.split([channels, 2], -1)
        middle = middle.unflatten(-1, (WIDTH, WIDTH))
        return cls(features, offset, biases[0], middle, biases[1], last[..., None, :], biases[2])


def dynamic_masks(features: Tensor, kernels: Kernels, centre: Tensor, stride: int, conv: nn.Conv2d | None = None):
    """Mask logits of K queries in each of B frames, always in float32, because offsets are large numbers.

    Args:
        features: [B, C, h, w].
        kernels: of the queries.
        centre: [B, K, 2], (x, y) in pixels of the input.
        stride: pixels of the input per pixel of the features.
        conv: a 3x3 convolution still to be applied to the features. It is merged into the first layer of the queries,
            so that it computes 8 channels per query instead of C, which is much less work for few queries.

    Returns:
        float32 [B, K, h, w].
    """
    size: Size = features.shape[-2:]
    b, k = centre.shape[:2]
    with torch.autocast(features.device.type, enabled=False):
        pixels = features.float().flatten(2)  # [B, C, h * w]
        weight, bias = kernels.features.flatten(1, 2), kernels.bias
        if conv is None:
            x = weight @ pixels
        else:
            # 8 K maps for each of the 9 taps; `fold` shifts and sums them, which is what a convolution does
            taps = torch.einsum("bjc,cdyx->bjyxd", weight, conv.weight.float().flip(2, 3))  # [B, 8 K, 3, 3, C]
            x = F.fold(taps.flatten(1, 3) @ pixels, size, 3, padding=1)
            bias = bias + kernels.features @ conv.bias.float()
        y, x_ = (torch.arange(n, device=x.device) * stride + stride // 2 for n in size)
        across = kernels.offset[..., :1] * (centre[..., None, :1] - x_)  # [B, K, 8, w]
        down = kernels.offset[..., 1:] * (centre[..., None, 1:] - y)  # [B, K, 8, h]
        x = x.view(b, k, WIDTH, *size) + (across[..., None, :] + (down + bias[..., None])[..., None])
        x = kernels.middle @ x.relu_().flatten(3) + kernels.middle_bias[..., None]
        x = kernels.last @ x.relu_() + kernels.last_bias[..., None]
    return x.view(b, k, *size)
