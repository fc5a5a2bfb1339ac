"""All scores of a run as one table, and the table by rows, as gains are computed from it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore
from rvos_ensemble.ensemble.metrics.gains import Scores
from rvos_ensemble.ensemble.report.record import ClipRecord

COLUMNS = ("clip", "expression", "text", "step", "J", "F", "J&F")  # of metrics.csv
ANSWERS = ("no_target", "empty")  # further ones, where expressions refer to nothing


def scores_frame(clips: Sequence[Clip], records: Sequence[ClipRecord]) -> pd.DataFrame:
    """All scores, one row per clip, expression and step: clip, expression, text, step, J, F, J&F in 0..1.

    If any expression refers to nothing, also `no_target`, and `empty`: whether all predicted masks are. They are
    missing where the ground truth does not state it.
    """
    texts = {(c.name, e.id): e.text for c in clips for e in c.expressions}
    rows = [
        {"clip": r.clip, "expression": e, "text": texts[r.clip, e], "step": step, **s, "J&F": (s["J"] + s["F"]) / 2}
        for r in records
        for step, of_step in r.scores.items()
        for e, s in of_step.items()
    ]
    answers = ANSWERS if any(row.get("no_target") for row in rows) else ()
    return pd.DataFrame(rows, columns=[*COLUMNS, *answers])


def by_row(frame: pd.DataFrame) -> dict[str, Scores]:
    """{source or step: {clip: {expression: its scores}}} of a table as `scores_frame` makes it."""
    answers = [column for column in ANSWERS if column in frame]
    result: dict[str, dict[str, dict[str, ExpressionScore]]] = {}
    for step, clip, e, *values in frame[["step", "clip", "expression", "J", "F", *answers]].itertuples(index=False):
        score = ExpressionScore(*(None if pd.isna(value) else value for value in values))
        result.setdefault(step, {}).setdefault(clip, {})[e] = score
    return result
