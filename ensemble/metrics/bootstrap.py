"""Paired bootstrap over clips: how far a difference between two settings could be chance of the clips at hand.

Both settings are scored on the same expressions, so only the differences matter. Expressions of a clip share its
frames and often its object: whole clips are drawn, with replacement, and the mean is over the expressions of the drawn.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, Sec. 13.3 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLES = 10_000


def paired_interval(
    differences: Mapping[str, Sequence[float]], seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The interval of the mean difference.

    Args:
        differences: {clip: one difference an expression}; clips without any count for nothing.
        seed: the same seed, the same interval, whatever the order of the clips.
        level: share of the resampled means inside.
        resamples: how many.

    Returns:
        (low, high); NaN with fewer than two clips, from which nothing can be said.

    >>> paired_interval({"a": [0.1, 0.1], "b": [0.1]})
    (0.1, 0.1)
    >>> paired_interval({"a": [0.1]})
    (nan, nan)
    """
    clips = [np.asarray(differences[name], np.float64) for name in sorted(differences) if len(differences[name])]
    if len(clips) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).multinomial(len(clips), [1 / len(clips)] * len(clips), resamples)
    sums, counts = np.array([c.sum() for c in clips]), np.array([len(c) for c in clips])
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return round(float(low), 12), round(
        float(high), 12
    )  # equal differences give equal ends, whatever the order of sums
