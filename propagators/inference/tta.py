"""From a frame to the network's input: size, flip and normalisation, as the official evaluator does it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB


@dataclass(frozen=True)
class Augmentation:
    """One way to look at a frame.

    Attributes:
        size: (h, w) of the input.
        flip: left and right exchanged.
    """

    size: tuple[int, int]
    flip: bool = False

    def image(self, picture: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] RGB to a normalised float32 [1, 3, h, w]."""
        x = picture.astype(np.float32)
        if x.shape[:2] != self.size:
            x = cv2.resize(x, self.size[::-1], interpolation=cv2.INTER_CUBIC)
        if self.flip:
            x = x[:, ::-1]
        x = (x / 255 - np.float32(MEAN)) / np.float32(STD)
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None]

    def mirror(self, x: Tensor) -> Tensor:
        """Maps [..., W] between the frame and this view, either way."""
        return x.flip(-1) if self.flip else x


def input_size(size: tuple[int, int], max_long_edge: int, scale: float, align_corners: bool) -> tuple[int, int]:
    """The network's input size for a frame.

    Args:
        size: (H, W) of the frame.
        max_long_edge: the longer side is at most that, before the scale.
        scale: of test-time augmentation.
        align_corners: sides are then 16 n + 1, else 16 n.

    >>> input_size((720, 1280), 1040, 1.0, True), input_size((480, 854), 1040, 1.0, True)
    ((577, 1041), (481, 849))
    """
    shrink = min(1.0, max_long_edge / max(size))
    odd = int(align_corners)
    # whole pixels first, then the nearest allowed side; a picture of a few pixels still gets one token more than none
    sides = (int(np.around((int(shrink * side * scale) - odd) / 16)) * 16 for side in size)
    return tuple(max(side, 16) + odd for side in sides)


def augmentations(size: tuple[int, int], max_long_edge: int, tta: dict, align_corners: bool) -> list[Augmentation]:
    """All views of frames of that size: each scale, and its mirror image where `flip` is on."""
    flips = (False, True) if tta["flip"] else (False,)
    return [Augmentation(input_size(size, max_long_edge, s, align_corners), f) for s in tta["scales"] for f in flips]
