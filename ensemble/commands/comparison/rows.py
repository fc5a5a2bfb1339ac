"""The rows of a comparison: scores of each step in each run, and gains over the first run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from rvos_ensemble.ensemble.commands.comparison.runs import OUTPUT, FinishedRun, Key
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore, existence
from rvos_ensemble.ensemble.metrics.gains import Gain, Scores, difference, difference_of_final


@dataclass(frozen=True)
class StepRow:
    """One step of one run.

    Attributes:
        step: its name, or `OUTPUT`.
        run: index of the run.
        means: {measure: value in 0..1}; the last one is what rows are compared by.
        gain: in that measure, over the first run; None for the first run.
        scores: {(clip, expression): scores}.
    """

    step: str
    run: int
    means: Mapping[str, float]
    gain: Gain | None
    scores: Mapping[Key, ExpressionScore] = field(repr=False)

    @property
    def measure(self) -> str:
        """The measure by which rows are compared: Final where it is defined, else J&F."""
        return list(self.means)[-1]

    @property
    def is_same(self) -> bool:
        """Whether no expression differs from the first run."""
        return self.gain is not None and tuple(self.gain) == (0, 0, 0)


@dataclass(frozen=True)
class Change:
    """One expression of a step in a run, and in the first run.

    Attributes:
        key: clip and expression.
        before, after: J&F in the first run and in this one.
        right: whether each is right about existence; None where the ground truth does not state it.
    """

    key: Key
    before: float
    after: float
    right: tuple[bool, bool] | None = None

    @property
    def delta(self) -> float:
        """The gain in J&F."""
        return self.after - self.before


def steps_of(runs: Sequence[FinishedRun]) -> list[str]:
    """The output, and the sources and steps of the first run that another run has too."""
    return [OUTPUT, *(name for name in runs[0].scores if any(name in run.scores for run in runs[1:]))]


def step_rows(runs: Sequence[FinishedRun], shared: Sequence[Key], seed: int, resamples: int) -> list[StepRow]:
    """The rows of all steps, those of a step together, the first run first."""
    rows = []
    for step in steps_of(runs):
        first = _by_clip(runs[0].of(step), shared)
        final = any(s.no_target for of in first.values() for s in of.values())
        for number, run in enumerate(runs):
            scores = run.of(step)
            if scores is not None:
                own = {key: scores[key] for key in shared if key in scores}
                compare = difference_of_final if final else difference
                gain = compare(_by_clip(own, shared), first, seed, resamples) if number else None
                rows.append(StepRow(step, number, _means([*own.values()], final), gain, own))
    return rows


def changes(first: StepRow, row: StepRow) -> list[Change]:
    """Every expression that both have, the largest gain first."""
    found = []
    for key, after in row.scores.items():
        if (before := first.scores.get(key)) is not None:
            states = before.no_target is not None
            right = (before.is_right, after.is_right) if states else None
            found.append(Change(key, before.JF, after.JF, right))
    return sorted(found, key=lambda change: -change.delta)


def steps_frame(runs: Sequence[FinishedRun], rows: Sequence[StepRow]) -> pd.DataFrame:
    """The table compare.csv: a row per step and run, scores and differences in 0..1."""
    return pd.DataFrame(
        [
            {
                "step": row.step,
                "run": str(runs[row.run].folder),
                "name": runs[row.run].output if row.step == OUTPUT else row.step,
                **row.means,
                "measure": row.measure,
                **(row.gain or Gain(math.nan, math.nan, math.nan))._asdict(),
                "clips": len({clip for clip, _ in row.scores}),
                "expressions": len(row.scores),
            }
            for row in rows
        ]
    )


def expressions_frame(runs: Sequence[FinishedRun], rows: Sequence[StepRow]) -> pd.DataFrame:
    """The table compare_expressions.csv: a row per step, expression and run after the first."""
    firsts = {row.step: row for row in rows if row.run == 0}
    return pd.DataFrame(
        [
            {
                "clip": change.key[0],
                "expression": change.key[1],
                "text": runs[0].texts[change.key],
                "step": row.step,
                "run": str(runs[row.run].folder),
                "first J&F": change.before,
                "J&F": change.after,
                "delta": change.delta,
            }
            for row in rows
            if row.run
            for change in changes(firsts[row.step], row)
        ]
    )


def _by_clip(scores: Mapping[Key, ExpressionScore], shared: Sequence[Key]) -> Scores:
    """{clip: {expression: scores}} of the shared expressions."""
    table: dict[str, dict[str, ExpressionScore]] = {}
    for clip, expression in shared:
        if (clip, expression) in scores:
            table.setdefault(clip, {})[expression] = scores[clip, expression]
    return table


def _means(scores: Sequence[ExpressionScore], final: bool) -> dict[str, float]:
    """Means over expressions; with expressions that refer to nothing also N-acc, T-acc and Final."""
    j, f = (float(np.mean([s[i] for s in scores])) for i in (0, 1)) if scores else (math.nan, math.nan)
    means = {"J": j, "F": f, "J&F": (j + f) / 2}
    known = existence(scores, means["J&F"]) if final else None
    return means | (known.named() if known else {})
