"""Backgrounds of `shapes`."""

from __future__ import annotations

import cv2
import numpy as np


def backdrop(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A gradient of three colours with pebbles or boards and a fine grain; float32 [1.5 H, 1.5 W, 3].

    The colours are paler or duller than those of the objects, so that these remain distinguishable.
    """
    height, width = int(1.5 * size[0]), int(1.5 * size[1])
    grey = rng.uniform(95, 225)
    colours = np.clip(grey + rng.normal(0, 18, 3) + rng.normal(0, 12, (3, 3)) + [[24], [0], [-24]], 20, 250)
    slope = np.linspace(rng.uniform(-1, 0.6), 1, height)[:, None] * rng.choice([-1, 1])
    drift = slope + rng.uniform(0.2, 0.9) * smooth_noise((height, width), int(0.24 * size[0]), rng)
    index = np.uint8(np.clip(128 + 90 * drift, 0, 255))
    ramp = np.stack([np.interp(np.arange(256), [0, 128, 255], colours[:, c]) for c in range(3)], axis=1)
    ground = np.float32(ramp)[index]
    marks = np.full((height, width), 128, np.uint8)
    if rng.random() < 0.7:
        _pebbles(marks, size[0], rng)
    else:
        _boards(marks, size[0], rng)
    shade = cv2.GaussianBlur(marks, (3, 3), 0) * np.float32(1 / 128)
    for cell in (0.07, 0.02):
        shade += np.float32(rng.uniform(0.01, 0.04)) * smooth_noise((height, width), max(int(cell * size[0]), 2), rng)
    ground *= shade[..., None]
    return ground


def _pebbles(marks: np.ndarray, rows: int, rng: np.random.Generator) -> None:
    many, contrast = int(rng.integers(30, 160)), rng.uniform(8, 30)
    centres = rng.integers([0, 0], marks.shape[::-1], (many, 2)).tolist()
    axes = (rng.uniform(0.008, 0.05, (many, 1)) * rows * rng.uniform(0.6, 1.4, (many, 2)) + 1).astype(int).tolist()
    angles, greys = rng.uniform(0, 180, many).tolist(), (128 + rng.uniform(-contrast, contrast, many)).tolist()
    for centre, axis, angle, grey in zip(centres, axes, angles, greys, strict=True):
        cv2.ellipse(marks, centre, axis, angle, 0, 360, grey, -1)


def _boards(marks: np.ndarray, rows: int, rng: np.random.Generator) -> None:
    """Stripes or tiles of slightly different brightness."""
    step, contrast = rng.uniform(0.1, 0.35) * rows, rng.uniform(4, 16)
    ys, xs = (np.int32(np.arange(n) / step) for n in marks.shape)
    shades = rng.uniform(-contrast, contrast, (ys[-1] + 1, xs[-1] + 1))
    if rng.random() < 0.5:
        shades[:] = shades[:1] if rng.random() < 0.5 else shades[:, :1]
    marks[:] = (128 + shades)[np.ix_(ys, xs)]


def smooth_noise(size: tuple[int, int], cell: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit variance, float32 [H, W], with blobs of `cell` pixels."""
    coarse = np.float32(1.5) * rng.standard_normal((-(-size[0] // cell) + 1, -(-size[1] // cell) + 1), np.float32)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
