"""Scores as tables: metrics.csv, metrics.json, and a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report.record import ClipRecord


def write_metrics(recipe: Recipe, folder: Path, clips: Sequence[Clip], records: Sequence[ClipRecord]) -> str:
    """Writes metrics.csv (a row per clip, expression and step) and metrics.json if there is ground truth.

    Args:
        recipe: the recipe of the run.
        folder: folder for the files.
        clips: the clips with results.
        records: their records, in the same order.

    Returns:
        The table to print: J, F and J&F of every source and step, in percent.
    """
    frame = scores_frame(clips, records)
    if frame.empty:
        return "no ground truth: nothing to score"
    atomic_write(folder / "metrics.csv", frame.to_csv(index=False, float_format="%.17g"))
    steps = summary(recipe, frame)
    atomic_write(
        folder / "metrics.json",
        json.dumps(
            {
                "recipe": recipe.name,
                "output": recipe.output,
                "clips": int(frame["clip"].nunique()),
                "expressions": int(frame.groupby(["clip", "expression"]).ngroups),
                "steps": {r.step: {"J": r.J, "F": r.F, "J&F": r.JF} for r in steps.itertuples()},
            },
            indent=1,
        ),
    )
    return table_text(recipe, steps, frame)


def scores_frame(clips: Sequence[Clip], records: Sequence[ClipRecord]) -> pd.DataFrame:
    """All scores, one row per clip, expression and step: clip, expression, text, step, J, F, J&F in 0..1."""
    texts = {(c.name, e.id): e.text for c in clips for e in c.expressions}
    rows = [
        {"clip": r.clip, "expression": e, "text": texts[r.clip, e], "step": step, **s, "J&F": (s["J"] + s["F"]) / 2}
        for r in records
        for step, of_step in r.scores.items()
        for e, s in of_step.items()
    ]
    return pd.DataFrame(rows, columns=["clip", "expression", "text", "step", "J", "F", "J&F"])


def summary(recipe: Recipe, frame: pd.DataFrame) -> pd.DataFrame:
    """Mean J, F and J&F over expressions of every source and step, as in Ref-YouTube-VOS."""
    order = [n for n in [*recipe.sources, *recipe.steps] if n in set(frame.step)]
    means = frame.groupby("step")[["J", "F"]].mean().loc[order].reset_index()
    return means.assign(JF=(means.J + means.F) / 2)


def describe(recipe: Recipe, name: str) -> str:
    """A short description of a source or step."""
    if name in recipe.sources:
        label = recipe.sources[name].label()
        return f"source{f', {label}' if label else ''}"
    step = recipe.steps[name]
    if step.propagator:
        return f"{step.settings.input} propagated by {recipe.describe_propagator(step.propagator)}"
    return step.describe()


def table_text(recipe: Recipe, steps: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The table for the terminal."""
    width = max(len(n) for n in steps.step)
    expressions = frame.groupby(["clip", "expression"]).ngroups
    lines = [
        f"\n{recipe.name} on {recipe.config['data']['dataset']}:"
        f" {frame['clip'].nunique()} clips, {expressions} expressions (percent, mean over expressions)",
        f"{'':{width}}     J     F   J&F",
    ]
    for r in steps.itertuples():
        mark = "  <- output" if r.step == recipe.output else ""
        lines.append(
            f"{r.step:{width}} {100 * r.J:5.1f} {100 * r.F:5.1f} {100 * r.JF:5.1f}  {describe(recipe, r.step)}{mark}"
        )
    return "\n".join(lines)
