"""A convolution of an upsampled map, computed on the smaller map."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]


def conv_of_upsampled(x: Tensor, weight: Tensor, size: Size, mode: str) -> Tensor:
    """Upsamples a map with aligned corners, then applies a 3x3 convolution with zero padding.

    Both are linear, and the upsampling is separable: channels are mixed on the smaller map, once for each of the nine
    taps, and two matrix products then upsample and sum the taps along the width and along the height. From stride 16 to
    stride 4 this takes about a sixth of the products.

    Args:
        x: [B, C, h, w].
        weight: [n, C, 3, 3].
        size: (H, W) of the upsampled map.
        mode: "bilinear" or "bicubic".

    Returns:
        [B, n, H, W].
    """
    (b, c, h, w), n = x.shape, len(weight)
    mixing = weight.permute(2, 3, 0, 1).reshape(9 * n, c)
    taps = (mixing @ x.flatten(2)).view(b, 3, 3, n, h, w)
    rows, columns = (taps_of(a, s, mode, x.device).to(taps.dtype) for a, s in zip((h, w), size, strict=True))
    wide = taps.permute(0, 1, 3, 4, 2, 5).reshape(b, 3, n, h, 3 * w) @ columns.t()  # [B, 3, n, h, W]
    return rows @ wide.transpose(1, 2).reshape(b, n, 3 * h, size[1])


@lru_cache(maxsize=16)
def taps_of(length: int, target: int, mode: str, device: torch.device) -> Tensor:
    """The matrices of an upsampling along one axis, shifted by -1, 0 and 1 pixels: [target, 3 * length]."""
    identity = torch.eye(length).view(1, length, length, 1)
    matrix = F.interpolate(identity, size=(target, 1), mode=mode, align_corners=True)[0, :, :, 0].t()
    padded = F.pad(matrix, (0, 0, 1, 1))
    return torch.cat([padded[i : i + target] for i in range(3)], 1).to(device)
