"""Objects cut out of pictures, and pasted into others.

All functions take the random generator from which they draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rvos_ensemble.adapters.training.samples.collage import outline
from rvos_ensemble.adapters.training.samples.sample import VOID, Sample

LEAST_PIXELS = 400  # of an object that is cut out
HEIGHTS = 0.12, 1.0  # of pasted objects, relative to that of the picture
WIDEST = 0.95  # largest width of pasted objects, relative to that of the picture
TURN, STRETCH, LIGHT = 20.0, 0.12, 0.25  # largest rotation in degrees; logarithms of the stretch and of the gain
VISIBLE = 0.25  # an object that shows less of itself is void
LEAST_SHARE = 0.001  # of the picture, for an object that is not void


@dataclass(frozen=True)
class Cutout:
    """An object without its surroundings.

    Attributes:
        image: uint8 [h, w, 3].
        cover: uint8 [h, w], 255 on the object, 0 elsewhere.
    """

    image: np.ndarray
    cover: np.ndarray


def cutouts(sample: Sample) -> list[Cutout]:
    """The objects of a sample's first frame that are large enough."""
    image, ids = sample.images[0], sample.ids[0]
    counts = np.bincount(ids.ravel(), minlength=256)
    return [_cut(image, ids == k) for k in np.flatnonzero(counts >= LEAST_PIXELS).tolist() if 0 < k < VOID]


def patch(sample: Sample, rng: np.random.Generator) -> Cutout | None:
    """A piece of background with a random outline, to be pasted as no object; None if there is no background."""
    ids = sample.ids[0]
    cover = np.zeros(ids.shape, np.uint8)
    cv2.fillPoly(cover, [outline(ids.shape, rng)], 1)
    cover[ids > 0] = 0
    return _cut(sample.images[0], cover > 0) if np.count_nonzero(cover) >= LEAST_PIXELS else None


def paste(sample: Sample, pasted: Sequence[Cutout], objects: Sequence[bool], rng: np.random.Generator) -> Sample:
    """Pastes cutouts over the first frame, one after the other.

    Objects that are hidden for the most part, the sample's own included, become void.

    Args:
        sample: with ids 0..n and 255.
        pasted: the cutouts.
        objects: whether each of them counts as an object; otherwise it is background.
        rng: random generator.

    Returns:
        A sample of one frame; pasted objects have the ids that follow those of the sample.
    """
    image, ids = sample.images[0].astype(np.float32), sample.ids[0].copy()
    highest = int(ids[ids != VOID].max(initial=0))
    whole = dict(enumerate(np.bincount(ids.ravel(), minlength=256)[: highest + 1].tolist()))  # pixels of each object
    for cutout, counts in zip(pasted, objects, strict=True):
        colours, cover = _placed(cutout, ids.shape, rng)
        image += cover[..., None] * (colours - image)
        visible = cover > 0.5
        if counts:
            highest += 1
            whole[highest] = np.count_nonzero(visible)
        ids[visible] = highest if counts else 0
    shown = np.bincount(ids.ravel(), minlength=256)
    for k, pixels in whole.items():
        if k > 0 and shown[k] < max(VISIBLE * pixels, LEAST_SHARE * ids.size):
            ids[ids == k] = VOID
    return Sample(np.clip(image, 0, 255).astype(np.uint8)[None], ids[None])


def _cut(image: np.ndarray, mask: np.ndarray) -> Cutout:
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    box = slice(y, y + h), slice(x, x + w)
    return Cutout(image[box], mask[box].astype(np.uint8) * 255)


def _placed(cutout: Cutout, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A cutout of random size, rotation, light and place: colours float32 [H, W, 3] and cover float32 [H, W], 0..1."""
    h, w = cutout.cover.shape
    scale = size[0] * np.exp(rng.uniform(*np.log(HEIGHTS))) / h
    scale = min(scale, WIDEST * size[1] / w)
    small = [max(2, round(n * scale * np.exp(rng.uniform(-STRETCH, STRETCH)))) for n in (w, h)]
    image, cover = (cv2.resize(x, small, interpolation=cv2.INTER_AREA) for x in (cutout.image, cutout.cover))
    if rng.random() < 0.5:
        image, cover = image[:, ::-1], cover[:, ::-1]
    angle = rng.uniform(-TURN, TURN) * (rng.random() < 0.5)
    centre = (small[0] - 1) / 2, (small[1] - 1) / 2
    matrix = cv2.getRotationMatrix2D(centre, angle, 1.0)
    matrix[:, 2] += rng.uniform(0.05, 0.95, 2) * size[::-1] - centre
    wide = size[::-1]
    colours = cv2.warpAffine(np.ascontiguousarray(image), matrix, wide, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(np.ascontiguousarray(cover), matrix, wide)
    cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.3, 1.0)).astype(np.float32) / 255
    return colours.astype(np.float32) * np.float32(np.exp(rng.uniform(-LIGHT, LIGHT))), cover
