"""Swin Transformer for images, and Video Swin: the same blocks, with windows of 7x7 or of 8 frames x 7x7.

Tokens are [B, S, C] with S = depth * h * w; images have depth 1. A block changes them in place, a few windows at a
time: every token belongs to one window, so no rolled, padded or partitioned copies of a clip are needed, only the
indices of the tokens of each window. If gradients are needed, the feed-forward part returns new tokens instead.

Source: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021; Liu et al.,
"Video Swin Transformer", CVPR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import DropPath, GELUMlp

Volume = tuple[int, int, int]  # (frames, height, width)


def to_windows(x: Tensor, window: Volume) -> Tensor:
    """[d, h, w], multiples of the window, to [windows, positions in a window]."""
    for axis, size in enumerate(window):
        x = x.unflatten(2 * axis, (-1, size))
    return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, window[0] * window[1] * window[2])


@dataclass(frozen=True)
class Windows:
    """Windows that share a mask.

    Args:
        cells: int64 [windows, n], the indices of their tokens; S means padding.
        padded: whether any of them is padding.
        mask: [n, n], -100 for pairs of positions that only the shift made neighbours; None without such pairs.
    """

    cells: Tensor
    padded: bool
    mask: Tensor | None


@lru_cache(maxsize=32)
def partition(size: Volume, window: Volume, shift: Volume, device: torch.device) -> list[Windows]:
    """All windows of a volume, grouped by their masks, of which there are at most 8.

    Args:
        size: of the volume of tokens, d * h * w.
        window: its size; the volume is padded to a multiple at the far side.
        shift: offset of the first window; the tokens before it are rolled to the far side.
        device: of the result, which is computed on the CPU.
    """
    d, h, w = size
    padding = [-length % extent for length, extent in zip(size, window, strict=True)]
    cell = torch.arange(d * h * w, device="cpu").view(size)
    cell = F.pad(cell, (0, padding[2], 0, padding[1], 0, padding[0]), value=d * h * w)
    label = torch.zeros_like(cell)
    for axis, (extent, s) in enumerate(zip(window, shift, strict=True)):
        length = cell.shape[axis]
        position = torch.arange(length, device="cpu")
        region = (position >= length - extent).long() + (position >= length - s) if s else position * 0
        label = label * 3 + region.view([-1 if i == axis else 1 for i in range(3)])
    cell = to_windows(cell.roll([-s for s in shift], (0, 1, 2)), window)
    kinds, kind_of = to_windows(label, window).unique(dim=0, return_inverse=True)
    groups = []
    for i, kind in enumerate(kinds):
        cells, apart = cell[kind_of == i], kind[:, None] != kind
        mask = -100.0 * apart.float().to(device) if apart.any() else None
        groups.append(Windows(cells.to(device), bool((cells == d * h * w).any()), mask))
    return groups


class WindowAttention(nn.Module):
    """Self-attention inside windows, with a learned bias per relative position."""

    def __init__(self, channels: int, heads: int, window: Volume):
        super().__init__()
        self.heads, self.window = heads, window
        d, h, w = (2 * extent - 1 for extent in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(d * h * w, heads))
        steps = [
            torch.arange(extent, device="cpu") for extent in window
        ]  # never on the meta device: small files omit the index
        grid = torch.meshgrid(*steps, indexing="ij")
        z, y, x = (g.flatten()[:, None] - g.flatten() + extent - 1 for g, extent in zip(grid, window, strict=True))
        self.register_buffer("relative_position_index", (z * h + y) * w + x)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def bias(self, n: int) -> Tensor:
        """[1, heads, n, n] for windows of n positions; smaller windows use the first n, as in the official code."""
        return self.relative_position_bias_table[self.relative_position_index[:n, :n]].permute(2, 0, 1)[None]

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Windows [W, n, C], bias [1, heads, n, n], to [W, n, C]."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [W, heads, n, d]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(x.transpose(1, 2).flatten(2))


class SwinBlock(nn.Module):
    """Attention in windows (every second block shifts them by half a window), then the MLP."""

    def __init__(self, channels: int, heads: int, window: Volume, shifted: bool):
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = GELUMlp(channels)
        self.drop_path = DropPath()

    def run(self, x: Tensor, size: Volume, window: Volume, shift: Volume, step: int) -> Tensor:
        """Changes tokens [B, S + 1, C] in place, about `step` per batch row at a time; the last one is a placeholder.

        Args:
            x: tokens of the volume, then the placeholder that padding refers to.
            size: of the volume.
            window, shift: of this stage; the shift is only used by every second block.
            step: tokens per pass.

        Returns:
            x itself, or new tokens if gradients are needed.
        """
        shift = shift if self.shifted else (0, 0, 0)
        last, n = x.shape[1] - 1, window[0] * window[1] * window[2]
        bias, kept = self.attn.bias(n), self.drop_path.kept(x)
        for group in partition(size, window, shift, x.device):
            biased = bias if group.mask is None else bias + group.mask
            for cells in group.cells.split(max(1, step // n)):
                rows = cells.flatten()
                tokens = x.index_select(1, rows)  # [B, windows * n, C]
                y = self.norm1(tokens)
                if group.padded:
                    y = y.masked_fill((rows == last)[:, None], 0)  # takes part in the attention, as in training
                y = self.attn(y.view(-1, n, y.shape[2]), biased).view_as(tokens)
                x.index_copy_(1, rows, tokens + (y if kept is None else y * kept))
        if x.requires_grad or kept is not None:
            return x + self.drop_path(self.mlp(self.norm2(x)))
        for start in range(0, x.shape[1], step):
            tokens = x[:, start : start + step]
            tokens += self.mlp(self.norm2(tokens))
        return x


class PatchMerging(nn.Module):
    """Halves the resolution: four neighbours become one position of twice the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, h, w, C] to [N, h / 2, w / 2, 2 C]."""
        _, h, w, _ = x.shape
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        return self.reduction(self.norm(x))


class SwinStage(nn.Module):
    """Blocks at one resolution, and (for images) the downsampling to the next."""

    def __init__(self, channels: int, depth: int, heads: int, window: Volume, downsample: nn.Module | None):
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(SwinBlock(channels, heads, window, i % 2 == 1) for i in range(depth))
        self.downsample = downsample

    def forward(self, x: Tensor, shrink: bool, step: int) -> Tensor:
        """[B, d, h, w, C] to the same.

        Args:
            x: tokens of the volume.
            shrink: limit windows to the size of the volume, without a shift along axes that they cover.
            step: tokens per pass.
        """
        size = tuple(x.shape[1:4])
        small = [shrink and length <= extent for length, extent in zip(size, self.window, strict=True)]
        window = tuple(length if s else extent for s, length, extent in zip(small, size, self.window, strict=True))
        shift = tuple(0 if s else extent // 2 for s, extent in zip(small, self.window, strict=True))
        tokens = F.pad(x.flatten(1, 3), (0, 0, 0, 1))
        for block in self.blocks:
            tokens = block.run(tokens, size, window, shift, step)
        return tokens[:, :-1].unflatten(1, size)


class SwinPatchEmbed(nn.Module):
    """Patches of 4x4 pixels to tokens; the image is padded to whole patches."""

    def __init__(self, channels: int, video: bool):
        super().__init__()
        self.proj = nn.Conv3d(3, channels, (1, 4, 4), (1, 4, 4)) if video else nn.Conv2d(3, channels, 4, 4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, H / 4, W / 4, C]."""
        image = F.pad(image, (0, -image.shape[3] % 4, 0, -image.shape[2] % 4))
        weight = self.proj.weight
        if weight.dim() == 5:  # a patch of a video is one frame deep
            weight = weight[:, :, 0]
        return self.norm(F.conv2d(image, weight, self.proj.bias, 4).permute(0, 2, 3, 1))


