"""The results of an ablation: rows, the table for the terminal, ablation.csv, ablation.svg and best.yaml."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.settings import default_of
from rvos_ensemble.ensemble.ablation.variants import Variant
from rvos_ensemble.ensemble.metrics.bootstrap import paired_interval
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.recipe.schema import DEFAULTS
from rvos_ensemble.ensemble.report.plot import Bar, bars, curves

Scores = Mapping[str, Mapping[str, tuple[float, float]]]  # {clip: {expression: (J, F)}}
REFERENCE = "the recipe as it is"
MOST_BARS = 40


@dataclass(frozen=True)
class Row:
    """A row of the table. Scores and differences are in 0..1, NaN where they are undefined.

    Attributes:
        variant: the setting.
        J, F, JF: means over expressions.
        delta: J&F minus that of the reference, on the expressions that both have.
        low, high: ends of its 95 % interval.
        clips, expressions: number of scored ones.
        error: why a clip was not scored; that of the first such clip.
        scores: J and F of every expression.
    """

    variant: Variant
    J: float
    F: float
    JF: float
    delta: float
    low: float
    high: float
    clips: int
    expressions: int
    error: str = ""
    scores: Scores = field(default_factory=dict, repr=False)

    @property
    def mark(self) -> str:
        """`~` where the interval contains 0, `?` where there is no interval."""
        if math.isnan(self.low):
            return "?"
        return "~" if self.low <= 0 <= self.high else ""


def row(variant: Variant, scores: Scores, reference: Scores, seed: int, resamples: int, error: str = "") -> Row:
    """A setting's means and its difference to the reference."""
    of_all = [jf for of in scores.values() for jf in of.values()]
    j, f = np.mean(of_all, axis=0) if of_all else (math.nan, math.nan)
    delta, low, high = difference(scores, reference, seed, resamples)
    clips = sum(bool(of) for of in scores.values())
    return Row(variant, float(j), float(f), float(j + f) / 2, delta, low, high, clips, len(of_all), error, scores)


def difference(scores: Scores, other: Scores, seed: int, resamples: int) -> tuple[float, float, float]:
    """Mean difference of J&F, on the expressions that both have, and the ends of its 95 % interval."""
    differences = {
        clip: [sum(of[e]) / 2 - sum(other[clip][e]) / 2 for e in of if e in other[clip]]
        for clip, of in scores.items()
        if clip in other
    }
    every = [d for of in differences.values() for d in of]
    return float(np.mean(every)) if every else math.nan, *paired_interval(differences, seed, resamples=resamples)


def climb(rows: Sequence[Row], seed: int, resamples: int) -> list[str]:
    """Each row's gain over all earlier rows, nearest first, one sentence per row.

    All earlier rows are compared because one row of a paper may be several of ours: "+ stage I and AOT" is a vote and a
    propagation.
    """

    def gain_over(before: Row, after: Row) -> str:
        gain, low, high = (100 * v for v in difference(after.scores, before.scores, seed, resamples))
        interval = "one clip is too few for an interval" if math.isnan(low) else f"95 % [{low:+.2f}, {high:+.2f}]"
        return f"{gain:+.2f} on {before.variant.label}, {interval}"

    return [
        f"{after.variant.label}: J&F " + "; ".join(gain_over(before, after) for before in reversed(rows[:i]))
        for i, after in enumerate(rows[1:], start=1)
    ]


def scored_on_all(rows: Sequence[Row]) -> list[Row]:
    """The rows that were scored on as many clips and expressions as the reference, which is the first row."""
    return [r for r in rows if (r.clips, r.expressions) == (rows[0].clips, rows[0].expressions)]


def best_of(rows: Sequence[Row]) -> Row:
    """The row with the highest J&F among `scored_on_all`."""
    return max(scored_on_all(rows), key=lambda r: r.JF)  # of equal rows the first: the reference, if it is among them


def verdict(rows: Sequence[Row], best: Row) -> str:
    """One sentence about the gain of the best row."""
    if best is rows[0]:
        return f"Best: {REFERENCE}. None of the {len(rows) - 1} settings scores higher."
    if best.low == best.high == 0:
        return f"Best: {best.variant.label}: the same as {REFERENCE}."
    gain = f"{best.variant.label}, J&F {100 * best.delta:+.2f}"
    if best.mark == "?":
        return f"Best: {gain}; one clip is too few for an interval."
    gain += f", 95 % [{100 * best.low:+.2f}, {100 * best.high:+.2f}]"
    if best.mark == "~":
        return f"Best: {gain}: not distinguishable from {REFERENCE} on these {best.clips} clips."
    return f"Best: {gain} against {REFERENCE}."


