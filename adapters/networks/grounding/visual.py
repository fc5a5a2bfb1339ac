"""The visual encoders of grounding networks by name; each has `channels` of its maps and `stride` of the last one."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.backbones.backbone import BODIES, Backbone
from rvos_ensemble.adapters.networks.backbones.convnext import LayerNorm2d
from rvos_ensemble.adapters.networks.backbones.mobilenetv2 import MobileNetV2

NARROW, MOBILE = "narrow", "mobilenetv2"
# frames are encoded one by one, so that video backbones are no choice
VISUAL = (NARROW, MOBILE, *(name for name in BODIES if not name.startswith("video")))


class Narrow(nn.Module):
    """Frames to one map at stride 8: four convolutions, for networks that are trained from scratch in minutes."""

    channels, stride = (64,), 8

    def __init__(self):
        super().__init__()
        widths = (3, 32, 48, 64, 64)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2 if i < 3 else 1, padding=1) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.norm = LayerNorm2d(widths[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """[T, 3, H, W] to [[T, 64, H / 8, W / 8]]."""
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = layer(x).relu_()
        return [self.norm(x)]


class Mobile(nn.Module):
    """Frames to the maps of MobileNetV2, the last one at stride 16."""

    channels, stride = (24, 32, 96, 1280), 16

    def __init__(self):
        super().__init__()
        self.body = MobileNetV2()

    def forward(self, x: Tensor) -> list[Tensor]:
        """[T, 3, H, W] to four maps [T, C, h, w]."""
        return self.body(x)


class Pyramid(Backbone):
    """A backbone of the segmenters, with maps at strides 4, 8, 16 and 32."""

    stride = 32


def visual_encoder(name: str) -> nn.Module:
    """The encoder of that name, one of `VISUAL`, with random weights."""
    return {NARROW: Narrow, MOBILE: Mobile}[name]() if name in (NARROW, MOBILE) else Pyramid(name)
