"""Draws a scene of `shapes`: pictures and, pixel by pixel, which object is seen.

Edges are anti-aliased in the pictures; a pixel belongs to the front-most thing that covers at least half of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from adapters.datasets.shapes.things import COLOURS, Scene, Thing

GROUNDS = (  # the three colours of a background, muted so that the things stand out
    ((222, 232, 214), (186, 210, 182), (150, 184, 160)),  # meadow
    ((244, 230, 202), (228, 206, 172), (204, 178, 146)),  # sand
    ((206, 226, 234), (166, 200, 214), (130, 170, 192)),  # sea
    ((230, 218, 232), (200, 186, 212), (170, 160, 196)),  # dusk
    ((214, 216, 218), (180, 186, 192), (146, 156, 166)),  # slate
)
SIDES = {"square": 4, "triangle": 3}
FINE = 2  # samples a pixel and direction inside a thing
AROUND = np.linspace(-np.pi, np.pi, 721)


@dataclass(frozen=True)
class Picture:
    """One drawn frame.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        ids: uint8 [H, W], the object seen at each pixel, from 1; 0 where there is none.
        areas: pixels each object would show if nothing were in front of it, inside the frame; int [objects].
    """

    image: np.ndarray
    ids: np.ndarray
    areas: np.ndarray


def draw(scene: Scene, times: np.ndarray, size: tuple[int, int]) -> Iterator[Picture]:
    """Draws the scene frame by frame.

    Args:
        scene: what happens.
        times: of the frames, 0 to 1.
        size: (H, W).
    """
    rng = np.random.default_rng(scene.texture)
    ground = _ground(scene.ground % len(GROUNDS), size, rng)
    grain = [smooth_noise((64, 64), 8, rng) for _ in scene.things]
    first = {}  # twins share their grain: nothing but motion tells them apart
    for thing, own in zip(scene.things, grain, strict=True):
        first.setdefault(thing.look, own)
    shake = rng.normal(0, [0.006, 0.006, 0.004, 0.004], (len(times), 4)) * [size[0], size[0], 1, 1]
    order = {id(thing): k for k, thing in enumerate(scene.objects, 1)}
    for time, trembling in zip(times, shake, strict=True):
        camera = _camera(scene, time, size, trembling)
        image = cv2.warpAffine(
            ground,
            camera @ _from_ground(size),
            (size[1], size[0]),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        ids = np.zeros(size, np.uint8)
        areas = np.zeros(len(scene.objects), int)
        for thing in scene.things:
            box, cover, colour = _thing(thing, time, size, camera, first[thing.look])
            if cover.size:
                image[box] *= 1 - 0.35 * _shadow(cover, size[0] / 45)[..., None]
                image[box] += cover[..., None] * (colour - image[box])
            seen = cover >= 0.5
            ids[box][seen] = order.get(id(thing), 0)
            if id(thing) in order:
                areas[order[id(thing)] - 1] = seen.sum()
        image += rng.normal(0, 1.5, (*size, 1))  # sensor noise
        yield Picture(np.clip(image + 0.5, 0, 255).astype(np.uint8), ids, areas)


def _camera(scene: Scene, time: float, size: tuple[int, int], trembling: np.ndarray) -> np.ndarray:
    """Affine map [2, 3] from pixels of the still scene to pixels of the frame: pan, slow zoom and shake."""
    height, width = size
    zoom = 1 + 0.04 * np.sin(2 * np.pi * time) + trembling[2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(np.degrees(trembling[3])), float(zoom))
    matrix[:, 2] += np.array(scene.pan) * (time - 0.5) * [width, height] + trembling[:2]
    return matrix


def _from_ground(size: tuple[int, int]) -> np.ndarray:
    """[3, 3] from pixels of the ground, which is half as large again as the frame, to those of the scene."""
    matrix = np.eye(3)
    matrix[:2, 2] = -0.25 * size[1], -0.25 * size[0]
    return matrix


def _ground(kind: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A background, float32 [1.5 H, 1.5 W, 3]: drifts of three colours, strewn with pebbles, over a fine grain."""
    height, width = int(1.5 * size[0]), int(1.5 * size[1])
    colours = np.float32(GROUNDS[kind])
    drift = np.linspace(0.2, 1.8, height, dtype=np.float32)[:, None] + 0.35 * smooth_noise((height, width), 44, rng)
    drift = np.clip(drift, 0, 2)[..., None]
    ground = np.where(
        drift < 1, colours[0] + drift * (colours[1] - colours[0]), colours[1] + (drift - 1) * (colours[2] - colours[1])
    )
    pebbles = np.zeros((height, width), np.float32)
    for _ in range(260):
        centre = rng.integers([0, 0], [width, height]).tolist()
        axes = (rng.uniform(0.008, 0.04) * size[0] * rng.uniform(0.6, 1.4, 2) + 1).astype(int).tolist()
        cv2.ellipse(pebbles, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(-0.16, 0.13)), -1)
    shade = 1 + cv2.GaussianBlur(pebbles, (0, 0), 0.8)
    for cell, strength in ((12, 0.025), (4, 0.025)):
        shade *= 1 + strength * smooth_noise((height, width), cell, rng)
    return ground * shade[..., None]


