"""What distinguishes footage from pictures: blur, compression, changing light, and objects that look like the target.

All functions take the random generator from which they draw, and change images of any source; ids stay true.

Source: blur, noise and JPEG compression as in Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations", ICLR 2019; copies of objects as in Ghiasi et al., "Simple Copy-Paste is a Strong
Data Augmentation Method for Instance Segmentation", CVPR 2021.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from rvos_ensemble.adapters.training.samples.sample import VOID, Sample

QUALITY = 15, 80  # of JPEG
STREAK = 0.07  # longest motion blur, as a share of the height
DEFOCUS = 1.6  # largest standard deviation of defocus, pixels
SMALLEST = 0.35  # resolution of the poorest camera, as a share of the sample's
GAMMA, EXPOSURE, SHADE = 0.4, 0.3, 0.5  # largest change: logarithms of gamma and of gain; share of light in the shade


def blur(sample: Sample, rng: np.random.Generator) -> Sample:
    """Blurs a clip by motion of the camera, by defocus or by a low resolution; the strength changes over time."""
    h, w = sample.ids.shape[1:]
    kind = rng.integers(3)
    strength = rng.uniform(0.1, 1) * (1 - rng.uniform(0, 1) * rng.random(len(sample.images)))  # of each frame
    angle = rng.uniform(0, np.pi)
    images = []
    for image, s in zip(sample.images, strength, strict=True):
        if kind == 0:
            images.append(cv2.filter2D(image, -1, _streak(s * STREAK * h, angle), borderType=cv2.BORDER_REFLECT))
        elif kind == 1:
            images.append(cv2.GaussianBlur(image, (0, 0), 0.2 + s * DEFOCUS))
        else:
            share = 1 - s * (1 - SMALLEST)
            low = cv2.resize(image, (round(share * w), round(share * h)), interpolation=cv2.INTER_AREA)
            images.append(cv2.resize(low, (w, h), interpolation=cv2.INTER_LINEAR))
    return replace(sample, images=np.stack(images))


def compress(sample: Sample, rng: np.random.Generator) -> Sample:
    """Compresses and decompresses all frames as JPEG of one random quality."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*QUALITY))]
    images = [cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR) for image in sample.images]
    return replace(sample, images=np.stack(images))


def light(sample: Sample, rng: np.random.Generator) -> Sample:
    """Changes gamma, lets the exposure drift over time, and casts a soft shade on a part of the picture."""
    frames, h, w = sample.ids.shape
    curve = 255 * np.linspace(0, 1, 256) ** np.exp(rng.uniform(-GAMMA, GAMMA))
    gain = np.exp(rng.uniform(-EXPOSURE, EXPOSURE) * np.linspace(0, 1, frames))
    angle, edge, width = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5), rng.uniform(0.02, 0.5)
    y, x = np.mgrid[:h, :w].astype(np.float32) / h
    across = np.cos(angle) * (x - 0.5 * w / h) + np.sin(angle) * (y - 0.5)
    shade = 1 - rng.uniform(0, SHADE) * np.clip((across - edge) / width, 0, 1)
    images = []
    for image, factor in zip(sample.images, gain, strict=True):
        table = np.clip(curve * factor, 0, 255).astype(np.uint8)
        images.append(cv2.multiply(cv2.LUT(image, table), cv2.merge([shade] * 3), dtype=cv2.CV_8U))
    return replace(sample, images=np.stack(images))


def twin(sample: Sample, rng: np.random.Generator) -> Sample:
    """Pastes a copy of one object elsewhere as background, where it may cover objects, the original included.

    The copy keeps its distance or drifts, and lies in front of all objects or behind them.
    """
    objects = [k for k in np.unique(sample.ids[0]).tolist() if 0 < k < VOID]
    if not objects:
        return sample
    k, (frames, h, w) = objects[rng.integers(len(objects))], sample.ids.shape
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.6)
    start = np.array([np.cos(angle) * w, np.sin(angle) * h]) * distance
    drift = rng.uniform(-0.3, 0.3, 2) * [w, h] * (rng.random() < 0.5)
    front = rng.random() < 0.5
    images, ids = sample.images.copy(), sample.ids.copy()
    for t in range(frames):
        dx, dy = start + drift * t / max(1, frames - 1)
        matrix = np.float32([[1, 0, dx], [0, 1, dy]])
        copy = cv2.warpAffine(sample.images[t], matrix, (w, h), flags=cv2.INTER_NEAREST)
        place = cv2.warpAffine((sample.ids[t] == k).astype(np.uint8), matrix, (w, h), flags=cv2.INTER_NEAREST) > 0
        if not front:
            place &= ids[t] == 0
        images[t][place], ids[t][place] = copy[place], 0
    return replace(sample, images=images, ids=ids)


def _streak(length: float, angle: float) -> np.ndarray:
    """The kernel of a motion blur: a line of that length in pixels and direction."""
    radius = max(1, int(np.ceil(length / 2)))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    dx, dy = np.cos(angle) * length / 2, np.sin(angle) * length / 2
    ends = [tuple(round(16 * (radius + s * d)) for d in (dx, dy)) for s in (-1, 1)]
    cv2.line(kernel, *ends, 1.0, 1, cv2.LINE_8, 4)
    return kernel / kernel.sum()
