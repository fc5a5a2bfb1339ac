"""The comparison as text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rvos_ensemble.adapters.core.messages import printable
from rvos_ensemble.ensemble.commands.comparison.rows import Change, StepRow, changes
from rvos_ensemble.ensemble.commands.comparison.runs import OUTPUT, FinishedRun

LEAST = 0.0005  # smaller differences of an expression round to nothing
SHOWN = 5  # gains and losses that are printed of each run


def letters(count: int) -> list[str]:
    """Short names of runs.

    >>> letters(3), letters(28)[-2:]
    (['A', 'B', 'C'], ['R27', 'R28'])
    """
    return [chr(ord("A") + i) if count <= 26 else f"R{i + 1}" for i in range(count)]


def table(runs: Sequence[FinishedRun], rows: Sequence[StepRow], notes: Sequence[str]) -> str:
    """What is compared, a line per step and run, and the largest gains and losses of the outputs."""
    names = letters(len(runs))
    lines = [f"{n} = {run.folder}: {run.recipe}, output {run.output}" for n, run in zip(names, runs, strict=True)]
    first = rows[0]
    clips = len({clip for clip, _ in first.scores})
    lines.append(f"{clips} clips, {len(first.scores)} expressions (percent, mean over expressions)")
    measures = list(dict.fromkeys(m for row in rows for m in row.means))
    width = max(len(row.step) for row in rows)
    heads = "".join(f" {m:>5}" for m in measures)
    lines.append(f"{'':{width}}   {heads}    diff  95 % interval")
    same = unchanged(rows)
    for row in rows:
        if row.step in same:
            continue
        numbers = "".join(f" {_percent(row.means.get(m)):>{max(5, len(m))}}" for m in measures)
        lines.append(f"{'' if row.run else row.step:{width}}  {names[row.run]}{numbers}{_gain(row)}".rstrip())
    if same:
        lines.append(f"the same in all runs: {', '.join(same)}")
    for note in [*_notes(rows), *notes]:
        lines.append(f"note: {note}")
    for row in rows:
        if row.run and row.step == OUTPUT:
            lines += _extremes(runs[0], first, row, names[row.run])
    return "\n".join(lines)


def unchanged(rows: Sequence[StepRow]) -> list[str]:
    """Steps that have the same scores in all runs."""
    return [
        step
        for step in dict.fromkeys(row.step for row in rows)
        if step != OUTPUT and all(row.is_same for row in rows if row.step == step and row.run)
    ]


def extremes(found: Sequence[Change], most: int) -> tuple[list[Change], list[Change]]:
    """The largest gains and the largest losses, at most `most` of each; those that round to nothing are neither."""
    gains = [change for change in found if change.delta >= LEAST]
    losses = [change for change in reversed(found) if change.delta <= -LEAST]
    return gains[:most], losses[:most]


def _gain(row: StepRow) -> str:
    """The gain over the first run with its interval and mark."""
    if row.gain is None:
        return ""
    if row.is_same:
        return "    same"
    delta, low, high = (100 * v for v in row.gain)
    interval = "" if math.isnan(low) else f"[{low:+6.2f}, {high:+6.2f}]"
    return f"  {delta:+6.2f}  {interval} {row.gain.mark}"


def _notes(rows: Sequence[StepRow]) -> Iterator[str]:
    """What the marks mean, as far as there are any."""
    gains = [row.gain for row in rows if row.gain is not None and not row.is_same]
    if any(g.mark == "~" for g in gains):
        yield f"diff is {rows[0].measure} minus that of A; ~ the interval contains 0: not distinguishable from A"
    if any(g.mark == "?" for g in gains):
        yield "? one clip is too few for an interval"


def _extremes(run: FinishedRun, first: StepRow, row: StepRow, name: str) -> Iterator[str]:
    found = changes(first, row)
    more, less = (sum(sign * c.delta >= LEAST for c in found) for sign in (1, -1))
    yield f"\n{name} against A, {OUTPUT}: of {len(found)} expressions, {more} gain and {less} lose (J&F)"
    for title, some in zip(("best gains", "worst losses"), extremes(found, SHOWN), strict=True):
        if some:
            yield f"  {title}:"
            for c in some:
                where = f"{c.key[0]}/{c.key[1]}"
                text = printable(run.texts[c.key])
                yield f"    {100 * c.delta:+6.1f}  {100 * c.before:5.1f} -> {100 * c.after:5.1f}  {where}  {text}"


def _percent(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"
