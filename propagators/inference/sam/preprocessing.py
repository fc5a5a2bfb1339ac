"""Frames and masks as the inputs of SAM networks, equal to those of the processors of transformers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.inference.transformers_models.inputs.images import HALF, IMAGENET, square

NORMALISATION = {"sam2": IMAGENET, "edgetam": IMAGENET, "sam3": HALF}  # {kind: (mean, std)}


def pixels(image: np.ndarray, size: int, kind: str) -> Tensor:
    """A frame as the input of the image encoder.

    The frame is resized as uint8, with rounding, as the processors do: a resize in float32 differs by up to 0.0175.

    Args:
        image: uint8 [H, W, 3] RGB.
        size: side S of the square input, pixels; the aspect ratio is not kept.
        kind: key of `NORMALISATION`.

    Returns:
        float32 [1, 3, S, S] on the CPU.
    """
    return square(image, size, *NORMALISATION[kind])


def prompt(mask: np.ndarray, size: int) -> Tensor:
    """A mask as the prompt of a key frame: resized and thresholded at 0.5.

    A mask of a few pixels may nowhere reach 0.5 when it is made smaller. The processors then prompt with an empty
    mask; here its strongest pixels stay.

    Args:
        mask: bool [H, W].
        size: side S of the network's input.

    Returns:
        float32 [S, S], 0 or 1.
    """
    x = resized(mask.astype(np.float32), size)
    threshold = min(0.5, x.max().item()) if mask.any() else 0.5
    return (x >= threshold).float()


def resized(mask: np.ndarray, size: int) -> Tensor:
    """A soft mask, float32 [H, W] in 0..1, at the size of the network's input, [S, S]."""
    x = torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None]
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)[0, 0]
