"""Paired bootstrap over clips: how much of a difference between two settings could be due to the choice of clips.

Both settings are scored on the same expressions, so only the differences matter. Expressions of a clip share its frames
and often its object. Therefore whole clips are drawn, with replacement, and the mean is over the expressions of the
clips drawn.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, Sec. 13.3 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

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
    return interval_of_means([differences], seed, level, resamples)


def interval_of_means(
    terms: Sequence[Mapping[str, Sequence[float]]], seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Confidence interval of the mean of several means, each over its own expressions of the same clips.

    Final is such a mean: of J&F over all expressions, N-acc over those without a target, T-acc over those with one.

    Args:
        terms: one mapping {clip: one difference per expression} for each mean.
        seed, level, resamples: see `paired_interval`. Draws of clips in which a term has no expression are not used.

    Returns:
        (low, high); NaN for fewer than two clips, or if a term has no expression.

    >>> interval_of_means([{"a": [0.1], "b": [0.1]}, {"a": [0.5], "b": [0.5]}])
    (0.3, 0.3)
    """
    clips = sorted({name for term in terms for name, values in term.items() if len(values)})
    if len(clips) < 2:
        return float("nan"), float("nan")
    drawn = _draws(seed, len(clips), resamples)
    total, usable = np.zeros(resamples), np.ones(resamples, bool)
    for term in terms:
        values = [np.asarray(term.get(name, ()), np.float64) for name in clips]
        sums, counts = drawn @ np.array([v.sum() for v in values]), drawn @ np.array([len(v) for v in values])
        usable &= counts > 0
        total += sums / np.maximum(counts, 1)
    if not usable.any():
        return float("nan"), float("nan")
    low, high = np.quantile(total[usable] / len(terms), [(1 - level) / 2, (1 + level) / 2])
    # rounded, so that equal differences give equal ends in whatever order they are summed
    return round(float(low), 12), round(float(high), 12)


@lru_cache(maxsize=2)  # drawing takes longer than everything else, and a report has many intervals of the same clips
def _draws(seed: int, clips: int, resamples: int) -> np.ndarray:
    """How often each resample draws each clip, int64 [resamples, clips]."""
    return np.random.default_rng(seed).multinomial(clips, [1 / clips] * clips, resamples)
