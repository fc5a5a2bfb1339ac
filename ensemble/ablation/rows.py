"""The rows of an ablation: the scores of each setting, its gain over the recipe as it is, and which one is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rvos_ensemble.ensemble.ablation.variants import Variant
from rvos_ensemble.ensemble.metrics.existence import Existence, existence
from rvos_ensemble.ensemble.metrics.gains import Gain, Scores, difference, difference_of_final

REFERENCE = "the recipe as it is"


@dataclass(frozen=True)
class Row:
    """A row of the table. Scores and differences are in 0..1, NaN where they are undefined.

    Attributes:
        variant: the setting.
        J, F, JF: means over expressions.
        jf_gain: of J&F over the reference, on the expressions that both have.
        clips, expressions: number of scored ones.
        error: why a clip was not scored; that of the first such clip.
        scores: of every expression.
        existence: N-acc, T-acc and Final; None where no expression of the reference refers to nothing.
        final_gain: like `jf_gain`, of Final.
        truth_steps: steps that read the ground truth, of those that contribute to the masks: the row is an upper bound.
    """

    variant: Variant
    J: float
    F: float
    JF: float
    jf_gain: Gain
    clips: int
    expressions: int
    error: str = ""
    scores: Scores = field(default_factory=dict, repr=False)
    existence: Existence | None = None
    final_gain: Gain | None = None
    truth_steps: Sequence[str] = ()

    @property
    def measure(self) -> str:
        """The measure by which rows are compared: Final where it is defined, else J&F."""
        return "Final" if self.existence else "J&F"

    @property
    def value(self) -> float:
        """The value of `measure`."""
        return self.existence.Final if self.existence else self.JF

    @property
    def gain(self) -> Gain:
        """The gain in `measure`."""
        return self.final_gain or self.jf_gain


def row(variant: Variant, scores: Scores, reference: Scores, seed: int, resamples: int, error: str = "") -> Row:
    """A setting's means and its gain over the reference."""
    of_all = [score for of in scores.values() for score in of.values()]
    j, f = (float(v) for v in (np.mean([s[:2] for s in of_all], axis=0) if of_all else (math.nan, math.nan)))
    gain = difference(scores, reference, seed, resamples)
    clips = sum(bool(of) for of in scores.values())
    plain = Row(variant, j, f, (j + f) / 2, gain, clips, len(of_all), error, scores)
    if not any(s.no_target for of in reference.values() for s in of.values()):
        return plain
    known = existence(of_all, plain.JF) or Existence(math.nan, math.nan, math.nan)
    final_gain = difference_of_final(scores, reference, seed, resamples)
    return Row(**{**vars(plain), "existence": known, "final_gain": final_gain})


def climb(rows: Sequence[Row], seed: int, resamples: int) -> list[str]:
    """Each row's gain over all earlier rows, nearest first, one sentence per row.

    All earlier rows are compared because one row of a paper may be several of ours: "+ stage I and AOT" is a vote and a
    propagation.
    """

    def gain_over(before: Row, after: Row) -> str:
        compare = difference_of_final if after.existence else difference
        gain = compare(after.scores, before.scores, seed, resamples)
        interval = "one clip is too few for an interval" if gain.mark == "?" else gain.interval
        return f"{100 * gain.delta:+.2f} on {before.variant.label}, {interval}"

    return [
        f"{after.variant.label}: {after.measure} "
        + "; ".join(gain_over(before, after) for before in reversed(rows[:i]))
        for i, after in enumerate(rows[1:], start=1)
    ]


def scored_on_all(rows: Sequence[Row]) -> list[Row]:
    """The rows that were scored on as many clips and expressions as the reference, which is the first row."""
    return [r for r in rows if (r.clips, r.expressions) == (rows[0].clips, rows[0].expressions)]


def settings_of(rows: Sequence[Row]) -> list[Row]:
    """The rows that can be chosen: all but upper bounds, which read the ground truth, unless the reference is one."""
    return [r for r in rows if not r.truth_steps or rows[0].truth_steps]


def best_of(rows: Sequence[Row]) -> Row:
    """The row with the highest score of `settings_of` that were scored on as much as the reference.

    Of equal rows it is the first: the reference, if it is among them.
    """
    return max(scored_on_all(settings_of(rows)), key=lambda r: r.value)


def oracle_of(rows: Sequence[Row]) -> Row | None:
    """The row of an oracle, with which the others are compared; None if there is none."""
    return next((r for r in rows if r.expressions and r.variant.step in r.truth_steps), None)


def verdict(rows: Sequence[Row], best: Row) -> str:
    """One sentence about the gain of the best row."""
    if best is rows[0]:
        return f"Best: {REFERENCE}. None of the {len(settings_of(rows)) - 1} settings scores higher."
    if best.gain.low == best.gain.high == 0:
        return f"Best: {best.variant.label}: the same as {REFERENCE}."
    gain = f"{best.variant.label}, {best.measure} {100 * best.gain.delta:+.2f}"
    if best.gain.mark == "?":
        return f"Best: {gain}; one clip is too few for an interval."
    gain += f", {best.gain.interval}"
    if best.gain.mark == "~":
        return f"Best: {gain}: not distinguishable from {REFERENCE} on these {best.clips} clips."
    return f"Best: {gain} against {REFERENCE}."
