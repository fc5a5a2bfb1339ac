"""The gain of one prediction over another on the same expressions, with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from rvos_ensemble.ensemble.metrics.bootstrap import RESAMPLES, interval_of_means, paired_interval
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore

Scores: TypeAlias = Mapping[str, Mapping[str, ExpressionScore]]
"""{clip: {expression: its scores}}."""


class Gain(NamedTuple):
    """A difference to another setting and the ends of its 95 % interval; NaN where they are undefined."""

    delta: float
    low: float
    high: float

    @property
    def mark(self) -> str:
        """`~` where the interval contains 0, `?` where there is no interval."""
        if math.isnan(self.low):
            return "?"
        return "~" if self.low <= 0 <= self.high else ""

    @property
    def interval(self) -> str:
        """The interval in percent, in words."""
        return f"95 % [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"


def difference(scores: Scores, other: Scores, seed: int = 0, resamples: int = RESAMPLES) -> Gain:
    """Mean difference of J&F, on the expressions that both have."""
    differences = {clip: [a.JF - b.JF for a, b in of] for clip, of in _pairs(scores, other).items()}
    every = [d for of in differences.values() for d in of]
    mean = float(np.mean(every)) if every else math.nan
    return Gain(mean, *paired_interval(differences, seed, resamples=resamples))


def difference_of_final(scores: Scores, other: Scores, seed: int = 0, resamples: int = RESAMPLES) -> Gain:
    """Difference of Final, on the expressions that both have: the mean of three differences of means."""
    pairs = _pairs(scores, other)
    terms = [{clip: [a.JF - b.JF for a, b in of] for clip, of in pairs.items()}]
    for kind in (True, False):
        terms.append({c: [a.is_right - b.is_right for a, b in of if a.no_target == kind] for c, of in pairs.items()})
    every = [[d for of in term.values() for d in of] for term in terms]
    mean = float(np.mean([np.mean(term) for term in every])) if all(every) else math.nan
    return Gain(mean, *interval_of_means(terms, seed, resamples=resamples))


def _pairs(scores: Scores, other: Scores) -> dict[str, list[tuple[ExpressionScore, ExpressionScore]]]:
    """{clip: the scores of each expression that both have}."""
    return {
        clip: [(of[e], other[clip][e]) for e in of if e in other[clip]] for clip, of in scores.items() if clip in other
    }
