"""A contact sheet of `shapes`: frames of some clips with outlined objects."""

from __future__ import annotations

from itertools import cycle

import cv2
import numpy as np

from rvos_ensemble.adapters.datasets.shapes.clips import benchmark_clip
from rvos_ensemble.adapters.datasets.shapes.layout import frame_numbers, times
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS
from rvos_ensemble.adapters.datasets.shapes.things import COLOURS

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def clips_sheet(
    seed: int = 0,
    clips: int = 8,
    columns: int = 6,
    frames: int = 24,
    size=(180, 320),
    split: str = "test",
    level: str | None = None,
) -> np.ndarray:
    """One row per clip, with every object outlined in its own colour, and a sentence; uint8 [H, W, 3] RGB."""
    rows = []
    for index in range(clips):
        shot = benchmark_clip(split, seed, index, level, times(frame_numbers(index, frames)), size)
        colours = _outline_colours(shot.scene)
        rows.append([])
        expressions = cycle(sorted(shot.expressions, key=lambda e: e[0].by_appearance))  # those about motion first
        for t, (sentence, own) in zip(_spread(columns, frames), expressions, strict=False):
            picture = shot.pictures[t]
            image = _outlined(picture.image, *((picture.ids == k, colour) for k, colour in enumerate(colours, 1)))
            rows[-1].append(_written(image, f"{own}: {sentence.text}"))
    return _grid(rows)


def levels_sheet(seed: int = 0, clips: int = 3, columns: int = 3) -> np.ndarray:
    """The first clips of every level, easy ones first; uint8 [H, W, 3] RGB."""
    return np.vstack([clips_sheet(seed, clips, columns, level=level) for level in LEVELS])


def _spread(columns: int, frames: int) -> list[int]:
    return np.linspace(0, frames - 1, columns).astype(int).tolist()


def _outline_colours(scene) -> list[tuple[int, int, int]]:
    return [tuple(int(c * 0.45) for c in COLOURS[thing.appearance.colour]) for thing in scene.objects]


def _outlined(image: np.ndarray, *masks) -> np.ndarray:
    image = image.copy()
    for mask, colour in masks:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, colour, 1)
    return image


def _written(image: np.ndarray, text: str) -> np.ndarray:
    for x, y, colour in ((5, 15, BLACK), (7, 15, BLACK), (5, 17, BLACK), (7, 17, BLACK), (6, 16, WHITE)):
        cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    return image


def _grid(rows: list[list[np.ndarray]]) -> np.ndarray:
    pad = ((2, 2), (2, 2), (0, 0))
    return np.vstack([np.hstack([np.pad(i, pad, constant_values=255) for i in row]) for row in rows])
