"""Pictures of nothing in particular: blobs of any outline and texture on a ground of any texture.

What a propagator must learn is to follow whatever it was shown, not to find things that stand out. Blobs may have the
texture of the ground or of one another, and have the scale-free look of natural textures rather than flat colours.
"""

from __future__ import annotations

import cv2
import numpy as np

from rvos_ensemble.adapters.training.samples.samples import Sample

OUTLINE = np.linspace(0, 2 * np.pi, 96, endpoint=False)


def collage(size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """One picture with some blobs, the later ones in front.

    Args:
        size: (H, W).

    Returns:
        A sample of one frame.
    """
    image, ids = texture(size, rng), np.zeros(size, np.uint8)
    known = [image]
    for k in range(1, int(rng.integers(2, 7)) + 1):
        mask = np.zeros(size, np.uint8)
        cv2.fillPoly(mask, [outline(size, rng)], 255, cv2.LINE_AA)
        if rng.random() < 0.25:  # like the ground or another blob, elsewhere in it
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
    """Noise of several scales between a few colours, at times with stripes; float32 [H, W, 3], 0..255."""
    h, w = size
    rough = rng.uniform(0.4, 1.6)  # how fast fine detail grows weaker
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
    """A closed line of random smoothness, int32 [n, 2] (x, y)."""
    waves = int(rng.integers(2, 9))
    strength = rng.uniform(0, 0.5) / np.arange(1, waves + 1) ** rng.uniform(0.3, 1)
    phase = rng.uniform(0, 2 * np.pi, waves)
    radius = 1 + (strength * np.sin(np.arange(1, waves + 1) * OUTLINE[:, None] + phase)).sum(1)
    radius = np.maximum(radius, 0.2) * size[0] * np.exp(rng.uniform(np.log(0.07), np.log(0.4)))
    stretch, turn = np.exp(rng.uniform(-0.6, 0.6)), rng.uniform(0, np.pi)
    points = np.stack([radius * np.cos(OUTLINE) * stretch, radius * np.sin(OUTLINE) / stretch], 1)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = rng.uniform(0.1, 0.9, 2) * size[::-1]
    return (points @ rotation.T + centre).astype(np.int32)