class Swin(nn.Module):
    """Images, or the frames of a clip, to maps of C, 2C, 4C, 8C channels at strides 4, 8, 16, 32, one per stage.

    Args:
        channels: C.
        heads: attention heads per stage.
        depths: blocks per stage.
        video: the frames are a clip: windows span 8 frames, and the maps are not normalised.
    """

    def __init__(self, channels: int, heads: tuple[int, ...], depths: tuple[int, ...], video: bool = False):
        super().__init__()
        self.video = video
        self.channels = [channels << i for i in range(len(depths))]
        self.patch_embed = SwinPatchEmbed(channels, video)
        window = (8, 7, 7) if video else (1, 7, 7)
        merges = [*(PatchMerging(c) for c in self.channels[:-1]), None]
        # the checkpoints of the two have the downsampling in different places
        inside = [None] * len(merges) if video else merges
        stages = zip(self.channels, depths, heads, inside, strict=True)
        self.layers = nn.ModuleList(SwinStage(c, depth, h, window, down) for c, depth, h, down in stages)
        if video:
            self.downsamples = nn.ModuleList(merges[:-1])
        else:
            for i, c in enumerate(self.channels):
                self.add_module(f"norm{i}", nn.LayerNorm(c))

    def forward(self, image: Tensor, frames_per_step: int | None = None, clips: int = 1) -> list[Tensor]:
        """Images or a clip [T, 3, H, W] to one map [T, C, H / stride, W / stride] per stage.

        Args:
            image: normalised.
            frames_per_step: of a clip, the number of frames whose windows are processed at once; results do not change.
            clips: number of clips of equal length in `image`, one after the other.
        """
        x, maps = self.patch_embed(image), []
        for i, stage in enumerate(self.layers):
            _, h, w, _ = x.shape
            if self.video:
                x = stage(x.unflatten(0, (clips, -1)), True, h * w * (frames_per_step or len(x))).flatten(0, 1)
                maps.append(x.permute(0, 3, 1, 2))
            else:
                x = stage(x[:, None], False, h * w + 1)[:, 0]
                maps.append(getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2))
            if i + 1 < len(self.layers):
                x = (self.downsamples[i] if self.video else stage.downsample)(x)
        return maps
