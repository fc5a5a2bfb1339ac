"""A contact sheet of `shapes`: frames of some clips with outlined objects."""

from __future__ import annotations

from itertools import cycle
from textwrap import wrap

import cv2
import numpy as np

from rvos_ensemble.adapters.datasets.shapes.clips import Shot, benchmark_clip
from rvos_ensemble.adapters.datasets.shapes.layout import frame_numbers, times
from rvos_ensemble.adapters.datasets.shapes.levels import BENCHMARKS, LEVELS
from rvos_ensemble.adapters.datasets.shapes.mevis.clips import MevisShot, mevis_clip
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
    benchmark: str = BENCHMARKS[0],
) -> np.ndarray:
    """One row per clip, with every object outlined in its own colour, and a sentence; uint8 [H, W, 3] RGB."""
    rows = []
    film, captions = (mevis_clip, _mevis_captions) if benchmark == "mevis" else (benchmark_clip, _captions)
    for index in range(clips):
        shot = film(split, seed, index, level, times(frame_numbers(index, frames)), size)
        colours = _outline_colours(shot.scene)
        rows.append([])
        for t, caption in zip(_spread(columns, frames), cycle(captions(shot)), strict=False):
            picture = shot.pictures[t]
            image = _outlined(picture.image, *((picture.ids == k, colour) for k, colour in enumerate(colours, 1)))
            rows[-1].append(_written(image, caption))
    return _grid(rows)


def levels_sheet(seed: int = 0, benchmark: str = BENCHMARKS[0], clips: int = 3, columns: int = 3) -> np.ndarray:
    """The first clips of every level, easy ones first; uint8 [H, W, 3] RGB."""
    return np.vstack([clips_sheet(seed, clips, columns, level=level, benchmark=benchmark) for level in LEVELS])


def _captions(shot: Shot) -> list[str]:
    """Every sentence with the number of its object, those about motion first."""
    by_motion = sorted(shot.expressions, key=lambda e: e[0].by_appearance)
    return [f"{own}: {sentence.text}" for sentence, own in by_motion]


def _mevis_captions(shot: MevisShot) -> list[str]:
    """Every expression with the numbers of its objects, 0 for none: one of each number of objects first."""
    number = [len(e.objects) for e in shot.expressions]
    turn = [number[:i].count(n) for i, n in enumerate(number)]
    order = sorted(range(len(number)), key=lambda i: (turn[i], number[i]))
    every = [shot.expressions[i] for i in order]
    return [f"{'+'.join(map(str, e.objects)) or 0}: {e.text}" for e in every]


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
    for line, words in enumerate(wrap(text, max(image.shape[1] // 6, 1))):
        for x, y, colour in ((5, 15, BLACK), (7, 15, BLACK), (5, 17, BLACK), (7, 17, BLACK), (6, 16, WHITE)):
            at = (x, y + 16 * line)
            cv2.putText(image, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    return image


def _grid(rows: list[list[np.ndarray]]) -> np.ndarray:
    pad = ((2, 2), (2, 2), (0, 0))
    return np.vstack([np.hstack([np.pad(i, pad, constant_values=255) for i in row]) for row in rows])
