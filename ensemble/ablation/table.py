"""The results of an ablation: the table for the terminal, ablation.csv, ablation.svg and best.yaml."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.settings import default_of
from rvos_ensemble.ensemble.ablation.rows import REFERENCE, Row, oracle_of, settings_of
from rvos_ensemble.ensemble.metrics.existence import MEASURES
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.recipe.schema import DEFAULTS
from rvos_ensemble.ensemble.report.plot import Bar, bars, curves

MOST_BARS = 40
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


def picture(title: str, rows: Sequence[Row]) -> str:
    """ablation.svg: curves where one or two numbers are swept, otherwise one bar per row."""
    scored, first = [r for r in settings_of(rows)[1:] if r.expressions], rows[0]
    note = f"{first.clips} clips, {first.expressions} expressions; 95 % paired bootstrap over clips"
    parameters = list(scored[0].variant.parameters) if scored else []
    values = {p: [r.variant.parameters.get(p) for r in scored] for p in parameters}
    swept = next((p for p, of in values.items() if all(map(_is_number, of)) and len(set(of)) >= 3), None)
    if len(parameters) in (1, 2) and swept:
        other = next((p for p in parameters if p != swept), None)
        groups: dict[str, dict[float, Row]] = {}
        for r in scored:
            groups.setdefault(json.dumps(r.variant.parameters.get(other)), {})[r.variant.parameters[swept]] = r
        if len(groups) <= 5:
            return _curves(title, swept, other, groups, first, note)
    shown = sorted(scored, key=lambda r: -r.value)[:MOST_BARS] if len(scored) > MOST_BARS else scored
    if len(scored) > MOST_BARS:
        note = f"the best {MOST_BARS} of {len(scored)}; {note}"
    drawn = [Bar(r.variant.label, *(100 * v for v in r.gain)) for r in shown]
    what = f"{first.measure} minus that of {REFERENCE}, percent"
    return bars(title, drawn or [Bar("nothing was scored", math.nan)], what, note)


def _curves(title: str, swept: str, other: str | None, groups, first: Row, note: str) -> str:
    x = sorted({value for of in groups.values() for value in of})
    reference = f"{REFERENCE}: {100 * first.value:.1f}"
    if other is None:
        of = next(iter(groups.values()))
        drawn = [_measures(of[v]) for v in x]
        lines = {name: [100 * values[name] for values in drawn] for name in drawn[0]}
        ends = [
            [100 * (first.value + end) for end in values] for values in zip(*(of[v].gain[1:] for v in x), strict=True)
        ]
        band = None if any(math.isnan(v) for v in ends[0]) else (ends[0], ends[1])
        note = f"band: interval of the difference of {first.measure} to the dashed line; {note}"
    else:
        name = other.rpartition(".")[2]
        lines = {f"{name} {g}": [100 * of[v].value if v in of else math.nan for v in x] for g, of in groups.items()}
        band = None
    return curves(title, swept, x, lines, band, (reference, 100 * first.value), note)


def _measures(row: Row) -> dict[str, float]:
    """The curves of a sweep: first the measure by which rows are compared, then what it is made of."""
    if row.existence is None:
        return {"J&F": row.JF, "J": row.J, "F": row.F}
    return {"Final": row.existence.Final, "J&F": row.JF, "N-acc": row.existence.N, "T-acc": row.existence.T}


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


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _first_line(reason: str) -> str:
    return textwrap.shorten(reason.split("\n", 1)[0], 140)
