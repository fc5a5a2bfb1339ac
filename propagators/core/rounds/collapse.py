"""On which frames a propagation has collapsed, by what the propagator states about its masks, and by their areas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.propagator import SIGNALS

RECENT = 10  # frames; DAM4SAM compares an area with the median of the last 10 that are not zero


@dataclass(frozen=True)
class Limits:
    """When a mask counts as collapsed; None switches a limit off. Any limit is enough.

    Attributes:
        object_score: below this signal of the propagator, in 0..1.
        predicted_iou: below this signal of the propagator, in 0..1.
        confidence: below this mean probability inside the mask, which is in 0.5..1, on frames about which the
            propagator states no signal; an empty mask has 0.
        area: more than this factor larger or smaller than the median of the last areas that are not zero.
    """

    object_score: float | None = 0.5
    predicted_iou: float | None = 0.5
    confidence: float | None = 0.75
    area: float | None = 3.0


def collapses(sequence: MaskSequence, limits: Limits, cuts: Sequence[int] = ()) -> dict[str, list[int]]:
    """The frames of a propagated sequence that have collapsed, ascending, for each limit that was crossed.

    A key frame never collapses. "The last areas" of a frame are those of the `RECENT` frames before it that have a
    mask, on the way from its key frame, which is the first of them: the nearest one without a cut between them, and the
    earlier one if two are equally near, as for signals.

    Args:
        sequence: as `propagate` returns it.
        limits: see `Limits`.
        cuts: of its task, see `PropagationTask`.

    >>> p = np.uint8([[[255, 255]], [[200, 200]], [[130, 0]], [[0, 0]]])
    >>> s = MaskSequence.prob(p, [1, 0.8, 0.5, 0], key_frames=[0])
    >>> collapses(s, Limits(confidence=0.6, area=1.5)), collapses(s, Limits(confidence=None, area=3))
    ({'confidence': [2, 3], 'area': [2, 3]}, {'area': [3]})
    """
    length, keys = len(sequence), sequence.notes["key_frames"]
    low = {name: np.zeros(length, bool) for name in SIGNALS}
    stated = np.zeros(length, bool)
    for name, values in sequence.signals.items():
        stated |= ~np.isnan(values)
        if name in low and (limit := getattr(limits, name)) is not None:
            low[name] = values < limit  # not where nothing is stated: NaN is not below anything
    if limits.confidence is not None:
        low["confidence"] = ~stated & (sequence.scores < np.float32(limits.confidence))
    if limits.area is not None:
        low["area"] = _jumps([np.count_nonzero(sequence.mask(t)) for t in range(length)], keys, cuts, limits.area)
    for frames in low.values():
        frames[list(keys)] = False
    return {name: np.flatnonzero(frames).tolist() for name, frames in low.items() if frames.any()}


def _jumps(areas: Sequence[int], keys: Sequence[int], cuts: Sequence[int], factor: float) -> np.ndarray:
    """Whether the area of each frame is too far from the median of those before it, bool [T]."""
    result = np.zeros(len(areas), bool)
    for t, area in enumerate(areas):
        key = min(keys, key=lambda k: (any(min(k, t) < cut <= max(k, t) for cut in cuts), abs(k - t), k))
        way = areas[key:t] if key < t else areas[key:t:-1]
        if way:
            typical = np.median([a for a in way if a][-RECENT:])
            result[t] = max(area, typical) > factor * min(area, typical)
    return result


def runs(frames: Iterable[int]) -> list[tuple[int, int]]:
    """First and last frame of each run of neighbours among ascending frames.

    >>> runs([3, 4, 5, 9, 11, 12])
    [(3, 5), (9, 9), (11, 12)]
    """
    result: list[tuple[int, int]] = []
    for t in frames:
        start = result.pop()[0] if result and result[-1][1] == t - 1 else t
        result.append((start, t))
    return result


def as_ranges(frames: Iterable[int]) -> str:
    """Ascending frames as a short text.

    >>> as_ranges([3, 4, 5, 9, 11, 12])
    '3-5, 9, 11-12'
    """
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs(frames))
