"""Renders a scene of `shapes`: images, and the visible object at each pixel.

It is fast, because training renders clips on the fly: a texture per appearance is created once per clip, and each frame
pastes it into the current outline. Edges are anti-aliased; a pixel belongs to the front-most thing that covers half of
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from rvos_ensemble.adapters.datasets.shapes.grounds import backdrop
from rvos_ensemble.adapters.datasets.shapes.skins import REACH, outline, skin
from rvos_ensemble.adapters.datasets.shapes.things import COLUMN, Conditions, Scene, Thing

FRAME_TIME = 1 / 24  # of a clip: the longest time for which the shutter is open
SUB = 4  # binary places of polygon corners
LINE = 0.6  # pixels by which OpenCV fills a polygon beyond its outline
LARGEST = 200  # side of a skin, pixels


@dataclass(frozen=True)
class Picture:
    """One rendered frame, with N objects among M things.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        ids: uint8 [H, W], the visible object at each pixel, from 1; 0 is background.
        places: float [N, 2], (x, y) of the centres in units of the frame, whether visible or not.
        whole: float [N], area of each object's outline in pixels, including parts outside the frame.
        areas: int [N], pixels of each object inside the frame if nothing hid it.
        over: int [M + 1, M + 1], pixels of thing b that thing a hides, numbered from 1, back to front.
    """

    image: np.ndarray
    ids: np.ndarray
    places: np.ndarray
    whole: np.ndarray
    areas: np.ndarray
    over: np.ndarray


def draw(scene: Scene, times: np.ndarray, size: tuple[int, int]) -> Iterator[Picture]:
    """Renders the scene frame by frame.

    Args:
        scene: the scene.
        times: of the frames, 0 to 1.
        size: (H, W).
    """
    rng = np.random.default_rng(scene.texture)
    ground = backdrop(size, rng)
    skins = {}  # twins share their skin: only their motion distinguishes them
    for thing in scene.things:
        if thing.appearance not in skins:
            sharp = int(np.clip(2 * REACH * max(thing.radius) * size[0], 40, LARGEST))
            skins[thing.appearance] = skin(thing.appearance, sharp, rng)
    trembling = rng.normal(size=(len(times), 4)) * scene.conditions.shake
    lamp = rng.uniform(0.1, 0.9, (2, 2))
    grain = rng.standard_normal((size[0] + 32, size[1] + 32), np.float32)[..., None]
    is_object = np.array([False] + [t.appearance.shape != COLUMN for t in scene.things])
    own = np.where(is_object, np.cumsum(is_object), 0).astype(np.uint8)  # object id of each thing
    for time, tremble in zip(times, trembling, strict=True):
        camera = _camera(scene.conditions, time, size, tremble)
        image = _filmed(ground, camera, size)
        front = np.zeros(size, np.uint8)  # the front-most thing, from 1
        count = len(scene.things) + 1
        places, whole = np.zeros((count, 2)), np.zeros(count)
        areas, over = np.zeros(count, int), np.zeros((count, count), int)
        for k, thing in enumerate(scene.things, 1):
            polygon, matrix = _pose(thing, time, size, camera)
            places[k] = matrix[:, 2] / (size[1], size[0])
            whole[k] = cv2.contourArea(polygon) + LINE * cv2.arcLength(polygon, True)
            smear = _smear(thing, time, size, scene.conditions.exposure)
            box, seen = _paste(image, polygon, matrix, skins[thing.appearance], smear)
            if seen is not None:
                areas[k] = np.count_nonzero(seen)
                over[k] = np.bincount(front[box][seen], minlength=count)
                front[box][seen] = k
        corner = rng.integers(0, 33, 2)
        noise = grain[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
        image = _developed(image, scene.conditions, time, lamp, noise)
        yield Picture(image, own[front], places[is_object], whole[is_object], areas[is_object], over)


def _camera(conditions: Conditions, time: float, size: tuple[int, int], tremble: np.ndarray) -> np.ndarray:
    """Affine map [2, 3] from pixels of the scene to pixels of the frame: pan, slow zoom and shake."""
    height, width = size
    zoom = 1 + conditions.zoom * np.sin(2 * np.pi * time) + tremble[2] / 2
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), float(np.degrees(0.67 * tremble[3])), float(zoom))
    matrix[:, 2] += np.array(conditions.pan) * (time - 0.5) * [width, height] + tremble[:2] * height
    return matrix


def _filmed(ground: np.ndarray, camera: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part that the camera sees of the background, which is 1.5 times as large as the frame."""
    shift = np.eye(3)
    shift[:2, 2] = -0.25 * size[1], -0.25 * size[0]
    flags, mode = cv2.INTER_LINEAR, cv2.BORDER_REFLECT
    return cv2.warpAffine(ground, camera @ shift, (size[1], size[0]), flags=flags, borderMode=mode)


