"""A plain vision transformer with global and windowed blocks: UNINEXT's ViT-Huge.

ConvMAE's last stage consists of the same blocks. Maps are [B, h, w, C] throughout.

Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection" (ViTDet), ECCV 2022; relative
positions as in Li et al., "MViTv2", CVPR 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import GELUMlp, Size

WINDOW = 14


def to_windows(x: Tensor, side: int) -> Tensor:
    """[B, h, w, C] to [B * windows, side, side, C], padded with zeros to whole windows.

    >>> to_windows(torch.arange(6.0).view(1, 2, 3, 1), 2)[:, :, :, 0].tolist()
    [[[0.0, 1.0], [3.0, 4.0]], [[2.0, 0.0], [5.0, 0.0]]]
    """
    _, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # [B, rows, side, columns, side, C]
    return x.transpose(2, 3).reshape(-1, side, side, c)


def from_windows(x: Tensor, size: Size) -> Tensor:
    """[B * windows, side, side, C] back to [B, h, w, C], without the padding."""
    (h, w), side = size, x.shape[1]
    rows, columns = -(-h // side), -(-w // side)
    x = x.view(-1, rows, columns, *x.shape[1:]).transpose(2, 3)  # [B, rows, side, columns, side, C]
    return x.flatten(3, 4).flatten(1, 2)[:, :h, :w]


def resize_positions(table: Tensor, size: Size) -> Tensor:
    """Learned positions [1, n * n, C] of a square image for a map of another size, bicubic: [1, h, w, C]."""
    side = round(table.shape[1] ** 0.5)
    grid = table.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if (side, side) != tuple(size):
        grid = F.interpolate(grid, size=size, mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1)


def relative(table: Tensor, n: int) -> Tensor:
    """The entry of each pair of n positions, by their offset: [n, n, d].

    Args:
        table: [2 * m - 1, d], one entry per offset from -(m - 1) to m - 1; resized linearly if m is not n.
        n: number of positions.
    """
    if len(table) != 2 * n - 1:
        table = F.interpolate(table.T[None], size=2 * n - 1, mode="linear")[0].T
    at = torch.arange(n, device=table.device)
    return table[at[:, None] - at + n - 1]


class ViTAttention(nn.Module):
    """Self-attention over a map, with a bias q . (row offset) + q . (column offset)."""

    def __init__(self, channels: int, heads: int, side: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, C] to the same."""
        _, h, w, _ = x.shape
        q, k, v = self.qkv(x).unflatten(3, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)  # each [B, heads, h, w, d]
        d = q.shape[-1]
        # The bias is itself a product of a query with a key, so it is computed by extra channels: the query's bias for
        # each row and column, and a key's row and column as one-hot vectors. This avoids the map of all pairs, which
        # for ViT-Huge at 480 x 864 would take 168 MB per frame and block.
        rows = torch.einsum("bnhwd,hkd->bnhwk", q, relative(self.rel_pos_h, h).to(q.dtype))
        columns = torch.einsum("bnhwd,wkd->bnhwk", q, relative(self.rel_pos_w, w).to(q.dtype))
        bias = torch.cat([rows, columns], -1) * d**0.5  # undoes the scale that attention applies
        row, column = torch.eye(h, device=x.device, dtype=q.dtype), torch.eye(w, device=x.device, dtype=q.dtype)
        where = torch.cat([row[:, None].expand(h, w, h), column.expand(h, w, w)], -1)
        q = torch.cat([q, bias], -1).flatten(2, 3)  # [B, heads, h * w, d + h + w]
        k = torch.cat([k, where.expand(*k.shape[:2], h, w, h + w)], -1).flatten(2, 3)
        v = F.pad(v, (0, h + w)).flatten(2, 3)  # fast kernels need values as wide as keys
        x = F.scaled_dot_product_attention(q, k, v, scale=d**-0.5)[..., :d]
        return self.proj(x.unflatten(2, (h, w)).permute(0, 2, 3, 1, 4).flatten(3))


class ViTBlock(nn.Module):
    """Attention inside windows or over the whole map, then the MLP.

    Args:
        channels, heads: of the attention.
        side: of the square map for which the tables of relative positions of a global block are made.
        windowed: limit attention to windows of 14 x 14.
    """

    def __init__(self, channels: int, heads: int, side: int, windowed: bool):
        super().__init__()
        self.windowed = windowed
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = ViTAttention(channels, heads, WINDOW if windowed else side)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = GELUMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, C] to the same."""
        y = self.norm1(x)
        if self.windowed:  # the zeros that pad the last windows take part in their attention, as in training
            y = to_windows(y, WINDOW)
        y = self.attn(y)
        if self.windowed:
            y = from_windows(y, tuple(x.shape[1:3]))
        x = x + y
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Frames to maps of C / 2, C and C channels at strides 8, 16 and 32; input sizes are multiples of 32.

    The defaults are UNINEXT's ViT-Huge. Its windowed blocks are those of ViT-Base in detectron2's recipe, so that 24 of
    32 blocks are global.
    """

    divisor = 32

    def __init__(
        self,
        channels: int = 1280,
        depth: int = 32,
        heads: int = 16,
        windowed: tuple[int, ...] = (0, 1, 3, 4, 6, 7, 9, 10),
    ):
        super().__init__()
        self.channels = (channels // 2, channels, channels)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, channels, 16, 16)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + 14 * 14, channels))  # the first belongs to a class token
        self.blocks = nn.ModuleList(ViTBlock(channels, heads, side=64, windowed=i in windowed) for i in range(depth))
        self.fpn1 = nn.Sequential(nn.ConvTranspose2d(channels, channels // 2, 2, 2))

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Frames [B, 3, H, W] to three maps [B, C, H / stride, W / stride]."""
        x = self.patch_embed.proj(frames).permute(0, 2, 3, 1)
        x = x + resize_positions(self.pos_embed[:, 1:], tuple(x.shape[1:3]))
        for block in self.blocks:
            x = block(x)
        x = x.permute(0, 3, 1, 2)
        return [self.fpn1(x), x, F.max_pool2d(x, 2)]
