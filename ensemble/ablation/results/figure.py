"""The figure of an ablation: curves of one swept number, a heat map of two swept keys, otherwise a bar for each row."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rvos_ensemble.ensemble.ablation.rows import REFERENCE, Row, settings_of
from rvos_ensemble.ensemble.report.paper.figures import Axis, Bar, bars, curves, heat_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BARS = 40
MOST_CELLS = 40  # columns or rows of a heat map


def figure(title: str, rows: Sequence[Row]) -> Figure:
    """The figure of the rows, of which the first is the recipe as it is."""
    first, every = rows[0], settings_of(rows)[1:]
    scored = [r for r in every if r.expressions]
    note = f"{first.clips} clips, {first.expressions} expressions; 95 % paired bootstrap over clips"
    values = _values(scored)
    if len(values) == 1 and len(scored) >= 3 and all(map(_is_number, next(iter(values.values())))):
        return _curves(title, scored, first, note)
    if len(values) == 2 and _is_grid(grid := _values(every), len(every)):
        return _heat_map(title, grid, scored, first)
    return _bars(title, scored, first, note)


def _values(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """{key: its value in each row} of the keys that differ between the rows, if all rows sweep the same keys."""
    keys = list(rows[0].variant.parameters) if rows else []
    if any(list(r.variant.parameters) != keys for r in rows):
        return {}
    values = {key: [r.variant.parameters[key] for r in rows] for key in keys}
    return {key: of for key, of in values.items() if len(set(map(json.dumps, of))) > 1}


def _is_grid(values: dict[str, list[Any]], rows: int) -> bool:
    """Whether most pairs of values are settings, scored or not; a search tries single points."""
    across, down = (len(set(map(json.dumps, of))) for of in values.values())
    return 4 * rows >= 3 * across * down and max(across, down) <= MOST_CELLS


def _curves(title: str, scored: Sequence[Row], first: Row, note: str) -> Figure:
    (swept,) = _values(scored)
    rows = sorted(scored, key=lambda r: r.variant.parameters[swept])
    measures = [_measures(r) for r in rows]
    lines = {name: [100 * of[name] for of in measures] for name in measures[0]}
    band = [[100 * (first.value + end) for end in ends] for ends in zip(*(r.gain[1:] for r in rows), strict=True)]
    note = f"band: interval of the difference of {first.measure} to the dashed line; {note}"
    reference = (f"{REFERENCE}: {100 * first.value:.1f}", 100 * first.value)
    return curves(title, swept, [r.variant.parameters[swept] for r in rows], lines, (band[0], band[1]), reference, note)


def _heat_map(title: str, values: dict[str, list[Any]], scored: Sequence[Row], first: Row) -> Figure:
    """The key with more values is drawn across."""
    ordered = {key: _ordered(of) for key, of in values.items()}
    down, across = sorted(ordered, key=lambda key: len(ordered[key]))
    cells = np.full((len(ordered[down]), len(ordered[across])), math.nan)
    for r in scored:
        at = (ordered[key].index(json.dumps(r.variant.parameters[key])) for key in (down, across))
        cells[tuple(at)] = 100 * r.value
    note = f"{REFERENCE}: {100 * first.value:.1f}; {first.clips} clips, {first.expressions} expressions"
    axes = (Axis(key, [label.strip('"') for label in ordered[key]]) for key in (across, down))
    return heat_map(title, *axes, cells, f"{first.measure}, percent", note)


def _bars(title: str, scored: Sequence[Row], first: Row, note: str) -> Figure:
    shown = scored
    if len(scored) > MOST_BARS:
        shown = sorted(scored, key=lambda r: -r.value)[:MOST_BARS]
        note = f"the best {MOST_BARS} of {len(scored)}; {note}"
    drawn = [Bar(r.variant.label, *(100 * v for v in r.gain)) for r in shown]
    what = f"{first.measure} minus that of {REFERENCE}, percent"
    return bars(title, drawn or [Bar("nothing was scored", math.nan)], what, note)


def _measures(row: Row) -> dict[str, float]:
    """The curves of a sweep: first the measure by which rows are compared, then what it is made of."""
    if row.existence is None:
        return {"J&F": row.JF, "J": row.J, "F": row.F}
    return {"Final": row.existence.Final, "J&F": row.JF, "N-acc": row.existence.N, "T-acc": row.existence.T}


def _ordered(values: Sequence[Any]) -> list[str]:
    """The distinct values as JSON: ascending if they are numbers, otherwise as they were listed."""
    distinct = dict(zip(map(json.dumps, values), values, strict=True))
    if all(map(_is_number, values)):
        return sorted(distinct, key=distinct.get)
    return list(distinct)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
