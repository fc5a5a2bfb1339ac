"""Data augmentation: crops, flips and colour changes of a clip, clips made of a static image, merged clips.

All functions take the random generator from which they draw. Images and ids are transformed alike; pixels outside an
image are filled by reflection.

Source: the training data of STM (Oh et al., ICCV 2019) and AOT (Yang et al., NeurIPS 2021): static images, where each
frame is another random affine view, and merged objects of two clips.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from rvos_ensemble.adapters.training.samples.sample import VOID, Sample


def crop(sample: Sample, size: tuple[int, int], rng: np.random.Generator, least: float = 0.45) -> Sample:
    """Crops the same random window from all frames, flips it with a probability of 0.5, and resizes it.

    Args:
        sample: the clip.
        size: (H, W) of the result.
        rng: random generator.
        least: smallest side of the window as a share of the largest that fits.
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


def pseudo_video(
    sample: Sample, frames: int, size: tuple[int, int], rng: np.random.Generator, widest: float = 1.0
) -> Sample:
    """Makes a clip from the sample's first frame: each frame is another view, rotated, sheared, scaled and warped.

    With a probability of 0.5 the views follow a smooth motion; otherwise they are drawn independently.

    Args:
        sample: the image.
        frames: number of frames.
        size: (H, W) of the frames.
        rng: random generator.
        widest: largest side of a view relative to the largest that fits into the image; above 1, there are no objects
            outside the image.
    """
    image, ids = sample.images[0], sample.ids[0]
    share = rng.uniform(0.7, 1) if widest == 1 else np.exp(rng.uniform(np.log(0.7), np.log(widest)))
    base = min(image.shape[0] / size[0], image.shape[1] / size[1]) * share
    outside = cv2.BORDER_REFLECT if widest == 1 else cv2.BORDER_CONSTANT
    centre = rng.uniform(0.4, 0.6, 2) * image.shape[1::-1]  # (x, y)
    smooth, flip = rng.random() < 0.5, rng.random() < 0.5
    start, end = _Motion.still(), _Motion.random(rng)
    views = []
    for t in range(frames):
        part = t / max(1, frames - 1)
        motion = start.toward(end, part) if smooth or t == 0 else _Motion.random(rng)
        mirrored = flip != (not smooth and t > 0 and rng.random() < 0.3)
        matrix, field = motion.inverse(base, mirrored, size), motion.field
        matrix[:, 2] += centre
        views.append(_view(image, ids, matrix, size, field, outside))
    return replace(sample, images=np.stack([v[0] for v in views]), ids=np.stack([v[1] for v in views]))


def paste(below: Sample, above: Sample) -> Sample:
    """Pastes the objects of one clip in front of another, with subsequent ids. Expressions are dropped."""
    visible = (above.ids > 0) & (above.ids != VOID)
    highest = int(below.ids[below.ids != VOID].max(initial=0))
    images = np.where(visible[..., None], above.images, below.images)
    ids = np.where(visible, np.minimum(above.ids.astype(int) + highest, VOID - 1), below.ids).astype(np.uint8)
    return Sample(images, ids, ())


def colour(sample: Sample, rng: np.random.Generator, strength: float = 0.4, each: float = 0.05) -> Sample:
    """Changes brightness, contrast, saturation and hue of a clip; sometimes converts it to grey or blurs it.

    Args:
        sample: the clip.
        rng: random generator.
        strength: of the change that all frames share.
        each: strength of the additional change of each frame.
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
    """Renumbers the objects of the first frame in random order; all other objects become background.

    Args:
        sample: the clip.
        rng: random generator.
        most: maximum number of objects.
        subset: probability of leaving out some of the objects.
        least: smallest share of the first frame's pixels that an object must cover.

    Returns:
        The sample with ids 0..n; expressions are dropped.
    """
    ids, counts = np.unique(sample.ids[0], return_counts=True)
    objects = ids[(ids > 0) & (ids != VOID) & (counts >= least * sample.ids[0].size)]
    objects = rng.permutation(objects)[:most]
    if len(objects) > 1 and rng.random() < subset:
        objects = objects[: rng.integers(1, len(objects))]
    table = np.zeros(256, np.uint8)
    table[VOID] = VOID
    table[objects] = np.arange(1, len(objects) + 1)
    return Sample(sample.images, table[sample.ids], ())


class _Motion:
    """The motion between two views of an image: an affine map and a smooth warp."""

    def __init__(self, values: np.ndarray, bend: np.ndarray):
        # rotation, shear, log zoom, shift y, shift x; and displacements [2, 4, 6] in percent of the height
        self.values, self.bend = values, bend

    @classmethod
    def still(cls) -> _Motion:
        """No motion."""
        return cls(np.zeros(5), np.zeros((2, 4, 6), np.float32))

    @classmethod
    def random(cls, rng: np.random.Generator) -> _Motion:
        """A random motion."""
        values = rng.uniform(-1, 1, 5) * [np.radians(25), 0.18, 0.18, 0.15, 0.15]
        return cls(values, (rng.normal(0, rng.uniform(0, 3), (2, 4, 6))).astype(np.float32))

    def toward(self, other: _Motion, part: float) -> _Motion:
        """Interpolates linearly: 0 gives this motion, 1 the other."""
        return _Motion(self.values + part * (other.values - self.values), self.bend + part * (other.bend - self.bend))

    def inverse(self, scale: float, mirrored: bool, size: tuple[int, int]) -> np.ndarray:
        """The affine map [2, 3] from pixels of the view to pixels of the image, relative to the image's centre."""
        angle, shear, zoom, dy, dx = self.values
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = scale * np.exp(zoom) * rotation @ [[-1 if mirrored else 1, shear], [0, 1]]
        centre = np.array([size[1] - 1, size[0] - 1]) / 2 + np.array([dx * size[1], dy * size[0]])
        return np.hstack([matrix, -(matrix @ centre)[:, None]]).astype(np.float32)

    @property
    def field(self) -> np.ndarray | None:
        """The displacements of the warp; None for no warp."""
        return self.bend if self.bend.any() else None


def _view(
    image: np.ndarray,
    ids: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    bend: np.ndarray | None = None,
    outside: int = cv2.BORDER_REFLECT,
) -> tuple[np.ndarray, np.ndarray]:
    """Warps image and ids by the map [2, 3] from the view's pixels.

    Args:
        image, ids: uint8 [H, W, 3] and [H, W].
        matrix: the map.
        size: (H, W) of the view.
        bend: displacements [2, h, w] that come before the map.
        outside: OpenCV's border mode of the ids.
    """
    if bend is None:
        flags = cv2.WARP_INVERSE_MAP
        return (
            cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR | flags, borderMode=cv2.BORDER_REFLECT),
            cv2.warpAffine(ids, matrix, size[::-1], flags=cv2.INTER_NEAREST | flags, borderMode=outside),
        )
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    dx, dy = (cv2.resize(b, size[::-1], interpolation=cv2.INTER_CUBIC) * (size[0] / 100) for b in bend)
    x, y = x + dx, y + dy
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    v = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    return (
        cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT),
        cv2.remap(ids, u, v, cv2.INTER_NEAREST, borderMode=outside),
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
    """A rotation about the grey axis, [3, 3]."""
    cos, sin = np.cos(angle), np.sin(angle)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return cos * np.eye(3) + (1 - cos) / 3 * np.ones((3, 3)) + sin * cross
