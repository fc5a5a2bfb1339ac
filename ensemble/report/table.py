"""Scores as tables: metrics.csv, metrics.json, and a table for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.ensemble.metrics.existence import MEASURES, Existence, ExpressionScore, existence
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report.frame import ANSWERS, scores_frame
from rvos_ensemble.ensemble.report.paper.latex import latex
from rvos_ensemble.ensemble.report.paper.table import Line, ScoreTable
from rvos_ensemble.ensemble.report.record import ClipRecord
from rvos_ensemble.ensemble.report.remarks import remarks

MOST_LINES = 20  # explanations in the terminal
BELOW = "below oracle"  # J&F of the recipe's oracle minus that of the row


def write_metrics(
    recipe: Recipe,
    folder: Path,
    clips: Sequence[Clip],
    records: Sequence[ClipRecord],
    failed: int = 0,
    arguments: Sequence[str] | None = None,
) -> str:
    """Writes metrics.csv (a row per clip, expression and step), metrics.json and metrics.tex if there is ground truth.

    Where expressions refer to nothing, metrics.csv has the columns `no_target` and `empty`, and metrics.json and the
    table have N-acc, T-acc and Final of every source and step. Where a step of the recipe is an oracle, both have the
    distance of every source and step to it.

    Args:
        recipe: the recipe of the run.
        folder: folder for the files.
        clips: the clips with results.
        records: their records, in the same order.
        failed: the number of clips without results.
        arguments: of the command line, see `remarks`.

    Returns:
        The table to print: the scores of every source and step, in percent; and what it means.
    """
    frame = scores_frame(clips, records)
    if frame.empty:
        return _no_scores(clips, failed)
    atomic_write(folder / "metrics.csv", frame.to_csv(index=False, float_format="%.17g"))
    steps = with_oracle(recipe, summary(recipe, frame))
    atomic_write(
        folder / "metrics.json",
        json.dumps(
            {
                "recipe": recipe.name,
                "output": recipe.output,
                "clips": int(frame["clip"].nunique()),
                "expressions": int(frame.groupby(["clip", "expression"]).ngroups),
                "steps": {row["step"]: {k: v for k, v in row.items() if k != "step"} for row in _plain(steps)},
            },
            indent=1,
        ),
    )
    atomic_write(folder / "metrics.tex", latex(paper_table(recipe, steps, frame)))
    return "\n".join([table_text(recipe, steps, frame), *remarks(recipe, frame, records, arguments)])


def _no_scores(clips: Sequence[Clip], failed: int) -> str:
    """Why there is no table. Failed clips may have ground truth, so nothing is said about theirs."""
    if not clips:
        return "no clip is finished: nothing to score"
    return f"no ground truth{f' for the {len(clips)} finished clips' if failed else ''}: nothing to score"


def summary(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """Mean J, F and J&F over expressions of every source and step, as in Ref-YouTube-VOS.

    With expressions that refer to nothing, also N-acc, T-acc and Final, as in MeViSv2.
    """
    order = [n for n in [*recipe.sources, *recipe.steps] if n in set(frame.step)]
    means = frame.groupby("step")[["J", "F"]].mean().loc[order].reset_index()
    means["J&F"] = (means.J + means.F) / 2
    if "no_target" not in frame:
        return means
    of_steps = {name: of[["J", "F", *ANSWERS]].itertuples(index=False) for name, of in frame.groupby("step")}
    measures = [_existence(of_steps[row.step], row[-1]) for row in means.itertuples(index=False)]
    return means.join(pd.DataFrame(measures, columns=[*MEASURES]))


def with_oracle(recipe: Recipe, steps: pd.DataFrame) -> pd.DataFrame:
    """The table of `summary` with the column `BELOW`, if a step of the recipe is an oracle."""
    oracles = [n for n in steps.step if n in recipe.steps and recipe.steps[n].reads_truth]
    if not oracles:
        return steps
    best = float(steps.loc[steps.step == oracles[0], "J&F"].iloc[0])
    return steps.assign(**{BELOW: best - steps["J&F"]})


def _existence(rows: Iterable[Sequence], jf: float) -> Existence:
    """N-acc, T-acc and Final of the rows (J, F, no_target, empty) of a source or step."""
    scores = (ExpressionScore(*(None if pd.isna(value) else value for value in row)) for row in rows)
    return existence(scores, jf) or Existence(math.nan, math.nan, math.nan)


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table for JSON, which has no NaN."""
    rows = frame.to_dict("records")
    return [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]


def describe(recipe: Recipe, name: str) -> str:
    """A short description of a source or step."""
    if name in recipe.sources:
        source = recipe.sources[name]
        return ", ".join(x for x in ("source", source.label(), *source.low_precisions) if x)
    step = recipe.steps[name]
    if step.propagator:
        return f"{step.settings.input} propagated by {recipe.describe_propagator(step.propagator)}"
    return ", ".join((step.describe(), *step.low_precisions))


def paper_table(recipe: Recipe, steps: pd.DataFrame, frame: pd.DataFrame) -> ScoreTable:
    """The table for metrics.tex: sources, then steps, as in Table 1 of arXiv 2401.00663; the best of all is bold."""
    names = [*steps.step]
    lines = []
    for i, (name, *scores) in enumerate(steps.itertuples(index=False)):
        above = i > 0 and name not in recipe.sources and names[i - 1] in recipe.sources
        bound = bool(recipe.truth_steps(name))  # it reads the ground truth
        lines.append(Line(name, scores, None, not bound, describe(recipe, name), ruled=above))
    return ScoreTable(_heading(recipe, frame), "Method", [*steps.columns[1:]], lines)


def _heading(recipe: Recipe, frame: pd.DataFrame) -> str:
    """What a table shows: the recipe, the data, and how much of it."""
    expressions = frame.groupby(["clip", "expression"]).ngroups
    data = recipe.config["data"]["dataset"]
    return f"{recipe.name} on {data}: {frame['clip'].nunique()} clips, {expressions} expressions"


def table_text(recipe: Recipe, steps: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The table for the terminal."""
    width = max(len(n) for n in steps.step)
    measures = [*steps.columns[1:]]
    lines = [
        f"\n{_heading(recipe, frame)} (percent, mean over expressions)",
        " ".join([f"{'':{width}}", *(f"{m:>5}" for m in measures)]),
    ]
    for step, *scores in steps.itertuples(index=False):
        mark = "  <- output" if step == recipe.output else ""
        numbers = " ".join(f"{100 * v:{max(5, len(m))}.1f}" for m, v in zip(measures, scores, strict=True))
        lines.append(f"{step:{width}} {numbers}  {describe(recipe, step)}{mark}")
    return "\n".join(lines)


def explanations(recipe: Recipe, clips: Sequence[Clip], records: Mapping[str, ClipRecord]) -> str:
    """What the steps that explain their choices say of each expression, one line each, at most `MOST_LINES`.

    Args:
        recipe: the recipe.
        clips: the clips with results.
        records: {clip: its record}.

    Returns:
        The lines to print; "" if no step of the output explains its choices.
    """
    steps = [name for name in recipe.needed() if recipe.steps[name].explains_choice]
    lines = [
        f"{name}: {c.name}, {e.text!r}: {notes['chosen']}"
        for name in steps
        for c in clips
        for e in c.expressions
        if "chosen" in (notes := records[c.name].notes.get(name, {}).get(e.id, {}))
    ]
    more = len(lines) - MOST_LINES
    return "\n".join([*lines[:MOST_LINES], *([f"... and {more} more, see report.html"] if more > 0 else [])])
