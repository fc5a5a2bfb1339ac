"""Simulated tracklets: true objects with errors, and distractors."""

from __future__ import annotations

import cv2
import numpy as np

LOST = 0.05  # probability that an object is missing in a frame
TWO_AS_ONE = 0.3  # probability of a distractor that merges two objects


def simulate(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates the tracklets of a clip: its objects in order, with errors, followed by distractors.

    Args:
        ids: object ids, uint8 [T, H, W].
        rng: random generator.

    Returns:
        bool [T, P, H, W].
    """
    length, size = len(ids), ids.shape[1:]
    objects = range(1, int(ids[ids < 255].max(initial=0)) + 1)
    tracklets = [np.stack([_inaccurate(ids[t] == i, rng) for t in range(length)]) for i in objects]
    for masks in tracklets:
        masks[rng.random(length) < LOST] = False
    for _ in range(rng.integers(0, 3)):
        tracklets.append(_background(length, size, rng))
    if len(objects) > 1 and rng.random() < TWO_AS_ONE:
        a, b = rng.choice(len(objects), 2, replace=False)
        tracklets.append(tracklets[a] | tracklets[b])
    return np.stack(tracklets, 1)


def _inaccurate(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask with an outline that is wrong by up to 5 % of its size."""
    if not mask.any():
        return mask
    reach = max(1, round(0.05 * np.sqrt(np.count_nonzero(mask))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    change = (cv2.erode, cv2.dilate, lambda m, _: m)[rng.integers(3)]
    return np.roll(change(mask.view(np.uint8), kernel).view(bool), rng.integers(-reach, reach + 1, 2), (0, 1))


def _background(length: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A drifting ellipse, bool [T, H, W]."""
    start, end = rng.uniform(0.1, 0.9, (2, 2)) * size
    end = start + 0.3 * (end - start)
    axes = [max(2, int(a)) for a in rng.uniform(0.05, 0.2, 2) * size[0]]
    masks = np.zeros((length, *size), np.uint8)
    for t, mask in enumerate(masks):
        y, x = start + (end - start) * t / max(1, length - 1)
        cv2.ellipse(mask, (int(x), int(y)), axes, float(rng.uniform(0, 10)), 0, 360, 1, -1)
    return masks.view(bool)
