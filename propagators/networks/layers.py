"""Small layers of AOT and DeAOT; layers that other networks use too are in `adapters.networks.layers`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import sine_wave, to_map, to_tokens


class ConvGroupNorm(nn.Module):
    """Convolution, then group normalisation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, groups: int = 8):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
        self.gn = nn.GroupNorm(groups, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h, w]."""
        return self.gn(self.conv(x))


class DepthwiseConv(nn.Module):
    """5x5 depth-wise convolution of tokens."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)

    def forward(self, tokens: Tensor, size: tuple[int, int], channels: slice = slice(None)) -> Tensor:
        """Tokens [B, h * w, C] to the same shape.

        Args:
            tokens: of all channels, or of those in `channels`.
            size: (h, w).
            channels: the channels of the layer that the tokens have.
        """
        weight = self.conv.weight[channels]
        return to_tokens(F.conv2d(to_map(tokens, size), weight, padding=2, groups=len(weight)))


class NormGELUConv(DepthwiseConv):
    """The activation of AOT's feed-forward: group norm, exact GELU (not the tanh one), 5x5 depth-wise convolution."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.gn = nn.GroupNorm(32, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens [B, h * w, C] to the same shape; size: (h, w)."""
        return to_tokens(self.conv(F.gelu(self.gn(to_map(tokens, size)))))


class TokenGroupNorm(nn.Module):
    """Group normalisation of tokens, with statistics over all N tokens and the channels of a group."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.gn = nn.GroupNorm(groups, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, C] to the same shape."""
        return self.gn(tokens.transpose(1, 2)).transpose(1, 2)


def sine_position(size: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """2-D sine embedding of token positions: rows in the first half of the channels, columns in the second half.

    Returns:
        float32 [1, h * w, channels].

    Source: Carion et al., DETR, ECCV 2020, with coordinates normalised to [0, 2 pi].
    """
    half = channels // 2

    def wave(n: int) -> Tensor:
        position = torch.arange(n, dtype=torch.float32, device=device) / (n - 1 + 1e-6)
        return sine_wave(position * (2 * torch.pi), half)

    h, w = size
    rows, columns = wave(h)[:, None].expand(h, w, half), wave(w)[None].expand(h, w, half)
    return torch.cat([rows, columns], 2).view(1, h * w, channels)