def text(title: str, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table for the terminal, in percent."""
    width = max(len(r.variant.label) for r in rows)
    steps = max(len(r.variant.step) for r in rows)
    lines = [title, f"{'':{width}}  {'step':{steps}}     J     F   J&F    diff  95 % interval"]
    for r in rows:
        line = f"{r.variant.label:{width}}  {r.variant.step:{steps}} "
        if not r.expressions:
            lines.append(f"{line}  not scored: {_first_line(r.error)}")
            continue
        line += f"{100 * r.J:5.1f} {100 * r.F:5.1f} {100 * r.JF:5.1f}"
        if r is not rows[0]:
            interval = "" if math.isnan(r.low) else f"[{100 * r.low:+6.2f}, {100 * r.high:+6.2f}]"
            line += f"  {100 * r.delta:+6.2f}  {interval} {r.mark}"
        if r.expressions < rows[0].expressions:
            line += f"  only {r.clips} clips: {_first_line(r.error)}"
        lines.append(line.rstrip())
    if any(r.mark == "~" for r in rows[1:]):
        lines.append("~ the interval contains 0: not distinguishable from the first row")
    return "\n".join([*lines, *(f"note: {n}" for n in notes)])


def frame(name: str, rows: Sequence[Row]) -> pd.DataFrame:
    """The rows of ablation.csv: scores in 0..1."""
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
                "delta": r.delta,
                "low": r.low,
                "high": r.high,
                "clips": r.clips,
                "expressions": r.expressions,
            }
            for r in rows
        ]
    )


def picture(title: str, rows: Sequence[Row]) -> str:
    """ablation.svg: curves where one or two numbers are swept, otherwise one bar per row."""
    scored, first = [r for r in rows[1:] if r.expressions], rows[0]
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
    shown = sorted(scored, key=lambda r: -r.JF)[:MOST_BARS] if len(scored) > MOST_BARS else scored
    if len(scored) > MOST_BARS:
        note = f"the best {MOST_BARS} of {len(scored)}; {note}"
    drawn = [Bar(r.variant.label, *(100 * v for v in (r.delta, r.low, r.high))) for r in shown]
    return bars(title, drawn or [Bar("nothing was scored", math.nan)], f"J&F minus that of {REFERENCE}, percent", note)


def _curves(title: str, swept: str, other: str | None, groups, first: Row, note: str) -> str:
    x = sorted({value for of in groups.values() for value in of})
    reference = f"{REFERENCE}: {100 * first.JF:.1f}"
    if other is None:
        of = next(iter(groups.values()))
        lines = {n: [100 * getattr(of[v], a) for v in x] for n, a in (("J&F", "JF"), ("J", "J"), ("F", "F"))}
        ends = [[100 * (first.JF + getattr(of[v], end)) for v in x] for end in ("low", "high")]
        band = None if any(math.isnan(v) for v in ends[0]) else (ends[0], ends[1])
        note = f"band: interval of the difference of J&F to the dashed line; {note}"
    else:
        name = other.rpartition(".")[2]
        lines = {f"{name} {g}": [100 * of[v].JF if v in of else math.nan for v in x] for g, of in groups.items()}
        band = None
    return curves(title, swept, x, lines, band, (reference, 100 * first.JF), note)


def best_yaml(recipe: Recipe, best: Row, how: Sequence[str]) -> str:
    """The best setting as a recipe file, with results beside those of the ablation and the same store."""
    config = {k: v for k, v in best.variant.config.items() if v is not None and v != default_of(DEFAULTS.get(k, "???"))}
    config |= {"output": best.variant.step, "out": str(recipe.out / "best"), "store": str(recipe.store)}
    config["steps"] = {n: s for n, s in best.variant.config["steps"].items() if s is not None}
    comment = "\n".join(f"# {line}" for paragraph in how for line in textwrap.wrap(paragraph, 110))
    return f"{comment}\n{OmegaConf.to_yaml(OmegaConf.create(config))}"


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _first_line(reason: str) -> str:
    return textwrap.shorten(reason.split("\n", 1)[0], 140)
