"""Tracklets as numbers: the share of every cell that their masks cover, their mean features, and their paths."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

PATH = 4  # numbers per point of a path: x, y, size, visible


def masked_average(features: Tensor, masks: Tensor) -> Tensor:
    """Mean features under masks; zeros where a mask is empty.

    Args:
        features: float [T, C, h, w].
        masks: [T, P, h, w].

    Returns:
        [T, P, C].

    >>> masked_average(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[1.0, 1.0]], [[0.0, 0.5]]]])).tolist()
    [[[2.0], [3.0]]]
    """
    total = torch.einsum("tchw,tphw->tpc", features, masks.to(features.dtype))
    return total / masks.flatten(2).sum(2).clamp(min=1e-6)[..., None].to(features.dtype)


def paths_of(masks: Tensor, points: int) -> Tensor:
    """The path of each tracklet at evenly spaced times: x and y in -1..1, square root of its area in 0..1, visible.

    Args:
        masks: [T, P, h, w], the share of each cell that is covered.
        points: number of times: the centres of as many equal parts of the clip.

    Returns:
        float [P, points, 4]; zeros where a tracklet is not visible.
    """
    t = (2 * torch.arange(points, device=masks.device) + 1) * len(masks) // (2 * points)
    masks = masks[t].float()  # [points, P, h, w]
    h, w = masks.shape[2:]
    area = masks.sum((2, 3))  # [points, P]
    x = (masks.sum(2) * torch.linspace(-1, 1, w, device=masks.device)).sum(2) / area.clamp(min=1e-6)
    y = (masks.sum(3) * torch.linspace(-1, 1, h, device=masks.device)).sum(2) / area.clamp(min=1e-6)
    return torch.stack([x, y, (area / (h * w)).sqrt(), (area > 0).float()], 2).transpose(0, 1)


def shares(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The share of each cell of a map that a mask covers, float32 [h, w].

    Args:
        mask: bool [H, W].
        size: (h, w) of the map.
    """
    return cv2.resize(mask.view(np.uint8) * np.float32(1), size[::-1], interpolation=cv2.INTER_AREA)
