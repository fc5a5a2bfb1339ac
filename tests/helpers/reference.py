"""J and F written from their definition, with pixels as points, as a slow reference; and random masks."""

import math

import numpy as np


def j_and_f(prediction, truth, radius, void=None):
    """J and F of two bool masks [H, W], boundaries matched up to `radius` pixels."""
    if void is not None:
        prediction, truth = prediction & ~void, truth & ~void
    either = np.count_nonzero(prediction | truth)
    j = np.count_nonzero(prediction & truth) / either if either else 1.0
    return j, f_of(boundary(prediction), boundary(truth), radius)


def boundary(mask):
    """(y, x) of every pixel whose 2x2 window to the right and below is not uniform; int [N, 2].

    Beyond the image's border, the values at the border are repeated.
    """
    wide = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    window = np.stack([wide[:-1, :-1], wide[:-1, 1:], wide[1:, :-1], wide[1:, 1:]])
    return np.argwhere(window.any(axis=0) & ~window.all(axis=0))


def f_of(ours, theirs, radius):
    """F of two sets of points."""
    if len(ours) == 0 and len(theirs) == 0:
        return 1.0
    if len(ours) == 0 or len(theirs) == 0:
        return 0.0
    near = squared_distances(ours, theirs) <= radius * radius
    precision = np.count_nonzero(near.any(axis=1)) / len(ours)
    recall = np.count_nonzero(near.any(axis=0)) / len(theirs)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def squared_distances(a, b):
    """int [N, M] between points int [N, 2] and [M, 2]."""
    a, b = a.astype(np.int32), b.astype(np.int32)
    return (a[:, None, 0] - b[None, :, 0]) ** 2 + (a[:, None, 1] - b[None, :, 1]) ** 2


def default_radius(height, width):
    """0.008 of the diagonal, rounded up."""
    return math.ceil(0.008 * math.sqrt(height * height + width * width))


def decay(values):
    """Mean of the first quarter minus the mean of the last; neighbouring quarters share one frame."""
    last = len(values) - 1
    first_end, last_start = (round(1 + last * q + 1e-10) - 1 for q in (0.25, 0.75))
    first, tail = values[: first_end + 1], values[last_start:]
    return sum(first) / len(first) - sum(tail) / len(tail)


def random_mask(rng, height, width):
    """Empty, full, noise, a box (often at the border), a coarse blob or one pixel."""
    kind = rng.choice(["empty", "full", "noise", "box", "blob", "blob", "box", "pixel", "stripes"])
    mask = np.zeros((height, width), bool)
    if kind == "full":
        mask[:] = True
    elif kind == "noise":
        mask = rng.random((height, width)) < rng.choice([0.01, 0.1, 0.5, 0.95])
    elif kind == "box":
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, n + 1, 2)) for n in (height, width))
        mask[y0:y1, x0:x1] = True
    elif kind == "blob":
        coarse = rng.random((height // 4 + 1, width // 6 + 1)) < rng.choice([0.1, 0.5])
        mask = coarse.repeat(4, axis=0).repeat(6, axis=1)[:height, :width]
    elif kind == "pixel":
        mask[rng.integers(height), rng.integers(width)] = True
    elif kind == "stripes":
        mask[:, :: rng.integers(1, 70)] = True
    return mask
