"""Small layers that several networks share, and the two views of a feature map: tokens and map.

Tokens are [B, N, C] with N = h * w in row-major order; a map is [B, C, h, w]. The same memory serves both: tokens seen
as a map are channels-last.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens [B, h * w, C] as a channels-last map [B, C, h, w], without a copy."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """A map [B, C, h, w] as tokens [B, h * w, C]; no copy where it is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and scale never change: four buffers, an affine map per channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.eps = 1e-5
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels) - self.eps)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.affine()
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    def affine(self) -> tuple[Tensor, Tensor]:
        """(scale, shift), each [channels]: the normalisation is x * scale + shift."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


@torch.no_grad()
def fold_batch_norm(module: nn.Module) -> None:
    """Merges every frozen batch norm that follows a convolution into it, in place: the same function, one pass less."""
    children = list(module.named_children())
    for (_, conv), (name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
            scale, shift = norm.affine()
            conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), conv.weight.requires_grad)
            conv.bias = nn.Parameter(shift, conv.weight.requires_grad)
            setattr(module, name, nn.Identity())
    for _, child in children:
        fold_batch_norm(child)


class ConvGN(nn.Module):
    """Convolution, then group normalisation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, groups: int = 8):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
        self.gn = nn.GroupNorm(groups, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.gn(self.conv(x))


class DepthwiseConv(nn.Module):
    """5x5 convolution of each channel by itself, on tokens."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        return to_tokens(self.conv(to_map(tokens, size)))


class NormGELUConv(DepthwiseConv):
    """The activation of AOT's feed-forward: group norm, exact GELU (not the tanh one), 5x5 depth-wise convolution."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.gn = nn.GroupNorm(32, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        return to_tokens(self.conv(F.gelu(self.gn(to_map(tokens, size)))))


class TokenGroupNorm(nn.Module):
    """Group normalisation of tokens [B, N, C], statistics over N and the channels of a group."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.gn = nn.GroupNorm(groups, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.gn(tokens.transpose(1, 2)).transpose(1, 2)


def sine_position(size: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """2-D sine embedding of token positions, rows in the first half of the channels, columns in the second.

    Returns:
        float32 [1, h * w, channels].

    Source: Carion et al., DETR, ECCV 2020, with coordinates normalised to [0, 2 pi].
    """
    half = channels // 2
    period = 10000 ** (2 * (torch.arange(half, device=device) // 2) / half)  # [half]

    def wave(n: int) -> Tensor:
        angle = torch.arange(n, dtype=torch.float32, device=device) / (n - 1 + 1e-6) * (2 * torch.pi)
        angle = angle[:, None] / period  # [n, half]
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], 2).flatten(1)

    h, w = size
    rows, columns = wave(h)[:, None].expand(h, w, half), wave(w)[None].expand(h, w, half)
    return torch.cat([rows, columns], 2).view(1, h * w, channels)
