"""Synthetic images: blobs of random outline and texture on a textured background.

A propagator must learn to follow any object that it is given, not to find salient objects. Blobs may therefore have the
texture of the background or of another blob, and textures are scale-free noise, like natural ones, not flat colours.
"""

from __future__ import annotations

import cv2
import numpy as np

from rvos_ensemble.adapters.training.samples.sample import Sample

OUTLINE = np.linspace(0, 2 * np.pi, 96, endpoint=False)


def collage(size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """Draws an image with 2 to 6 blobs; later ones cover earlier ones.

    Args:
        size: (H, W).
        rng: random generator.

    Returns:
        A sample of one frame.
    """
    image, ids = texture(size, rng), np.zeros(size, np.uint8)
    known = [image]
    for k in range(1, int(rng.integers(2, 7)) + 1):
        mask = np.zeros(size, np.uint8)
        cv2.fillPoly(mask, [outline(size, rng)], 255, cv2.LINE_AA)
        if rng.random() < 0.25:  # the shifted texture of the background or of another blob
            own = np.roll(known[rng.integers(len(known))], rng.integers(0, size), (0, 1))
        else:
            own = texture(size, rng)
            known.append(own)
        cover = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 1.2)).astype(np.float32)[..., None] / 255
        image = image + cover * (own - image)
        ids[mask > 127] = k
    image += rng.normal(0, rng.uniform(0, 4), (*size, 1))
    return Sample(np.clip(image, 0, 255).astype(np.uint8)[None], ids[None], ())


def texture(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Multi-scale noise that blends three colours, sometimes with stripes; float32 [H, W, 3], 0..255."""
    h, w = size
    rough = rng.uniform(0.4, 1.6)  # how fast the amplitude falls with the scale
    noise = np.zeros((h, w, 2), np.float32)
    for cell in (64, 24, 8, 3):
        coarse = rng.normal(0, (cell / 24) ** rough, (h // cell + 3, w // cell + 3, 2)).astype(np.float32)
        noise += cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR)
    noise /= noise.std() + 1e-6
    if rng.random() < 0.3:
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 40)
        y, x = np.mgrid[:h, :w].astype(np.float32)
        waves = np.sin((np.cos(angle) * x + np.sin(angle) * y) * (2 * np.pi / period) + noise[..., 1])
        noise[..., 0] = noise[..., 0] * 0.4 + np.clip(2 * waves, -1, 1)
    colours = rng.uniform(0, 255, (3, 1, 1, 3)).astype(np.float32)
    if rng.random() < 0.5:  # shades of one colour
        colours[1:] = colours[0] * rng.uniform(0.5, 1.4, (2, 1, 1, 1)) + rng.normal(0, 20, (2, 1, 1, 3))
    share = np.clip(0.5 + 0.35 * noise, 0, 1)[..., None]
    image = colours[0] + share[:, :, 0] * (colours[1] - colours[0])
    return (image + share[:, :, 1] * 0.6 * (colours[2] - image)).astype(np.float32)


def outline(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A closed outline of random smoothness, int32 [n, 2] (x, y)."""
    waves = int(rng.integers(2, 9))
    strength = rng.uniform(0, 0.5) / np.arange(1, waves + 1) ** rng.uniform(0.3, 1)
    phase = rng.uniform(0, 2 * np.pi, waves)
    radius = 1 + (strength * np.sin(np.arange(1, waves + 1) * OUTLINE[:, None] + phase)).sum(1)
    radius = np.maximum(radius, 0.2) * size[0] * np.exp(rng.uniform(np.log(0.07), np.log(0.4)))
    stretch, angle = np.exp(rng.uniform(-0.6, 0.6)), rng.uniform(0, np.pi)
    points = np.stack([radius * np.cos(OUTLINE) * stretch, radius * np.sin(OUTLINE) / stretch], 1)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = rng.uniform(0.1, 0.9, 2) * size[::-1]
    return (points @ rotation.T + centre).astype(np.int32)
