"""Recognises the backbone of a checkpoint by the shapes of a few of its weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rvos_ensemble.adapters.inference.checkpoints.weights import shape_of

# {backbone: {name of a weight: its shape, None where the backbone has no such weight}}
Shapes = Mapping[str, Mapping[str, tuple[int, ...] | None]]

_SWIN, _DEEP = "patch_embed.proj.weight", "layers.2.blocks.17.norm1.weight"
BACKBONES: Shapes = {  # of ReferFormer, MUTR and SOC
    "resnet50": {"layer3.5.conv1.weight": (256, 1024, 1, 1), "layer3.6.conv1.weight": None},
    "resnet101": {"layer3.22.conv1.weight": (256, 1024, 1, 1)},
    "swin_t_p4w7": {_SWIN: (96, 3, 4, 4), _DEEP: None},
    "swin_s_p4w7": {_SWIN: (96, 3, 4, 4), _DEEP: (384,)},
    "swin_b_p4w7": {_SWIN: (128, 3, 4, 4)},
    "swin_l_p4w7": {_SWIN: (192, 3, 4, 4)},
    "video_swin_t_p4w7": {_SWIN: (96, 3, 1, 4, 4), _DEEP: None},
    "video_swin_s_p4w7": {_SWIN: (96, 3, 1, 4, 4), _DEEP: (384,)},
    "video_swin_b_p4w7": {_SWIN: (128, 3, 1, 4, 4)},
    "convnext_large": {"stem.0.weight": (192, 3, 4, 4)},
    "convmae_base": {"patch_embed1.proj.weight": (256, 3, 4, 4)},
    "resnet_nano": {"conv1.weight": (16, 3, 7, 7)},  # this one and the next are our own
    "video_swin_nano": {_SWIN: (24, 3, 1, 4, 4)},
}
DETECTRON2_BACKBONES: Shapes = {  # of UNINEXT, by Detectron2's names
    "resnet50": {"res4.5.conv1.weight": (256, 1024, 1, 1), "res4.6.conv1.weight": None},
    "convnext_large": {"downsample_layers.0.0.weight": (192, 3, 4, 4)},
    "vit_huge": {"patch_embed.proj.weight": (1280, 3, 16, 16)},
    "convnext_nano": {"downsample_layers.0.0.weight": (32, 3, 4, 4)},  # our own
}


def recognise_backbone(weights: Mapping[str, Tensor], prefix: str, backbones: Shapes) -> str | None:
    """The name of the backbone; None for an unknown one.

    Args:
        weights: of the whole network.
        prefix: beginning of the names of the backbone's weights.
        backbones: those that are possible.
    """
    for name, expected in backbones.items():
        shapes = {key: shape_of(weights, prefix + key) or None for key in expected}
        if shapes == expected:
            return name
    return None
