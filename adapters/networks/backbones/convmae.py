"""ConvMAE-Base, one of MUTR's backbones: two convolutional stages, then transformer blocks as in ViTDet.

Source: Gao et al., "ConvMAE: Masked Convolution Meets Masked Autoencoders", NeurIPS 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.backbones.convnext import LayerNorm2d
from rvos_ensemble.adapters.networks.backbones.vit import ViTBlock, resize_positions


class ConvMAEPatchEmbed(nn.Module):
    """A strided convolution over patches, then norm and GELU."""

    def __init__(self, c_in: int, c_out: int, side: int):
        super().__init__()
        self.proj = nn.Conv2d(c_in, c_out, side, side)
        self.norm = LayerNorm2d(c_out, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, H, W] to [B, c_out, H / side, W / side]."""
        return F.gelu(self.norm(self.proj(x)))


class ConvMlp(nn.Module):
    """Two 1x1 convolutions with an exact GELU between them."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 4 * channels, 1)
        self.fc2 = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        return self.fc2(F.gelu(self.fc1(x)))


class ConvBlock(nn.Module):
    """A transformer block whose attention is a 5x5 convolution of each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1 = LayerNorm2d(channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.attn = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.conv2 = nn.Conv2d(channels, channels, 1)
        self.norm2 = LayerNorm2d(channels, eps=1e-6)
        self.mlp = ConvMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        return x + self.mlp(self.norm2(x))


class ConvMAE(nn.Module):
    """Frames to maps of 256, 384, 768 and 768 channels at strides 4, 8, 16 and 32.

    Args:
        max_size: MUTR's `--max_size`, a multiple of 16; it determines the size of the tables of relative positions
            (2 * 40 - 1 rows for 640) and must be that of the checkpoint. The tables are resized for larger frames.
        channels, depths: of the three stages.
        heads: of the transformer blocks.
        windowed: indices of the blocks of the third stage whose attention is limited to windows.
    """

    def __init__(
        self,
        max_size: int = 640,
        channels: tuple[int, int, int] = (256, 384, 768),
        depths: tuple[int, int, int] = (2, 2, 11),
        heads: int = 12,
        windowed: tuple[int, ...] = (0, 2, 3, 5, 6, 8, 9),
    ):
        super().__init__()
        c4, c8, c16 = channels
        self.channels = (c4, c8, c16, c16)
        self.patch_embed1 = ConvMAEPatchEmbed(3, c4, 4)
        self.patch_embed2 = ConvMAEPatchEmbed(c4, c8, 2)
        self.patch_embed3 = ConvMAEPatchEmbed(c8, c16, 2)
        self.patch_embed4 = nn.Linear(c16, c16)
        self.pos_embed = nn.Parameter(torch.zeros(1, 14 * 14, c16))
        self.blocks1 = nn.Sequential(*(ConvBlock(c4) for _ in range(depths[0])))
        self.blocks2 = nn.Sequential(*(ConvBlock(c8) for _ in range(depths[1])))
        self.blocks3 = nn.Sequential(*(ViTBlock(c16, heads, max_size // 16, i in windowed) for i in range(depths[2])))
        self.norm3 = nn.LayerNorm(c16, eps=1e-6)
        self.norm4 = nn.LayerNorm(c16, eps=1e-6)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Frames [B, 3, H, W] to four maps [B, C, h, w]; pixels at the border that do not fill a patch are cut off."""
        x4 = self.blocks1(self.patch_embed1(frames))
        x8 = self.blocks2(self.patch_embed2(x4))
        x = self.patch_embed4(self.patch_embed3(x8).permute(0, 2, 3, 1))
        x = self.blocks3(x + resize_positions(self.pos_embed, tuple(x.shape[1:3])))  # [B, h, w, C]
        x16, x32 = (norm(x).permute(0, 3, 1, 2) for norm in (self.norm3, self.norm4))
        return [x4, x8, x16, F.max_pool2d(x32, 2)]
