"""Frames as the official codes pass them to a network: resize rules, Pillow's bilinear filter, normalisation."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rvos_ensemble.adapters.core.clip import Clip

MEAN = np.float32([0.485, 0.456, 0.406])  # ImageNet
STD = np.float32([0.229, 0.224, 0.225])
MEAN_255 = np.float32([123.675, 116.28, 103.53])  # the same for values 0..255, as Detectron2 has them
STD_255 = np.float32([58.395, 57.12, 57.375])

Rule = Literal["torchvision", "detectron2", "transformers"]


def input_size(size: tuple[int, int], short: int, longest: int | None, rule: Rule) -> tuple[int, int]:
    """(h, w) of the network's input.

    Args:
        size: (H, W) of the clip.
        short: length of the short side.
        longest: maximum length of the long side; None for any length.
        rule: "torchvision" cuts the long side to whole pixels, "detectron2" rounds it; "transformers" cuts it, too, but
            where `longest` limits the size, it starts from the short side before rounding.

    >>> input_size((720, 1280), 360, None, "torchvision"), input_size((480, 854), 480, 1333, "detectron2")
    ((360, 640), (480, 854))
    >>> input_size((480, 910), 360, 640, "torchvision"), input_size((480, 910), 480, 800, "detectron2")
    ((338, 640), (422, 800))
    >>> input_size((480, 999), 360, 640, "torchvision"), input_size((480, 999), 360, 640, "transformers")
    ((308, 641), (308, 640))
    """
    low, high = sorted(size)
    if rule == "detectron2":
        scale = short / low
        h, w = (n * scale for n in size)
        if longest is not None and max(h, w) > longest:
            scale = longest / max(h, w)
            h, w = h * scale, w * scale
        return int(h + 0.5), int(w + 0.5)
    exact = float(short)
    if longest is not None and high / low * short > longest:
        exact = longest * low / high
        short = round(exact)
    if rule == "transformers" and short == low:
        return size
    other = int((exact if rule == "transformers" else short) * high / low)
    return (short, other) if size[0] <= size[1] else (other, short)


def read(clip: Clip, frames: range, size: tuple[int, int], rule: Rule) -> Tensor:
    """Some frames of a clip, resized and normalised, float32 [T, 3, h, w]."""
    images = torch.empty(len(frames), 3, *size)
    for i, t in enumerate(frames):
        images[i] = shrink(clip.read(t), size, rule)
    return images


def shrink(image: np.ndarray, size: tuple[int, int], rule: Rule) -> Tensor:
    """An image uint8 [H, W, 3], resized and normalised, float32 [3, h, w]."""
    x = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR), np.float32)
    x = (x - MEAN_255) / STD_255 if rule == "detectron2" else (x / np.float32(255) - MEAN) / STD
    return torch.from_numpy(x.transpose(2, 0, 1))
