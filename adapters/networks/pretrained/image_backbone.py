"""An image backbone of transformers: ResNet, Swin, ConvNeXt, DINOv2 and others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.networks.pretrained.config import encoder_config, make_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig

WHAT = "an image backbone"
# mean and standard deviation of the frames that our networks see, of values 0..1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAGES = ("out_features", "out_indices")  # entries that choose maps; without them the last one is returned
PROBE = 224  # pixels; a multiple of all usual strides


@dataclass(frozen=True)
class ImageBackbone:
    """Everything about an image backbone except its weights.

    Attributes:
        config: its configuration, JSON, see `plain`.
        stride: of its last map, in pixels.
        mean, std: of the channels R, G, B of its training images, of values 0..1.
    """

    config: str
    stride: int
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def network(self) -> LastMap:
        """The backbone, whose weights have no values yet: drawing some takes seconds, and they are loaded."""
        from transformers.initialization import no_init_weights

        config = make_config(json.loads(self.config), WHAT)
        with no_init_weights():
            return self.around(class_of(config)._from_config(config))

    def around(self, body: nn.Module) -> LastMap:
        """The network whose weights a backbone of transformers already has."""
        return LastMap(body, self)


class LastMap(nn.Module):
    """Frames to the last map of a backbone of transformers.

    Frames whose size is not a multiple of the stride are enlarged to one, so that the cells of the map cover them
    exactly. Batch norms keep their statistics in training: a batch here is a few frames of one clip.

    Attributes:
        channels: (C,).
        stride: of the map.
    """

    def __init__(self, body: nn.Module, backbone: ImageBackbone):
        super().__init__()
        self.body, self.stride = body, backbone.stride
        self.channels = (body.channels[-1],)
        self.scales = [a / b for a, b in zip(STD, backbone.std, strict=True)]
        self.shifts = [(a - b) / c for a, b, c in zip(MEAN, backbone.mean, backbone.std, strict=True)]

    def forward(self, frames: Tensor) -> list[Tensor]:
        """[T, 3, H, W], normalised by ImageNet's mean, to [[T, C, ceil(H / stride), ceil(W / stride)]]."""
        size = [-(-n // self.stride) * self.stride for n in frames.shape[2:]]
        if size != list(frames.shape[2:]):
            frames = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
        if self.shifts != [0, 0, 0] or self.scales != [1, 1, 1]:
            scale, shift = frames.new_tensor([self.scales, self.shifts])[:, None, :, None, None]
            frames = frames * scale + shift
        return [self.body(frames).feature_maps[-1]]

    def train(self, mode: bool = True) -> LastMap:
        """Training mode for everything but batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def kinds() -> set[str]:
    """The model types that transformers has as backbones, without those that need another package."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    return {kind for kind in MODEL_FOR_BACKBONE_MAPPING_NAMES if not kind.startswith("timm")}


def plain(content: Any, where: str) -> dict[str, Any]:
    """The entries of a config.json that describe such a network, see `encoder_config`."""
    return encoder_config(content, kinds(), WHAT, where)


def class_of(config: PretrainedConfig) -> Any:
    """The class of the backbone."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    return MODEL_FOR_BACKBONE_MAPPING[type(config)]


@torch.no_grad()
def stride_of(body: nn.Module, where: str) -> int:
    """The stride of the last map, measured on two sizes.

    Raises:
        InputError: the backbone takes images of one size only, or its map is not a regular grid of its width.
    """

    def shape_of(h: int, w: int) -> tuple[int, ...]:
        maps: Any = body(torch.zeros(1, 3, h, w)).feature_maps
        return tuple(maps[-1].shape[1:])

    try:
        stride = PROBE // max(shape_of(PROBE, PROBE)[1:])
        regular = stride > 0 and shape_of(2 * stride, 3 * stride) == (body.channels[-1], 2, 3)
    except Exception as error:  # the networks check their input in many ways
        raise InputError(f"{where}: its backbone does not take images of any size ({str(error)[:200]})") from error
    if not regular:
        raise InputError(
            f"{where}: its backbone does not give a map of {body.channels[-1]} channels with a cell for every "
            f"{stride} x {stride} pixels"
        )
    return stride
