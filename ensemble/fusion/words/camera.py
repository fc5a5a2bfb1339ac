"""The motion of the camera, from points of the background; a cheap estimate of a shift, without zoom and rotation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

WIDTH = 320  # pixels of the pictures in which points are followed
POINTS, FEWEST = 120, 8  # points that are followed; with fewer, the shift is unknown and counts as 0
ERROR = 1.5  # pixels at most between a point and where it comes back to


def small_picture(frame: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is kept of a frame.

    Args:
        frame: uint8 [H, W, 3] RGB.
        background: bool [H, W].

    Returns:
        Grey values and background, both uint8 [h, w], w at most `WIDTH`.
    """
    size = (min(WIDTH, frame.shape[1]), max(1, round(frame.shape[0] * min(1, WIDTH / frame.shape[1]))))
    grey = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return grey, cv2.resize(background.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def camera_path(pictures: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Where the background of the first picture is in each picture.

    Args:
        pictures: F of what `small_picture` returns.

    Returns:
        float64 [F, 2]: sum of the median shifts (x, y) so far, as shares of the width and height.
    """
    path = np.zeros((len(pictures), 2))
    for f, ((first, background), (second, _)) in enumerate(pairwise(pictures), start=1):
        path[f] = path[f - 1] + _shift(first, background, second) / second.shape[::-1]
    return path


def _shift(first: np.ndarray, background: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Median shift (x, y) in pixels of the background's points; zeros if too few can be followed back and forth."""
    points = cv2.goodFeaturesToTrack(first, POINTS, 0.01, 5, mask=background)
    if points is None or len(points) < FEWEST:
        return np.zeros(2)
    there, found, _ = cv2.calcOpticalFlowPyrLK(first, second, points, None)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(second, first, there, None)
    good = (found * returned)[:, 0].astype(bool) & (np.linalg.norm((back - points)[:, 0], axis=1) < ERROR)
    return np.median((there - points)[good, 0], axis=0).astype(np.float64) if good.sum() >= FEWEST else np.zeros(2)
