"""A contact sheet of `shapes`, to see what is in it: clips with their objects outlined, or one sentence, all models."""

from __future__ import annotations

import cv2
import numpy as np

from adapters.datasets.shapes.layout import frame_numbers
from adapters.datasets.shapes.render import draw
from adapters.datasets.shapes.scenes import compose
from adapters.datasets.shapes.segmenters import SEGMENTERS, View, segment
from adapters.datasets.shapes.things import COLOURS

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def clips_sheet(seed: int = 0, clips: int = 8, columns: int = 6, frames: int = 24, size=(180, 320)) -> np.ndarray:
    """One row a clip, every object outlined in its own colour; uint8 [H, W, 3] RGB."""
    rows = []
    for index in range(clips):
        scene, pictures = _draw(seed, index, frames, size)
        rows.append(
            [
                _outlined(p.image, *((p.ids == k, colour) for k, colour in enumerate(_outline_colours(scene), 1)))
                for p in (pictures[t] for t in _spread(columns, frames))
            ]
        )
    return _grid(rows)


def models_sheet(
    seed: int, index: int, expression: int, columns: int = 8, frames: int = 24, size=(180, 320)
) -> np.ndarray:
    """The truth of one sentence above what each model makes of it (and P); uint8 [H, W, 3] RGB."""
    scene, pictures = _draw(seed, index, frames, size)
    sentence, own = [(s, k) for k, thing in enumerate(scene.objects, 1) for s in thing.sentences][expression]
    view = View.of(scene, np.stack([p.ids for p in pictures]))
    shown = _spread(columns, frames)
    rows = [[_written(_outlined(pictures[t].image, (view.ids[t] == own, BLACK)), sentence.text) for t in shown]]
    for name, model in SEGMENTERS.items():
        margins, scores = segment(model, view, own, sentence.by_look, (seed, index, expression))
        rows.append([])
        for t in shown:
            tinted = pictures[t].image.copy()
            tinted[margins[t] > 0] = tinted[margins[t] > 0] // 2 + np.uint8([110, 0, 90])
            text = name if scores is None else f"{name} {scores[t]:.2f}"
            rows[-1].append(_written(_outlined(tinted, (view.ids[t] == own, BLACK)), text))
    return _grid(rows)


def _draw(seed: int, index: int, frames: int, size) -> tuple:
    scene, numbers = compose(seed, index), frame_numbers(index, frames)
    return scene, list(draw(scene, (numbers - numbers[0]) / (numbers[-1] - numbers[0]), size))


def _spread(columns: int, frames: int) -> list[int]:
    return np.linspace(0, frames - 1, columns).astype(int).tolist()


def _outline_colours(scene) -> list[tuple[int, int, int]]:
    return [tuple(int(c * 0.45) for c in COLOURS[thing.look.colour]) for thing in scene.objects]


def _outlined(image: np.ndarray, *masks) -> np.ndarray:
    image = image.copy()
    for mask, colour in masks:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, colour, 1)
    return image


def _written(image: np.ndarray, text: str) -> np.ndarray:
    for colour, thickness in ((BLACK, 3), (WHITE, 1)):
        cv2.putText(image, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, thickness, cv2.LINE_AA)
    return image


def _grid(rows: list[list[np.ndarray]]) -> np.ndarray:
    pad = ((2, 2), (2, 2), (0, 0))
    return np.vstack([np.hstack([np.pad(i, pad, constant_values=255) for i in row]) for row in rows])
