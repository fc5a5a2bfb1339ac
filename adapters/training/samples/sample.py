"""One training sample: a few frames with numbered objects, and expressions that refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError

ENDLESS = 2**31  # length of data sets whose samples are made on demand
VOID = 255  # id of pixels without a label


@dataclass(frozen=True)
class Sample:
    """A few frames of a video.

    Attributes:
        images: uint8 [T, H, W, 3] RGB.
        ids: uint8 [T, H, W], the object visible at each pixel, from 1; 0 is background, 255 is void.
        expressions: pairs (text, object id).
    """

    images: np.ndarray
    ids: np.ndarray
    expressions: tuple[tuple[str, int], ...] = ()


def same_size(sizes: Sequence[tuple[int, int]]) -> None:
    """Checks that the frames of a batch have one size and can be stacked.

    Raises:
        InputError: they have several sizes; such videos need one sample per batch.
    """
    if len(set(sizes)) > 1:
        names = " and ".join(f"{h}x{w}" for h, w in sorted(set(sizes)))
        raise InputError(
            f"images of {names} (HxW) in one batch; train with batch=1, and accumulate={len(sizes)} to use as many per "
            "step"
        )


def spread_indices(length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """One random frame from each of `count` equal parts of a video, int [count]."""
    cuts = np.arange(count + 1) * length // count
    return rng.integers(cuts[:-1], cuts[1:])
