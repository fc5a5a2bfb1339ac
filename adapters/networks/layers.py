"""Small layers that several networks share, and the two views of a feature map: tokens and map.

Tokens are [B, N, C] with N = h * w in row-major order; a map is [B, C, h, w]. Both are views of the same memory: tokens
viewed as a map are channels-last.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int]  # (height, width) of a map


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """Tokens [B, h * w, C] as a channels-last map [B, C, h, w], without a copy."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """A map [B, C, h, w] as tokens [B, h * w, C]; no copy if it is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation with fixed statistics and scale, stored as four buffers: an affine map per channel."""

    eps = 1e-5

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        scale, shift = self.affine()
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    def affine(self) -> tuple[Tensor, Tensor]:
        """(scale, shift), each [channels]: the normalisation is x * scale + shift."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


@torch.no_grad()
def fold_batch_norm(module: nn.Module) -> None:
    """Merges every frozen batch norm into the convolution before it, in place; the results stay the same."""
    children = list(module.named_children())
    for (_, conv), (name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
            scale, shift = norm.affine()
            conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), conv.weight.requires_grad)
            conv.bias = nn.Parameter(shift, conv.weight.requires_grad)
            setattr(module, name, nn.Identity())
    for _, child in children:
        fold_batch_norm(child)


class DropPath(nn.Module):
    """Stochastic depth: in training, drops the residual of a block for random rows of a batch and rescales the others.

    Attributes:
        rate: the probability of dropping a row; 0 by default.

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.
    """

    rate = 0.0

    def forward(self, x: Tensor, branches: int = 1) -> Tensor:
        """[B, ..., C] to the same.

        Args:
            x: the residual of the block.
            branches: number of equal parts of the channels, which are dropped independently.
        """
        kept = self.kept(x, branches)
        return x if kept is None else x * kept.repeat_interleave(x.shape[-1] // branches, -1)

    def kept(self, x: Tensor, branches: int = 1) -> Tensor | None:
        """The weights [B, ..., branches] of rows and branches of x [B, ..., C]; None if all of them are 1."""
        if not self.training or not self.rate:
            return None
        shape = [len(x), *[1] * (x.dim() - 2), branches]
        return torch.rand(shape, device=x.device).ge(self.rate).to(x.dtype) / (1 - self.rate)


class MLP(nn.Module):
    """Linear layers with ReLUs between them.

    Args:
        widths: channels before, between and after the layers.
    """

    def __init__(self, *widths: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """[..., widths[0]] to [..., widths[-1]]."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class GELUMlp(nn.Module):
    """Two linear layers with an exact GELU between them, the feed-forward part of vision transformers."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to the same."""
        return self.fc2(F.gelu(self.fc1(x)))


class FeedForward(nn.Module):
    """The feed-forward part of a transformer layer, with the parameter names of `torch.nn.TransformerEncoderLayer`."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)

    def feed_forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to the same; on a CPU in chunks of tokens, which saves a fifth of the time and much memory."""
        parts = (x,) if x.is_cuda else x.flatten(0, 1).split(4096)
        chunks = [self.linear2(F.relu(self.linear1(part), inplace=True)) for part in parts]
        return torch.cat(chunks).view_as(x) if len(chunks) > 1 else chunks[0].view_as(x)


def heads_of(channels: int) -> int:
    """Number of attention heads: eight, or fewer in a narrow network, so that each has at least 16 channels.

    >>> heads_of(256), heads_of(64)
    (8, 4)
    """
    return max(1, min(8, channels // 16))


class Attention(nn.Module):
    """Multi-head attention with the parameter names of `torch.nn.MultiheadAttention`; no attention map is stored."""

    def __init__(self, channels: int, heads: int | None = None):
        super().__init__()
        self.heads = heads or heads_of(channels)
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * channels, channels)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of the query to the keys.

        Args:
            query: [B, N, C].
            key, value: [B, M, C], or [1, M, C] for all rows.
            mask: bool, True where attention is allowed, or float to be added; expands to [B, heads, N, M].

        Returns:
            [B, N, C].
        """
        parts = zip((query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q, k, v = (F.linear(x, w, b).unflatten(2, (self.heads, -1)).transpose(1, 2) for x, w, b in parts)
        k, v = (x.expand(len(q), -1, -1, -1) for x in (k, v))
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # [B, heads, N, C / heads]
        return self.out_proj(x.transpose(1, 2).flatten(2))


def sine_wave(position: Tensor, channels: int) -> Tensor:
    """Positions [...] as alternating sines and cosines [..., channels] of decreasing frequencies."""
    # In float32, whatever the default dtype is: UNINEXT's positions of padding are large numbers (see `Layout.of`), and
    # the sine of a large number depends on how its last digits are rounded.
    period = 10000 ** (2 * (torch.arange(channels, dtype=torch.float32, device=position.device) // 2) / channels)
    angle = position[..., None] / period
    return torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], -1).flatten(-2)


def sine_map(size: Size, channels: int, device: torch.device) -> Tensor:
    """Embeddings [h * w, channels] of the cells of a map: rows in the first half of channels, columns in the second.

    Source: Carion et al., DETR, ECCV 2020, as normalised by Deformable DETR (Zhu et al., ICLR 2021).
    """

    def wave(n: int) -> Tensor:
        centre = torch.arange(n, dtype=torch.float32, device=device) + 0.5
        return sine_wave(centre / (n + 1e-6) * (2 * math.pi), channels // 2)

    (h, w), (rows, columns) = size, map(wave, size)
    return torch.cat([rows[:, None].expand(h, w, -1), columns.expand(h, w, -1)], 2).flatten(0, 1)


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """The logit of x in 0..1; both x and 1 - x are clamped to at least eps."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))
