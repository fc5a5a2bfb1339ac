"""Frames as the image processors of transformers pass them to a network, by the rules in preprocessor_config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.inference.checkpoints.folder import MOST_JSON
from rvos_ensemble.adapters.inference.preprocess import input_size

FILES = ("preprocessor_config.json", "processor_config.json")  # the second one holds all parts of a processor
IMAGE_PROCESSOR = "image_processor"  # the part about images in it
LARGEST = 1 << 13  # pixels of a side of an input
FILTERS = {int(f) for f in Image.Resampling}
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of most networks
HALF = (0.5,) * 3, (0.5,) * 3  # mean and standard deviation of SAM 3


@dataclass(frozen=True)
class ImageRule:
    """How a frame becomes the input of a network.

    Attributes:
        short, longest: sides in pixels; the aspect ratio is kept. None if `exact` is given.
        exact: (h, w) of the input; the aspect ratio is not kept. None if `short` is given.
        divisor: the sides are enlarged to multiples of it.
        padded: (h, w) to which black is added at the right and at the bottom; None: no padding.
        mean, std: of the channels R, G, B, of values 0..1.
        scale: the factor that turns 0..255 into 0..1.
        resample: number of Pillow's filter.
    """

    short: int | None = None
    longest: int | None = None
    exact: tuple[int, int] | None = None
    divisor: int = 1
    padded: tuple[int, int] | None = None
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    scale: float = 1 / 255
    resample: int = int(Image.Resampling.BILINEAR)

    def inside(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of a frame of a size (H, W) inside the input, without padding.

        >>> ImageRule(short=800, longest=1333, divisor=32).inside((720, 1280))
        (768, 1344)
        """
        h, w = self.exact or input_size(size, self.short, self.longest, "transformers")
        return tuple(math.ceil(n / self.divisor) * self.divisor for n in (h, w))

    def pixels(self, image: np.ndarray) -> Tensor:
        """A frame as the input of the network.

        Args:
            image: uint8 [H, W, 3] RGB.

        Returns:
            float32 [1, 3, h, w].
        """
        h, w = self.inside(image.shape[:2])
        x = np.asarray(Image.fromarray(image).resize((w, h), self.resample))
        if self.padded:
            x = np.pad(x, ((0, self.padded[0] - h), (0, self.padded[1] - w), (0, 0)))
        x = (x.astype(np.float64) * self.scale).astype(np.float32)
        x = (x - np.float32(self.mean)) / np.float32(self.std)
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None]


def square(image: np.ndarray, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """A frame as the processors of SAM 2 and SAM 3 resize it: as uint8, by the antialiased filter of torch.

    A resize in float32 differs by up to 0.0175.

    Args:
        image: uint8 [H, W, 3] RGB.
        side: S of the square input, pixels; the aspect ratio is not kept.
        mean, std: of the channels, of values 0..1.

    Returns:
        float32 [1, 3, S, S] on the CPU.
    """
    x = torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))[None]  # a copy: frames may be read-only
    x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return (x.float() - mean * 255) / (std * 255)


def read_rule(folder: Path, divides: bool = False, pads: bool = False) -> tuple[ImageRule, Path]:
    """The rule in a folder, and the file that states it.

    Args:
        folder: of a network.
        divides: whether the processor of this network enlarges sides to multiples of `size_divisor`, 32 by default.
        pads: whether it pads to a square.

    Raises:
        InputError: no such file, or rules that are not those of an instance segmenter or detector.
    """
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise InputError(f"{folder}: has no {FILES[0]}, which says how frames are resized; copy it, too")
    values = read_json(file, MOST_JSON)
    if isinstance(values, dict) and isinstance(values.get(IMAGE_PROCESSOR), dict):
        values = values[IMAGE_PROCESSOR]
    if not isinstance(values, dict):
        raise InputError(f"{file}: holds a {type(values).__name__}, expected the settings of an image processor")
    try:
        rule = _rule(values, divides, pads)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    return rule, file


def _rule(values: Mapping[str, Any], divides: bool, pads: bool) -> ImageRule:
    """The rule that some settings state.

    Raises:
        ValueError: what is wrong with them.
    """
    for key in ("do_resize", "do_rescale", "do_normalize"):
        if not values.get(key, True):
            raise ValueError(f"`{key}` is false, expected an image processor that does all three steps")
    if values.get("do_split_image"):
        raise ValueError("`do_split_image` is true, as for semantic segmentation; take an instance or panoptic model")
    sides = _sides(values)
    divisor = _whole(values.get("size_divisor") or 32, "size_divisor") if divides else 1
    padded = None
    if pads and values.get("do_pad"):
        padded = sides.get("exact") or (sides["short"], sides["longest"] or sides["short"])
    elif pads and "exact" not in sides:
        raise ValueError("`do_pad` is false, but the network takes squares only")
    resample = values.get("resample", int(Image.Resampling.BILINEAR))
    if type(resample) is not int or resample not in FILTERS:
        raise ValueError(f"`resample` is {shown(resample)}, expected the number of a filter of Pillow")
    scale = values.get("rescale_factor", 1 / 255)
    if not isinstance(scale, (int, float)) or not 0 < scale < 2:
        raise ValueError(f"`rescale_factor` is {shown(scale)}, expected a number such as 1 / 255")
    mean, std = (_channels(values, key, d) for key, d in zip(("image_mean", "image_std"), IMAGENET, strict=True))
    return ImageRule(**sides, divisor=divisor, padded=padded, mean=mean, std=std, scale=scale, resample=resample)


def _sides(values: Mapping[str, Any]) -> dict[str, Any]:
    """`short` and `longest`, or `exact`, of an `ImageRule`; older files have the long side in `max_size`."""
    size = values.get("size", {"shortest_edge": 800, "longest_edge": 1333})
    if isinstance(size, int):
        size = {"shortest_edge": size, "longest_edge": values.get("max_size", 1333)}
    if isinstance(size, Mapping) and size.get("shortest_edge"):
        longest = size.get("longest_edge")
        return {
            "short": _whole(size["shortest_edge"], "shortest_edge"),
            "longest": None if longest is None else _whole(longest, "longest_edge"),
        }
    if isinstance(size, Mapping) and size.get("height") and size.get("width"):
        return {"exact": (_whole(size["height"], "height"), _whole(size["width"], "width"))}
    raise ValueError(f"`size` is {shown(size)}, expected shortest_edge and longest_edge, or height and width")


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise ValueError(f"`{name}` is {shown(value)}, expected a whole number of pixels up to {LARGEST}")
    return value


def _channels(values: Mapping[str, Any], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    found = values.get(key, default)
    numbers = isinstance(found, (list, tuple)) and all(type(v) in (int, float) and abs(v) < 1e3 for v in found)
    if not numbers or len(found) != 3 or (key == "image_std" and min(found) <= 0):
        raise ValueError(f"`{key}` is {shown(found)}, expected three numbers")
    return tuple(map(float, found))