def _pose(thing: Thing, time: float, size: tuple[int, int], camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outline in the frame, float32 [K, 2] pixels, and the map [2, 3] from coordinates of unit radius to it."""
    x, y, radius = thing.at(time)
    centre = camera @ [x * size[1], y * size[0], 1]
    angle, scale = thing.turn * time, radius * size[0]
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.empty((2, 3))
    matrix[:, :2] = camera[:, :2] @ [[cos, -sin], [sin, cos]]
    matrix[:, 2] = centre
    points = outline(thing, time) @ matrix[:, :2].T + centre
    return points.astype(np.float32), matrix


def _smear(thing: Thing, time: float, size: tuple[int, int], exposure: float) -> np.ndarray:
    """(x, y) in pixels by which a thing moves while the shutter is open."""
    if not exposure:
        return np.zeros(2)
    half = exposure * FRAME_TIME / 2
    before, after = np.array(thing.at(time - half)[:2]), np.array(thing.at(time + half)[:2])
    return (after - before) * (size[1], size[0])


def _paste(image: np.ndarray, polygon: np.ndarray, matrix: np.ndarray, skin: np.ndarray, smear: np.ndarray):
    """Paints a thing into the image, with a soft shadow; returns (slices of its box, bool mask of its pixels)."""
    size = image.shape[:2]
    far = size[0] / 45  # distance of the shadow
    reach = np.abs(smear) / 2 + 2 * far + 2
    left, top = np.maximum(polygon.min(0) - reach, 0).astype(int)
    right, bottom = np.minimum(polygon.max(0) + reach + 1, size[::-1]).astype(int)
    box = (slice(top, bottom), slice(left, right))
    if left >= right or top >= bottom:
        return box, None
    width, height = int(right - left), int(bottom - top)
    cover = np.zeros((height, width), np.uint8)
    corners = np.rint((polygon - (left, top)) * (1 << SUB)).astype(np.int32)
    cv2.fillPoly(cover, [corners], 255, cv2.LINE_AA, SUB)
    seen = cover >= 128
    rim = cover - cv2.erode(cover, None)
    cover = cover * np.float32(1 / 255)
    onto = matrix @ _from_skin(skin)
    onto[:, 2] -= left, top
    paint = cv2.warpAffine(skin, onto, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    reach = np.sqrt(np.abs(np.linalg.det(matrix[:, :2])))
    across, down = ((np.arange(n) - c) / reach for n, c in ((width, matrix[0, 2] - left), (height, matrix[1, 2] - top)))
    light = np.float32(1.08 - 0.08 * across - 0.12 * down[:, None])  # lit from above
    light *= cover * (1 - np.float32(0.35 / 255) * rim)  # a darker rim
    paint *= light[..., None]
    if np.hypot(*smear) >= 1:
        kernel = _line(smear)
        paint, cover = cv2.filter2D(paint, -1, kernel), cv2.filter2D(cover, -1, kernel)
    shadow = cv2.warpAffine(cover, np.float32([[1, 0, 0.5 * far], [0, 1, far]]), (width, height))
    shadow = cv2.blur(shadow, (2 * int(far) + 1,) * 2)
    part = image[box]
    part *= ((1 - 0.35 * shadow) * (1 - cover))[..., None]
    part += paint
    return box, seen


def _from_skin(skin: np.ndarray) -> np.ndarray:
    """Map [3, 3] from pixels of a skin to the object's own coordinates."""
    step = 2 * REACH / len(skin)
    return np.array([[step, 0, step / 2 - REACH], [0, step, step / 2 - REACH], [0, 0, 1]])


def _line(smear: np.ndarray) -> np.ndarray:
    """A kernel that distributes a pixel evenly along a line, float32 [K, K]."""
    half = int(np.abs(smear).max() / 2 + 1)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
    ends = [np.rint((half + sign * smear / 2) * (1 << SUB)).astype(int).tolist() for sign in (-1, 1)]
    cv2.line(kernel, *ends, 255, 1, cv2.LINE_AA, SUB)
    return np.float32(kernel / kernel.sum())


def _developed(
    image: np.ndarray, conditions: Conditions, time: float, lamp: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """The image after the effects of focus, light, contrast and noise, uint8 [H, W, 3]."""
    size = image.shape[:2]
    blur = conditions.defocus * size[0] * np.sin(np.pi * time) ** 2
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), float(blur))
    gain = 2 ** (
        conditions.gain * (time - 0.5) - abs(conditions.gain) / 2
    )  # never brighter, so that few pixels saturate
    if conditions.spot:
        x, y = lamp[0] + time * (lamp[1] - lamp[0])
        away = (np.linspace(0, 1, 28) - x) ** 2 + (np.linspace(0, 1, 16)[:, None] - y) ** 2
        glow = np.float32(gain * (1 + conditions.spot * (np.exp(-6 * away) - 0.7)))
        image *= cv2.resize(glow, size[::-1])[..., None]
    elif gain != 1:
        image *= np.float32(gain)
    image += np.float32(conditions.noise) * noise
    image = cv2.convertScaleAbs(np.maximum(image, 0, out=image))
    if conditions.gamma != 1:
        image = cv2.LUT(image, np.uint8(np.rint(255 * (np.arange(256) / 255) ** conditions.gamma)))
    return image
