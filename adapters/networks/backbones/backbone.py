"""The backbones of ReferFormer, MUTR and SOC by name: the published ones and two small ones of our own."""

from __future__ import annotations

from torch import Tensor, nn

from rvos_ensemble.adapters.networks.backbones.convmae import ConvMAE
from rvos_ensemble.adapters.networks.backbones.convnext import ConvNeXt, LayerNorm2d
from rvos_ensemble.adapters.networks.backbones.resnet import ResNet
from rvos_ensemble.adapters.networks.backbones.swin import Swin

BODIES = {
    "resnet50": lambda: ResNet((3, 4, 6, 3)),
    "resnet101": lambda: ResNet((3, 4, 23, 3)),
    "swin_t_p4w7": lambda: Swin(96, (3, 6, 12, 24), (2, 2, 6, 2)),
    "swin_s_p4w7": lambda: Swin(96, (3, 6, 12, 24), (2, 2, 18, 2)),
    "swin_b_p4w7": lambda: Swin(128, (4, 8, 16, 32), (2, 2, 18, 2)),
    "swin_l_p4w7": lambda: Swin(192, (6, 12, 24, 48), (2, 2, 18, 2)),
    "video_swin_t_p4w7": lambda: Swin(96, (3, 6, 12, 24), (2, 2, 6, 2), video=True),
    "video_swin_s_p4w7": lambda: Swin(96, (3, 6, 12, 24), (2, 2, 18, 2), video=True),
    "video_swin_b_p4w7": lambda: Swin(128, (4, 8, 16, 32), (2, 2, 18, 2), video=True),
    "convnext_large": ConvNeXt,
    "convmae_base": ConvMAE,
    "resnet_nano": lambda: ResNet((2, 2, 2, 1), stem=16),
    "video_swin_nano": lambda: Swin(24, (2, 4, 8, 16), (2, 2, 2, 1), video=True),
}


class Backbone(nn.Module):
    """Frames to four maps at strides 4, 8, 16 and 32.

    Attributes:
        channels: of the maps.
        couples_frames: whether the features of a frame depend on other frames of the clip (Video Swin).
    """

    def __init__(self, name: str):
        super().__init__()
        self.body = BODIES[name]()
        self.channels = list(self.body.channels)
        self.couples_frames = name.startswith("video")
        if name.startswith("convnext"):
            self.norm_layers = nn.ModuleList(LayerNorm2d(c) for c in self.channels)

    def forward(self, frames: Tensor, frames_per_step: int | None = None, clips: int = 1) -> list[Tensor]:
        """Frames [T, 3, h, w] of `clips` clips of equal length to maps [T, C, h / stride, w / stride]."""
        if self.couples_frames:
            return self.body(frames, frames_per_step, clips)
        maps = self.body(frames)
        if hasattr(self, "norm_layers"):
            maps = [norm(x) for norm, x in zip(self.norm_layers, maps, strict=True)]
        return maps
