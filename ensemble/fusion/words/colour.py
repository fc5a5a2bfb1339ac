"""Colours of masks by English colour words: each pixel gets the names of the nearest prototypes in Lab.

The eleven basic terms are those of Berlin and Kay, "Basic Color Terms", 1969. The prototypes were chosen by hand;
nothing was learned from data.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import cv2
import numpy as np

BASIC = ("black", "grey", "white", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
PROTOTYPES: Mapping[str, tuple[tuple[int, int, int], ...]] = {  # sRGB
    "black": ((8, 8, 8), (32, 32, 34), (28, 34, 44), (40, 34, 30)),
    "grey": ((90, 90, 90), (128, 128, 128), (160, 160, 160), (192, 192, 192), (100, 108, 118), (130, 126, 118)),
    "white": ((252, 252, 252), (225, 225, 225), (228, 232, 240), (238, 232, 218)),
    "red": ((200, 20, 30), (140, 20, 25), (230, 50, 50), (100, 15, 20)),
    "orange": ((245, 130, 30), (225, 100, 30), (250, 165, 70)),
    "yellow": ((250, 230, 40), (215, 195, 50), (250, 240, 140), (200, 170, 40)),
    "green": ((30, 130, 40), (90, 160, 60), (60, 85, 40), (130, 200, 110), (20, 70, 40), (120, 130, 60)),
    "blue": ((20, 50, 170), (40, 90, 200), (110, 160, 220), (20, 30, 80), (60, 100, 140), (90, 190, 230)),
    "purple": ((110, 40, 140), (150, 90, 180), (70, 30, 90)),
    "pink": ((250, 150, 190), (240, 90, 150), (250, 185, 205), (220, 130, 140)),
    "brown": ((110, 70, 35), (140, 95, 60), (75, 50, 30), (170, 130, 90), (190, 155, 115)),
}
SOFTNESS = 10.0  # distance in Lab (Delta E) over which the names of a pixel blend
# every colour word, and how far each basic name counts as that colour
COLOURS: Mapping[str, Mapping[str, float]] = {
    **{name: {name: 1.0} for name in BASIC},
    "gray": {"grey": 1.0},
    "silver": {"grey": 1.0, "white": 0.6},
    "sliver": {"grey": 1.0, "white": 0.6},  # a common misspelling of silver
    "dark": {"black": 1.0, "brown": 0.3, "grey": 0.2},
    "light": {"white": 1.0, "grey": 0.4, "yellow": 0.3},
    "gold": {"yellow": 1.0, "orange": 0.7, "brown": 0.7},
    "golden": {"yellow": 1.0, "orange": 0.7, "brown": 0.7},
    "blonde": {"yellow": 1.0, "brown": 0.8, "white": 0.4},
    "blond": {"yellow": 1.0, "brown": 0.8, "white": 0.4},
    "tan": {"brown": 1.0, "orange": 0.5, "yellow": 0.3},
    "beige": {"brown": 0.8, "white": 0.6, "yellow": 0.4},
    "cream": {"white": 1.0, "yellow": 0.5, "brown": 0.3},
    "maroon": {"red": 1.0, "brown": 0.5},
    "violet": {"purple": 1.0},
    "navy": {"blue": 1.0, "black": 0.5},
    "turquoise": {"blue": 1.0, "green": 0.8},
    "teal": {"blue": 0.8, "green": 0.8},
    "greyish": {"grey": 1.0},
    "reddish": {"red": 1.0, "brown": 0.5},
    "brownish": {"brown": 1.0},
    "whitish": {"white": 1.0},
    "yellowish": {"yellow": 1.0},
    "greenish": {"green": 1.0},
    "bluish": {"blue": 1.0},
    "ginger": {"orange": 1.0, "brown": 0.8},
}


@cache
def table() -> np.ndarray:
    """Share of every basic name in every colour, float32 [32 * 32 * 32, 11]; index: five bits each of R, G, B."""
    levels = (np.arange(32, dtype=np.float32) * 8 + 4) / 255
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 1, 3)
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[:, 0]
    nearest = np.empty((len(lab), len(BASIC)), np.float32)
    for i, name in enumerate(BASIC):
        of_name = cv2.cvtColor(np.float32([PROTOTYPES[name]]) / 255, cv2.COLOR_RGB2LAB)[0]
        nearest[:, i] = np.linalg.norm(lab[:, None] - of_name[None], axis=-1).min(1)
    gap = nearest - nearest.min(1, keepdims=True)  # relative to the nearest, so that no colour is without a name
    weights = np.exp(-0.5 * (gap / SOFTNESS) ** 2)
    return weights / weights.sum(1, keepdims=True)


def shares(pixels: np.ndarray) -> np.ndarray:
    """Share of every basic name.

    Args:
        pixels: uint8 [N, 3] RGB.

    Returns:
        float64 [11] that sums to 1, in the order of `BASIC`; zeros without pixels.

    >>> red = shares(np.uint8([[220, 20, 30]] * 4))
    >>> BASIC[red.argmax()], bool(red.max() > 0.7)
    ('red', True)
    """
    if not len(pixels):
        return np.zeros(len(BASIC))
    r, g, b = (pixels.astype(np.int32) >> 3).T
    return table()[(r << 10) | (g << 5) | b].mean(0, dtype=np.float64)


def share_of(word: str, names: np.ndarray) -> np.ndarray:
    """The share of a mask that has the colour of a word.

    Args:
        word: a key of `COLOURS`.
        names: shares of the basic names, [..., 11].

    Returns:
        float64 [...] in 0..1.
    """
    weights = np.array([COLOURS[word].get(name, 0.0) for name in BASIC])
    return np.asarray(names, np.float64) @ weights
