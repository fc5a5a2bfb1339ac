"""The encoders of transformers in a grounding network, described in its checkpoint.

The sizes of our own networks follow from the shapes of their weights. Those of transformers do not, so that a network
with such an encoder holds a description as one more tensor: JSON in UTF-8, one byte per element. It includes the
tokenizer: the checkpoint is all that inference needs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.networks.pretrained import image_backbone, text_encoder
from rvos_ensemble.adapters.networks.pretrained.image_backbone import ImageBackbone
from rvos_ensemble.adapters.networks.pretrained.text_encoder import TextEncoder

KEY = "description"  # name of the tensor


@dataclass(frozen=True)
class Description:
    """The encoders that are not our own.

    Attributes:
        short_side: of the frames of the training, in pixels.
        text, image: None for an encoder of our own.
    """

    short_side: int
    text: TextEncoder | None = None
    image: ImageBackbone | None = None

    def tensor(self) -> Tensor:
        """The description as bytes, uint8 [N]."""
        parts = {"text": self.text and asdict(self.text), "image": self.image and asdict(self.image)}
        for part in filter(None, parts.values()):
            part["config"] = json.loads(part["config"])  # readable in the file
        content = json.dumps({"short_side": self.short_side, **parts}, ensure_ascii=False)
        return torch.from_numpy(np.frombuffer(content.encode(), np.uint8).copy())


def read_description(tensor: Tensor, where: str) -> Description:
    """The description in a tensor of a checkpoint.

    Args:
        tensor: as `Description.tensor` made it.
        where: the file, for messages.

    Raises:
        InputError: anything else.
    """
    where = f"{where}: `{KEY}`"
    if tensor.dtype != torch.uint8 or tensor.dim() != 1:
        raise InputError(f"{where} is {tuple(tensor.shape)} of {tensor.dtype}, expected bytes of JSON")
    content = _entries(parse_json(tensor.numpy().tobytes(), where), ("short_side", "text", "image"), where)
    text, image = content["text"], content["image"]
    return Description(
        _whole(content["short_side"], 1 << 14, f"{where}: short_side"),
        None if text is None else _text(text, f"{where}: text"),
        None if image is None else _image(image, f"{where}: image"),
    )


def _text(content: Any, where: str) -> TextEncoder:
    content = _entries(content, ("config", "tokenizer", "padding", "longest"), where)
    if not isinstance(content["tokenizer"], str):
        raise InputError(f"{where}: its tokenizer is not a text")
    config = text_encoder.plain(content["config"], where)
    padding = _whole(content["padding"], 1 << 24, f"{where}: padding", least=0)
    longest = _whole(content["longest"], 1 << 24, f"{where}: longest")
    return TextEncoder(json.dumps(config), content["tokenizer"], padding, longest)


def _image(content: Any, where: str) -> ImageBackbone:
    content = _entries(content, ("config", "stride", "mean", "std"), where)
    config = image_backbone.plain(content["config"], where)
    stride = _whole(content["stride"], 1 << 12, f"{where}: stride")
    mean, std = (colour(content[name], f"{where}: {name}") for name in ("mean", "std"))
    if min(std) <= 0:
        raise InputError(f"{where}: std is {list(std)}, expected positive numbers")
    return ImageBackbone(json.dumps(config), stride, mean, std)


def colour(value: Any, where: str) -> tuple[float, float, float]:
    """Three numbers, for red, green and blue.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, list) or len(value) != 3 or not all(map(_is_number, value)):
        raise InputError(f"{where} is {str(value)[:100]}, expected three numbers")
    return tuple(map(float, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _whole(value: Any, most: int, where: str, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"{where} is {str(value)[:100]}, expected a whole number from {least} to {most}")
    return value


def _entries(content: Any, names: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """An object that has exactly these entries."""
    if not isinstance(content, dict) or content.keys() != set(names):
        raise InputError(f"{where}: expected an object with {', '.join(names)}")
    return content
