"""Swin Transformer up to stride 16, the encoder of SwinB and SwinL variants.

Source: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021; windows of
7x7, the stage at stride 32 is left out. Maps are [B, h, w, C] throughout.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 7


def relative_index() -> Tensor:
    """[49, 49] indices of the bias of each pair of positions in a window: one per offset (dy, dx), 169 of them."""
    grid = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
    dy, dx = grid[:, :, None] - grid[:, None, :] + (WINDOW - 1)
    return dy * (2 * WINDOW - 1) + dx


def to_windows(x: Tensor) -> Tensor:
    """[B, h, w, C] to [B * windows, 49, C]; h and w are multiples of 7."""
    b, h, w, c = x.shape
    x = x.view(b, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c)
    return x.transpose(2, 3).reshape(-1, WINDOW * WINDOW, c)


def from_windows(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[B * windows, 49, C] back to [B, h, w, C]."""
    h, w = size
    x = x.view(-1, h // WINDOW, w // WINDOW, WINDOW, WINDOW, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, h, w, x.shape[-1])


@lru_cache(maxsize=8)
def shift_mask(size: tuple[int, int], device: torch.device) -> Tensor:
    """[windows, 1, 49, 49]: -100 between positions that the cyclic shift brought together, 0 elsewhere."""
    shift = WINDOW // 2
    region = [torch.bucketize(torch.arange(n), torch.tensor([n - WINDOW, n - shift]), right=True) for n in size]
    label = (region[0][:, None] * 3 + region[1][None, :]).float().to(device)
    label = to_windows(label[None, :, :, None])[..., 0]  # [windows, 49]
    return -100.0 * (label[:, None, :] != label[:, :, None]).float()[:, None]


class WindowAttention(nn.Module):
    """Self-attention inside windows, with a learned bias per relative position."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_index())
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Windows [B * W, 49, C], mask [W, 1, 49, 49] or None, to [B * W, 49, C]."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B * W, heads, 49, d]
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]  # [1, heads, ..]
        if mask is not None:
            bias = (bias + mask).repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype).expand(x.shape[0], -1, -1, -1))
        return self.proj(x.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Attention in windows (every second block shifts them by 3 pixels), then the MLP."""

    def __init__(self, channels: int, heads: int, shift: int):
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        _, h, w, _ = x.shape
        y = F.pad(self.norm1(x), (0, 0, 0, -w % WINDOW, 0, -h % WINDOW))  # to whole windows; the padding takes part
        size, s = tuple(y.shape[1:3]), self.shift
        mask = None
        if s:
            y, mask = y.roll((-s, -s), (1, 2)), shift_mask(size, x.device)
        y = from_windows(self.attn(to_windows(y), mask), size)
        if s:
            y = y.roll((s, s), (1, 2))
        x = x + y[:, :h, :w]
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Halves the resolution: four neighbours become one position of twice the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        _, h, w, _ = x.shape
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        return self.reduction(self.norm(x))


class Stage(nn.Module):
    """Blocks at one resolution, and the way down to the next."""

    def __init__(self, channels: int, depth: int, heads: int, last: bool):
        super().__init__()
        self.blocks = nn.ModuleList(SwinBlock(channels, heads, WINDOW // 2 * (i % 2)) for i in range(depth))
        self.downsample = None if last else PatchMerging(channels)


class PatchEmbed(nn.Module):
    """Patches of 4x4 pixels to tokens; the image is padded to whole patches."""

    def __init__(self, channels: int):
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 4, 4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, H / 4, W / 4, C]."""
        image = F.pad(image, (0, -image.shape[3] % 4, 0, -image.shape[2] % 4))
        return self.norm(self.proj(image).permute(0, 2, 3, 1))


class Swin(nn.Module):
    """Images to features of C, 2C, 4C and 4C channels at strides 4, 8, 16, 16; the last two are the same."""

    def __init__(self, channels: int, heads: tuple[int, int, int], depths: tuple[int, int, int] = (2, 2, 18)):
        super().__init__()
        self.patch_embed = PatchEmbed(channels)
        self.layers = nn.ModuleList(
            Stage(channels << i, depth, h, last=i == 2) for i, (depth, h) in enumerate(zip(depths, heads, strict=True))
        )
        for i in range(3):
            self.add_module(f"norm{i}", nn.LayerNorm(channels << i))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image [B, 3, H, W] to four maps [B, C, H / stride, W / stride]."""
        x, found = self.patch_embed(image), []
        for i, stage in enumerate(self.layers):
            for block in stage.blocks:
                x = block(x)
            found.append(getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return [*found, found[-1]]
