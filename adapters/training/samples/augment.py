"""Variety from what there is: crops, flips and colours of a clip, clips made of one picture, clips pasted together.

All functions take the random generator they draw from. Pictures and ids are changed alike; beyond a picture's edge it
continues mirrored.

Source: the training data of STM (Oh et al., ICCV 2019) and AOT (Yang et al., NeurIPS 2021): static pictures, each frame
of the clip another random affine view, objects of two clips combined.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from rvos_ensemble.adapters.training.samples.samples import Sample

VOID = 255


def crop(sample: Sample, size: tuple[int, int], rng: np.random.Generator, least: float = 0.45) -> Sample:
    """One random window of all frames, at times mirrored, resized to `size` (H, W).

    Args:
        least: the window's side, as a share of the largest that fits.
    """
    h, w = sample.ids.shape[1:]
    stretch = np.exp(rng.uniform(-0.2, 0.2, 2))  # of the window, (y, x)
    window = np.array(size) * stretch
    window *= rng.uniform(least, 1) * min(h / window[0], w / window[1])
    corner = rng.uniform(0, 1, 2) * ([h, w] - window)
    scale = window / size
    flip = rng.random() < 0.5
    matrix = np.float32(
        [[scale[1], 0, corner[1] + 0.5 * scale[1] - 0.5], [0, scale[0], corner[0] + 0.5 * scale[0] - 0.5]]
    )
    if flip:
        matrix[0] = -scale[1], 0, corner[1] + window[1] - 0.5 * scale[1] - 0.5
    views = [_view(image, ids, matrix, size) for image, ids in zip(sample.images, sample.ids, strict=True)]
    return replace(sample, images=np.stack([v[0] for v in views]), ids=np.stack([v[1] for v in views]))


def pseudo_video(sample: Sample, frames: int, size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """A clip made of the sample's first frame: every frame another view of it, turned, sheared, scaled and bent.

    The views follow one another smoothly, or are drawn one by one, as often.
    """
    picture = replace(sample, images=sample.images[:1], ids=sample.ids[:1])
    image, ids = (x[0] for x in (picture.images, picture.ids))
    base = min(image.shape[0] / size[0], image.shape[1] / size[1]) * rng.uniform(0.7, 1)
    centre = rng.uniform(0.4, 0.6, 2) * image.shape[1::-1]  # (x, y)
    smooth, flip = rng.random() < 0.5, rng.random() < 0.5
    here, there = _Motion.still(), _Motion.random(rng)
    views = []
    for t in range(frames):
        part = t / max(1, frames - 1)
        motion = here.toward(there, part) if smooth or t == 0 else _Motion.random(rng)
        mirrored = flip != (not smooth and t > 0 and rng.random() < 0.3)
        matrix, field = motion.inverse(base, mirrored, size), motion.field
        matrix[:, 2] += centre
        views.append(_view(image, ids, matrix, size, field))
    return replace(picture, images=np.stack([v[0] for v in views]), ids=np.stack([v[1] for v in views]))


def paste(below: Sample, above: Sample) -> Sample:
    """The objects of one clip in front of another, under ids that follow. Expressions are dropped."""
    seen = (above.ids > 0) & (above.ids != VOID)
    highest = int(below.ids[below.ids != VOID].max(initial=0))
    images = np.where(seen[..., None], above.images, below.images)
    ids = np.where(seen, np.minimum(above.ids.astype(int) + highest, VOID - 1), below.ids).astype(np.uint8)
    return Sample(images, ids, ())


def colour(sample: Sample, rng: np.random.Generator, strength: float = 0.4, each: float = 0.05) -> Sample:
    """Brightness, contrast, saturation and hue of the clip, at times grey or blurred.

    Args:
        strength: of what the frames have in common.
        each: of what every frame has for itself.
    """
    common = _colours(rng, strength)
    if rng.random() < 0.1:
        common = _GREY @ common
    sigma = rng.uniform(0.3, 1.2) if rng.random() < 0.2 else 0
    images = []
    for image in sample.images:
        matrix = _colours(rng, each) @ common
        image = cv2.transform(image, matrix[:3])
        images.append(cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image)
    return replace(sample, images=np.stack(images))


def relabel(sample: Sample, rng: np.random.Generator, most: int, subset: float = 0.5, least: float = 5e-4) -> Sample:
    """Objects of the first frame, numbered anew in random order; all others become background.

    Args:
        most: objects at most.
        subset: how often some of the objects are left out.
        least: an object has that share of the first frame's pixels at least.

    Returns:
        The sample with ids 0..n; expressions are dropped.
    """
    ids, counts = np.unique(sample.ids[0], return_counts=True)
    there = ids[(ids > 0) & (ids != VOID) & (counts >= least * sample.ids[0].size)]
    there = rng.permutation(there)[:most]
    if len(there) > 1 and rng.random() < subset:
        there = there[: rng.integers(1, len(there))]
    table = np.zeros(256, np.uint8)
    table[VOID] = VOID
    table[there] = np.arange(1, len(there) + 1)
    return Sample(sample.images, table[sample.ids], ())


class _Motion:
    """A view of a picture relative to another: an affine map and a bend."""

    def __init__(self, values: np.ndarray, bend: np.ndarray):
        self.values, self.bend = values, bend  # turn, shear, log zoom, shift y, shift x; [2, 4, 6] pixels of 100

    @classmethod
    def still(cls) -> _Motion:
        return cls(np.zeros(5), np.zeros((2, 4, 6), np.float32))

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Motion:
        values = rng.uniform(-1, 1, 5) * [np.radians(25), 0.18, 0.18, 0.15, 0.15]
        return cls(values, (rng.normal(0, rng.uniform(0, 3), (2, 4, 6))).astype(np.float32))

    def toward(self, other: _Motion, part: float) -> _Motion:
        return _Motion(self.values + part * (other.values - self.values), self.bend + part * (other.bend - self.bend))

    def inverse(self, scale: float, mirrored: bool, size: tuple[int, int]) -> np.ndarray:
        """[2, 3] from pixels of the view to pixels of the picture around its centre."""
        turn, shear, zoom, dy, dx = self.values
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = scale * np.exp(zoom) * rotation @ [[-1 if mirrored else 1, shear], [0, 1]]
        centre = np.array([size[1] - 1, size[0] - 1]) / 2 + np.array([dx * size[1], dy * size[0]])
        return np.hstack([matrix, -(matrix @ centre)[:, None]]).astype(np.float32)

    @property
    def field(self) -> np.ndarray | None:
        return self.bend if self.bend.any() else None


def _view(image: np.ndarray, ids: np.ndarray, matrix: np.ndarray, size: tuple[int, int], bend=None):
    """Picture and ids through [2, 3], from the view's pixels to theirs; `bend` [2, h, w] moves the former first."""
    flags = cv2.WARP_INVERSE_MAP
    if bend is None:
        warp = lambda x, how: cv2.warpAffine(x, matrix, size[::-1], flags=how | flags, borderMode=cv2.BORDER_REFLECT)  # noqa: E731
        return warp(image, cv2.INTER_LINEAR), warp(ids, cv2.INTER_NEAREST)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    dx, dy = (cv2.resize(b, size[::-1], interpolation=cv2.INTER_CUBIC) * (size[0] / 100) for b in bend)
    x, y = x + dx, y + dy
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    v = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    return (
        cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT),
        cv2.remap(ids, u, v, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT),
    )


_LUMA = np.array([0.299, 0.587, 0.114])
_GREY = np.eye(4)
_GREY[:3, :3] = _LUMA


def _colours(rng: np.random.Generator, strength: float) -> np.ndarray:
    """A random affine map [4, 4] of RGB."""
    light, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    angle = strength * rng.uniform(-1, 1) * np.pi / 2
    matrix = np.eye(4)
    matrix[:3, :3] = contrast * (saturation * _hue(angle) + (1 - saturation) * _LUMA)
    matrix[:3, 3] = 128 * (light - contrast)
    return matrix


def _hue(angle: float) -> np.ndarray:
    """A turn about the grey axis, [3, 3]."""
    cos, sin = np.cos(angle), np.sin(angle)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return cos * np.eye(3) + (1 - cos) / 3 * np.ones((3, 3)) + sin * cross
