"""Functions on optical flow fields and maps: motion models, warping, the guided filter, log-odds.

Source: He and Sun, Fast Guided Filter, arXiv 1505.00996.
"""

from __future__ import annotations

import cv2
import numpy as np


def motion_score(flow: np.ndarray, mask: np.ndarray, check: np.ndarray) -> np.ndarray:
    """Compares two explanations of the flow: the motion of the object and that of its surroundings.

    Args:
        flow: float32 [h, w, 2].
        mask: float32 [h, w] in 0..1.
        check: float32 [h, w] in 0..1, the reliability of the flow.

    Returns:
        [h, w] from -1 (the motion of the surroundings explains the flow) to 1 (the motion of the object does).
    """
    inside = (mask > 0.5) * check
    around = (box(mask, flow.shape[1] // 12) > 0.01) * (mask < 0.3) * check
    if min(inside.sum(), around.sum()) < 50:  # pixels: too few for two motions
        return np.zeros_like(mask)
    fg, bg = (np.square(flow - affine_motion(flow, weight)).sum(2) for weight in (inside, around))
    return (bg - fg) / (bg + fg + 1)


def affine_motion(flow: np.ndarray, weight: np.ndarray, stride: int = 3) -> np.ndarray:
    """The affine motion [h, w, 2] closest to the flow: least squares, reweighted once against outliers.

    Args:
        flow: float32 [h, w, 2].
        weight: float32 [h, w], the weight of each pixel.
        stride: uses every so many pixels only.
    """
    h, w = weight.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / w
    plane = np.dstack([x, y, np.ones_like(x)])
    p, f = (v[::stride, ::stride].reshape(-1, v.shape[2]) for v in (plane, flow))
    weight = weight[::stride, ::stride].reshape(-1, 1)
    for _ in range(2):
        motion = np.linalg.solve(p.T @ (p * weight) + 1e-3 * np.eye(3, dtype=np.float32), p.T @ (f * weight))
        weight = weight / (1 + np.square(p @ motion - f).sum(1, keepdims=True))
    return plane @ motion


def guided_filter(guide: np.ndarray, mask: np.ndarray, radius: int, eps: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """The guided filter, as coefficients: `slope * guide + offset` is the mask with the edges of the guide.

    Args:
        guide: float32 [h, w] grey image in 0..1.
        mask: float32 [h, w] in 0..1.
        radius: of the window, pixels.
        eps: strength of the smoothing.

    Returns:
        (slope, offset), each [h, w]; they may be resized and applied to a guide of higher resolution.
    """
    mean, target = box(guide, radius), box(mask, radius)
    slope = (box(guide * mask, radius) - mean * target) / (box(guide * guide, radius) - mean * mean + eps)
    return box(slope, radius), box(target - slope * mean, radius)


def warp(x: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """x sampled at the positions that the flow [h, w, 2] points to, same shape as x [h, w] or [h, w, C]."""
    h, w = flow.shape[:2]
    at = flow + np.dstack(np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)))
    return cv2.remap(x, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def log_odds(p: np.ndarray, limit: float = 0.01) -> np.ndarray:
    """log(p / (1 - p)) with p clipped to limit..1 - limit."""
    p = np.clip(p, limit, 1 - limit)
    return np.log(p / (1 - p))


def box(x: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a square with sides of 2 * radius + 1 pixels."""
    return cv2.blur(x, (2 * radius + 1, 2 * radius + 1))
