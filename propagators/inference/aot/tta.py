"""Test-time augmentation: the size, flip and normalisation of the network's input, as in the official evaluator."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB


@dataclass(frozen=True)
class Augmentation:
    """One of the inputs that are made from a frame.

    Attributes:
        size: (h, w) of the input.
        flip: whether left and right are exchanged.
    """

    size: tuple[int, int]
    flip: bool = False

    def apply(self, image: np.ndarray) -> Tensor:
        """Image, uint8 [H, W, 3] RGB, to normalised input, float32 [1, 3, h, w]."""
        x = image.astype(np.float32)
        if x.shape[:2] != self.size:
            x = cv2.resize(x, self.size[::-1], interpolation=cv2.INTER_CUBIC)
        if self.flip:
            x = x[:, ::-1]
        x = (x / 255 - np.float32(MEAN)) / np.float32(STD)
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None]

    def mirror(self, x: Tensor) -> Tensor:
        """Flips maps [..., W] if the augmentation does: from the frame to its input, or back."""
        return x.flip(-1) if self.flip else x


def input_size(size: tuple[int, int], max_long_edge: int, scale: float, align_corners: bool) -> tuple[int, int]:
    """The network's input size for a frame.

    Args:
        size: (H, W) of the frame.
        max_long_edge: limit of the longer side before the scale is applied.
        scale: the scale of the augmentation.
        align_corners: True for sides of 16 n + 1, False for sides of 16 n.

    >>> input_size((720, 1280), 1040, 1.0, True), input_size((480, 854), 1040, 1.0, True)
    ((577, 1041), (481, 849))
    """
    shrink = min(1.0, max_long_edge / max(size))
    odd = int(align_corners)
    # whole pixels first, then the nearest allowed side; an image of a few pixels still gets one token per side
    sides = (int(np.around((int(shrink * side * scale) - odd) / 16)) * 16 for side in size)
    return tuple(max(side, 16) + odd for side in sides)


def augmentations(size: tuple[int, int], max_long_edge: int, tta: dict, align_corners: bool) -> list[Augmentation]:
    """All augmentations of frames of a size: each scale, and with `flip` its mirror image too.

    Args:
        size: (H, W) of the frames.
        max_long_edge, align_corners: see `input_size`.
        tta: {"flip": bool, "scales": list of numbers}.
    """
    flips = (False, True) if tta["flip"] else (False,)
    return [Augmentation(input_size(size, max_long_edge, s, align_corners), f) for s in tta["scales"] for f in flips]
