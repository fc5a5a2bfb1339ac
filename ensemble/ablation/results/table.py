"""The rows of an ablation as tables: for the terminal, for ablation.csv, for papers; and the best one as best.yaml."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.settings import default_of
from rvos_ensemble.ensemble.ablation.rows import Row, oracle_of, settings_of
from rvos_ensemble.ensemble.metrics.existence import MEASURES
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.recipe.schema import DEFAULTS
from rvos_ensemble.ensemble.report.paper.table import Line, ScoreTable

BELOW = "below oracle"  # J&F of the oracle minus that of the row


def text(title: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table for the terminal, in percent."""
    width = max(len(r.variant.label) for r in rows)
    steps = max(len(r.variant.step) for r in rows)
    measures = "".join(f" {m}" for m in MEASURES) if rows[0].existence else ""
    below = f" {BELOW}" if oracle_of(rows) else ""
    lines = [title, f"{'':{width}}  {'step':{steps}}     J     F   J&F{measures}{below}    diff  95 % interval"]
    for r in rows:
        line = f"{r.variant.label:{width}}  {r.variant.step:{steps}} "
        if not r.expressions:
            lines.append(f"{line}  not scored: {_first_line(r.error)}")
            continue
        line += " ".join(f"{100 * value:5.1f}" for value in (r.J, r.F, r.JF, *(r.existence or ())))
        if below:
            distance = _below(r, rows)
            line += f"{'' if math.isnan(distance) else f'{100 * distance:.1f}':>{len(below)}}"
        if r is not rows[0]:
            delta, low, high = (100 * v for v in r.gain)
            line += f"  {delta:+6.2f}  {'' if math.isnan(low) else f'[{low:+6.2f}, {high:+6.2f}]'} {r.gain.mark}"
        if r.expressions < rows[0].expressions:
            line += f"  only {r.clips} clips: {_first_line(r.error)}"
        if r.truth_steps and not rows[0].truth_steps:
            line += "  upper bound"
        lines.append(line.rstrip())
    if measures:
        lines.append("diff: of Final")
    if any(r.gain.mark == "~" for r in rows[1:]):
        lines.append("~ the interval contains 0: not distinguishable from the first row")
    return "\n".join([*lines, *(f"note: {n}" for n in notes)])


def frame(name: str, rows: Sequence[Row]) -> pd.DataFrame:
    """The rows of ablation.csv: scores in 0..1.

    N-acc, T-acc, Final, its gain, and the distance to an oracle are columns only where they are defined.
    """
    oracle = oracle_of(rows)
    return pd.DataFrame(
        [
            {
                "ablation": name,
                "label": r.variant.label,
                "parameters": "; ".join(r.variant.parameters),
                "values": "; ".join(json.dumps(v) for v in r.variant.parameters.values()),
                "step": r.variant.step,
                "J": r.J,
                "F": r.F,
                "J&F": r.JF,
                **r.jf_gain._asdict(),
                "clips": r.clips,
                "expressions": r.expressions,
                **(r.existence.named() if r.existence else {}),
                **({f"final_{key}": value for key, value in r.final_gain._asdict().items()} if r.final_gain else {}),
                **({BELOW: _below(r, rows)} if oracle else {}),
            }
            for r in rows
        ]
    )


def paper(title: str, rows: Sequence[Row], notes: Sequence[str]) -> ScoreTable:
    """The table for ablation.md and ablation.tex, with differences from the first row and their intervals."""
    oracle, own_step = oracle_of(rows), len({r.variant.step for r in rows}) > 1
    columns = ["J", "F", "J&F", *(MEASURES if rows[0].existence else ()), *([BELOW] if oracle else ())]
    lines, settings = [], {id(r) for r in settings_of(rows)}
    for i, r in enumerate(rows):
        values = [r.J, r.F, r.JF, *(r.existence or ()), *([_below(r, rows)] if oracle else [])]
        note = f"not scored: {_first_line(r.error)}" if not r.expressions else ""
        if 0 < r.expressions < rows[0].expressions:
            note = f"only {r.clips} clips: {_first_line(r.error)}"
        if id(r) not in settings:
            note = "upper bound"
        step = f" ({r.variant.step})" if own_step and r.variant.step not in r.variant.label else ""
        ranked = id(r) in settings and r.expressions == rows[0].expressions
        gain = r.gain if i else None
        lines.append(Line(f"{r.variant.label}{step}", values, gain, ranked, note, ruled=i == 1))
    return ScoreTable(title, "setting", columns, lines, rows[0].measure, notes)


def best_yaml(recipe: Recipe, folder: Path, best: Row, how: Sequence[str]) -> str:
    """The best setting as a recipe file in a folder, with results in `best` beside it and the store of the ablation."""
    config = {k: v for k, v in best.variant.config.items() if v is not None and v != default_of(DEFAULTS.get(k, "???"))}
    config |= {"output": best.variant.step, "out": str(folder / "best"), "store": str(recipe.store)}
    config["steps"] = {n: s for n, s in best.variant.config["steps"].items() if s is not None}
    comment = "\n".join(f"# {line}" for paragraph in how for line in textwrap.wrap(paragraph, 110))
    return f"{comment}\n{OmegaConf.to_yaml(OmegaConf.create(config))}"


def _below(row: Row, rows: Sequence[Row]) -> float:
    """How far the J&F of a row is below that of the oracle, if both were scored on the same number of expressions."""
    oracle = oracle_of(rows)
    return oracle.JF - row.JF if oracle.expressions == row.expressions else math.nan


def _first_line(reason: str) -> str:
    return textwrap.shorten(reason.split("\n", 1)[0], 140)
