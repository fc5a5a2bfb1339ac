"""Paired bootstrap over clips: how much of a difference between two settings could be due to the choice of clips.

Both settings are scored on the same expressions, so only the differences matter. Expressions of a clip share its frames
and often its object. Therefore whole clips are drawn, with replacement, and the mean is over the expressions of the
clips drawn.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, Sec. 13.3 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLES = 10_000


def paired_interval(
    differences: Mapping[str, Sequence[float]], seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Confidence interval of the mean difference.

    Args:
        differences: {clip: one difference per expression}; clips without expressions are ignored.
        seed: the same seed gives the same interval, in whatever order the clips are listed.
        level: share of the resampled means inside the interval.
        resamples: number of resampled means.

    Returns:
        (low, high); NaN for fewer than two clips.

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
    # rounded, so that equal differences give equal ends in whatever order they are summed
    return round(float(low), 12), round(float(high), 12)