def smooth_noise(size: tuple[int, int], cell: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit variance, float32 [H, W], with blots of `cell` pixels."""
    coarse = rng.normal(0, 1.5, (-(-size[0] // cell) + 1, -(-size[1] // cell) + 1)).astype(np.float32)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def _thing(thing: Thing, time: float, size, camera: np.ndarray, grain: np.ndarray) -> tuple:
    """The part of the frame around the thing: (slices of it, share of each pixel that is covered, float32 colours)."""
    height, width = size
    x, y, radius = thing.at(time)
    centre = camera @ [x * width, y * height, 1]
    scale = float(radius * height * np.hypot(*camera[:, 0]))
    angle = thing.turn * time + np.arctan2(camera[1, 0], camera[0, 0])
    tall = thing.look.shape == "column"
    left, right = _span(centre[0], 1.25 * scale + 0.08 * height, width)
    top, bottom = (0, height) if tall else _span(centre[1], 1.25 * scale + 0.08 * height, height)
    box = (slice(top, bottom), slice(left, right))
    if left >= right or top >= bottom:
        return box, np.zeros((0, 0), np.float32), np.zeros((0, 0, 3), np.float32)
    step = (np.arange(FINE) + 0.5) / FINE - 0.5
    px = ((np.arange(left, right)[:, None] + step).ravel() - centre[0]) / scale
    py = ((np.arange(top, bottom)[:, None] + step).ravel() - centre[1]) / scale
    px, py = np.meshgrid(px.astype(np.float32), py.astype(np.float32))
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    u, v = cos * px + sin * py, cos * py - sin * px
    if tall:
        rim = 1 - np.abs(u)
    else:
        rim = 1 - np.hypot(u, v) / np.float32(np.interp(np.arctan2(v, u), AROUND, _outline(thing, time)))
    inside = np.clip(rim * scale * FINE + 0.5, 0, 1)
    paint = _column(u, v, grain) if tall else _paint(thing, u, v, rim, grain)
    if not tall:
        paint *= (1.02 + 0.22 * np.sqrt(np.clip(rim, 0, 1)) - 0.16 * (0.6 * px + 0.8 * py))[..., None]  # lit from above
        paint *= np.clip(0.62 + rim * scale / 4, 0.62, 1)[..., None]  # a darker rim
    pixels = (right - left, bottom - top)
    return box, *(cv2.resize(fine, pixels, interpolation=cv2.INTER_AREA) for fine in (inside, paint))


def _span(centre: float, reach: float, limit: int) -> tuple[int, int]:
    low, high = max(int(centre - reach), 0), min(int(centre + reach) + 2, limit)
    return low, max(low, high)


def _outline(thing: Thing, time: float) -> np.ndarray:
    """Distance of the outline from the centre, about 1, in the directions AROUND."""
    shape, angle = thing.look.shape, AROUND
    if shape in SIDES:  # a polygon with round corners: a smooth maximum over the normals of its sides
        normals = 2 * np.pi * np.arange(SIDES[shape]) / SIDES[shape]
        toward = np.clip(np.cos(angle[..., None] - normals), 0, None)
        outline = (0.86 if shape == "square" else 0.64) * ((toward**10).sum(-1)) ** -0.1
    elif shape == "star":
        outline = 0.70 / (1 - 0.30 * np.cos(5 * angle))
    elif shape == "flower":
        outline = 0.92 + 0.13 * np.cos(6 * angle)
    else:
        outline = np.ones_like(angle)
    phase = 2 * np.pi * time
    bend = np.sin(2 * angle + 1.3 * phase) + 0.6 * np.sin(3 * angle - 0.9 * phase + 1)
    return outline * (1 + thing.sway * bend)


def _paint(thing: Thing, u: np.ndarray, v: np.ndarray, rim: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """The colour pattern at places of the thing's own frame (unit radius), float32 [..., 3]."""
    pattern = thing.look.pattern
    if pattern == "striped":
        wave = np.sin(7.5 * u)
    elif pattern == "dotted":
        wave = 3 * (np.cos(6.5 * u) * np.cos(6.5 * v) - 0.45)
    elif pattern == "checkered":
        wave = 3 * np.sin(5.2 * u) * np.sin(5.2 * v)
    else:  # ringed
        wave = np.sin(11 * rim + 0.6)
    light = np.clip(0.5 + 3 * wave, 0, 1)[..., None]
    base = np.float32(COLOURS[thing.look.colour])
    pale = 0.38 * base + 0.62 * np.float32((255, 250, 238))
    return (base + light * (pale - base)) * (1 + 0.07 * _look_up(grain, u, v))[..., None]


def _column(u: np.ndarray, v: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Fluted sandstone, float32 [..., 3]."""
    round_ = 0.72 + 0.32 * np.sqrt(np.clip(1 - u**2, 0, 1)) + 0.05 * np.cos(14 * u) - 0.10 * u
    return np.float32((196, 180, 152)) * (round_ * (1 + 0.03 * _look_up(grain, u, v)))[..., None]


def _look_up(grain: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Grain at places of unit radius; it repeats, mirrored, further out."""
    x, y = (u * 24 + 32).astype(np.float32), (v * 24 + 32).astype(np.float32)
    return cv2.remap(grain, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _shadow(cover: np.ndarray, far: float) -> np.ndarray:
    """A soft shadow to the lower right, `far` pixels away; float32 [H, W]."""
    moved = cv2.warpAffine(cover, np.float32([[1, 0, 0.5 * far], [0, 1, far]]), cover.shape[::-1])
    return cv2.GaussianBlur(moved, (0, 0), 0.8 * far)
