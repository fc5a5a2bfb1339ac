"""Outlines and textures (skins) of the objects of `shapes`."""

from __future__ import annotations

from functools import cache

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.grounds import smooth_noise
from rvos_ensemble.adapters.datasets.shapes.things import COLOURS, COLUMN, Appearance, Thing

AROUND = np.linspace(-np.pi, np.pi, 97)[:-1]
ROUND = np.stack([np.cos(AROUND), np.sin(AROUND)], axis=1)
SIDES = {"square": 4, "triangle": 3}
REACH = 1.4  # half the side of a skin, in radii
TALL = 12.0  # half the height of a column, in radii


def outline(thing: Thing, time: float) -> np.ndarray:
    """Corners of the outline in the object's own coordinates, of about unit radius, float [K, 2]."""
    if thing.appearance.shape == COLUMN:
        return np.array([[-1, -TALL], [1, -TALL], [1, TALL], [-1, TALL]])
    phase = 2 * np.pi * time
    bend = np.sin(2 * AROUND + 1.3 * phase) + 0.6 * np.sin(3 * AROUND - 0.9 * phase + 1)
    return ROUND * (_rim(thing.appearance.shape) * (1 + thing.sway * bend))[:, None]


@cache
def _rim(shape: str) -> np.ndarray:
    """Distance of the outline from the centre in the directions `AROUND`."""
    if shape in SIDES:  # a polygon with round corners: a smooth maximum over the normals of its sides
        normals = 2 * np.pi * np.arange(SIDES[shape]) / SIDES[shape]
        toward = np.clip(np.cos(AROUND[:, None] - normals), 0, None)
        return (0.86 if shape == "square" else 0.64) * ((toward**10).sum(-1)) ** -0.1
    if shape == "star":
        return 0.70 / (1 - 0.30 * np.cos(5 * AROUND))
    if shape == "flower":
        return 0.72 + 0.33 * np.abs(np.cos(2.5 * AROUND))
    if shape == "oval":
        return 0.62 / np.hypot(0.62 / 1.15 * np.cos(AROUND), np.sin(AROUND))
    if shape == "cross":
        return np.minimum(1.1, 0.42 / np.maximum(np.minimum(np.abs(np.cos(AROUND)), np.abs(np.sin(AROUND))), 0.2))
    return np.ones_like(AROUND)  # disc


def skin(appearance: Appearance, side: int, rng: np.random.Generator) -> np.ndarray:
    """The texture of an appearance over a square of 2 REACH radii, float32 [side, side, 3]."""
    along = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1) * REACH
    u, v = np.meshgrid(along, along)
    grain = 1 + 0.05 * smooth_noise((side, side), max(side // 24, 2), rng)
    if appearance.shape == COLUMN:
        round_ = 0.72 + 0.32 * np.sqrt(np.clip(1 - u**2, 0, 1)) + 0.05 * np.cos(14 * u) - 0.10 * u
        return np.float32(rng.uniform(120, 200, 3)) * (round_ * grain)[..., None]
    base = np.clip(np.float32(COLOURS[appearance.colour]) + rng.normal(0, 8, 3), 0, 255).astype(np.float32)
    light = np.clip(0.5 + 3 * _wave(appearance, u, v, rng), 0, 1)[..., None]
    share = rng.uniform(0.5, 0.7)
    pale = (1 - share) * base + share * np.float32((255, 250, 238))
    bulge = 1.04 + 0.10 * np.clip(1 - u**2 - v**2, -0.5, 1)
    return np.float32((base + light * (pale - base)) * (grain * bulge)[..., None])


def _wave(appearance: Appearance, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where the pattern is light (above 0) and where it shows the colour (below)."""
    stretch = rng.uniform(0.8, 1.25)
    if appearance.pattern == "striped":
        return np.sin(7.5 * stretch * u + rng.uniform(0, 6))
    if appearance.pattern == "dotted":
        return 3 * (np.cos(6.5 * stretch * u) * np.cos(6.5 * stretch * v) - 0.45)
    if appearance.pattern == "checkered":
        return 3 * np.sin(5.2 * stretch * u) * np.sin(5.2 * stretch * v)
    if appearance.pattern == "ringed":
        return np.sin(9.5 * stretch * np.hypot(u, v) + 2.2)
    return np.full_like(u, -0.14)  # plain
