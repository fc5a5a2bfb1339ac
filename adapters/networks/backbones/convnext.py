"""ConvNeXt-Large, with the parameter names of two code bases: timm's for MUTR, detectron2's for UNINEXT.

Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import GELUMlp

CHANNELS = (192, 384, 768, 1536)  # of ConvNeXt-Large
DEPTHS = (3, 3, 27, 3)


class LayerNorm2d(nn.LayerNorm):
    """Normalises the channels of each position of a map [B, C, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


Layer = Callable[[Tensor], Tensor]


def block(x: Tensor, depthwise: Layer, norm: Layer, mlp: Layer, gamma: Tensor) -> Tensor:
    """The computation of a ConvNeXt block, for both sets of parameter names.

    Args:
        x: map [B, C, h, w].
        depthwise: 7x7 convolution of each channel, on maps.
        norm, mlp: over the channels of [B, h, w, C].
        gamma: [C], scale of the residual.
    """
    y = mlp(norm(depthwise(x).permute(0, 2, 3, 1))) * gamma
    return x + y.permute(0, 3, 1, 2)


# ---------------------------------------------------------------------------------------------- names of timm (MUTR)
class ConvNeXtBlock(nn.Module):
    """A block with timm's parameter names."""

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = GELUMlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        return block(x, self.conv_dw, self.norm, self.mlp, self.gamma)


class ConvNeXtStage(nn.Module):
    """Downsampling by 2 (except in the first stage), then blocks."""

    def __init__(self, c_in: int, c_out: int, depth: int):
        super().__init__()
        self.downsample = nn.Identity()
        if c_in != c_out:
            self.downsample = nn.Sequential(LayerNorm2d(c_in, eps=1e-6), nn.Conv2d(c_in, c_out, 2, 2))
        self.blocks = nn.Sequential(*(ConvNeXtBlock(c_out) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h / 2, w / 2], or to [B, c_out, h, w] in the first stage."""
        return self.blocks(self.downsample(x))


class ConvNeXt(nn.Module):
    """Frames to maps of 192, 384, 768 and 1536 channels at strides 4, 8, 16 and 32, with timm's parameter names.

    The maps are not normalised; MUTR does that outside of the `body`, in `norm_layers` (`nn.LayerNorm`, eps 1e-5).
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS, depths: tuple[int, ...] = DEPTHS):
        super().__init__()
        self.channels = tuple(channels)
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), LayerNorm2d(channels[0], eps=1e-6))
        pairs = pairwise((channels[0], *channels))
        self.stages = nn.ModuleList(ConvNeXtStage(a, b, depth) for (a, b), depth in zip(pairs, depths, strict=True))

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Frames [B, 3, H, W] to four maps [B, C, h, w]; pixels at the border that do not fill a patch are cut off."""
        x, maps = self.stem(frames.contiguous(memory_format=torch.channels_last)), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


# ------------------------------------------------------------------------------------- names of detectron2 (UNINEXT)
class EmbeddingNorm(nn.Module):
    """Layer norm over the last axis; its scale and shift are embeddings with one row: `weight.weight` [1, C]."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Embedding(1, channels)
        self.bias = nn.Embedding(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to the same."""
        return F.layer_norm(x, x.shape[-1:], self.weight.weight[0], self.bias.weight[0], 1e-6)


class EmbeddingNorm2d(EmbeddingNorm):
    """The same over the channels of a map [B, C, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Detectron2Block(nn.Module):
    """A block with UNINEXT's parameter names."""

    def __init__(self, channels: int):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = EmbeddingNorm(channels)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Embedding(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        return block(x, self.dwconv, self.norm, self.mlp, self.gamma.weight[0])

    def mlp(self, x: Tensor) -> Tensor:
        """[B, h, w, C] to the same."""
        return self.pwconv2(F.gelu(self.pwconv1(x)))


class Detectron2ConvNeXt(nn.Module):
    """Frames to normalised maps of 384, 768 and 1536 channels at strides 8, 16 and 32, with UNINEXT's names."""

    divisor = 32  # the input is padded to a multiple of it

    def __init__(self, channels: tuple[int, ...] = CHANNELS, depths: tuple[int, ...] = DEPTHS):
        super().__init__()
        self.channels = tuple(channels[1:])
        stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), EmbeddingNorm2d(channels[0]))
        halve = (nn.Sequential(EmbeddingNorm2d(a), nn.Conv2d(a, b, 2, 2)) for a, b in pairwise(channels))
        self.downsample_layers = nn.ModuleList([stem, *halve])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Detectron2Block(c) for _ in range(depth)))
            for c, depth in zip(channels, depths, strict=True)
        )
        for i in (1, 2, 3):
            self.add_module(f"norm{i}", EmbeddingNorm2d(channels[i]))

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Frames [B, 3, H, W] to three maps [B, C, H / stride, W / stride]."""
        x = frames.contiguous(memory_format=torch.channels_last)
        maps = []
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
            maps.append(x)
        return [norm(x) for norm, x in zip((self.norm1, self.norm2, self.norm3), maps[1:], strict=True)]
