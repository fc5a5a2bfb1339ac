"""A bilinear upsampling by two and the 3x3 convolution after it, computed on the smaller map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UpsampleConv(nn.Module):
    """Bilinear upsampling to (2 h - 1, 2 w - 1) with aligned corners, then a 3x3 convolution without bias.

    Along one axis the upsampled map is u[2 i] = x[i], u[2 i + 1] = (x[i] + x[i + 1]) / 2, so a filter (a, b, c) of u is

        at 2 i      a/2 x[i - 1] + (a/2 + b + c/2) x[i] + c/2 x[i + 1]
        at 2 i + 1  (a + b/2) x[i] + (b/2 + c) x[i + 1]

    These are 3 and 2 products instead of 3 and 3; in two dimensions 25 instead of 36 for four pixels, without a pass
    over the upsampled map. The zero padding of u is equivalent to x[-1] = -x[0].

    Args:
        weight: [C_out, C, 3, 3].
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        for y, rows in enumerate(_phases(weight, 2)):
            for x, kernel in enumerate(_phases(rows, 3)):
                kernel = kernel.contiguous(memory_format=torch.channels_last)
                self.register_buffer(f"kernel_{y}{x}", kernel, persistent=False)

    def forward(self, x: Tensor, add: Tensor) -> Tensor:
        """Upsamples and convolves x, then adds a map.

        Args:
            x: [B, C, h, w], h and w at least 2.
            add: [1 or B, C_out, 2 h - 1, 2 w - 1].

        Returns:
            [B, C_out, 2 h - 1, 2 w - 1].
        """
        b, (h, w) = len(x), x.shape[2:]
        out = add.expand(b, -1, -1, -1).clone(memory_format=torch.channels_last)
        wide = torch.cat([-x[:, :, :1], x, -x[:, :, -1:]], 2)
        wide = torch.cat([-wide[..., :1], wide, -wide[..., -1:]], 3)  # [B, C, h + 2, w + 2]
        out[:, :, 0::2, 0::2] += F.conv2d(wide, self.kernel_00)
        out[:, :, 0::2, 1::2] += F.conv2d(wide[..., 1 : w + 1], self.kernel_01)
        out[:, :, 1::2, 0::2] += F.conv2d(wide[:, :, 1 : h + 1], self.kernel_10)
        out[:, :, 1::2, 1::2] += F.conv2d(x, self.kernel_11)
        return out


def _phases(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The filters for even and for odd positions along an axis."""
    a, b, c = weight.unbind(dim)
    return torch.stack([a / 2, a / 2 + b + c / 2, c / 2], dim), torch.stack([a + b / 2, b / 2 + c], dim)
