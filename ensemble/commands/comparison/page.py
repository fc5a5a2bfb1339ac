"""compare.html: one file that opens from disk, with the steps of all runs, the largest changes, and all expressions."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from rvos_ensemble.ensemble.commands.comparison.pictures import tiles
from rvos_ensemble.ensemble.commands.comparison.rows import Change, StepRow, changes
from rvos_ensemble.ensemble.commands.comparison.runs import OUTPUT, FinishedRun
from rvos_ensemble.ensemble.commands.comparison.text import extremes, letters
from rvos_ensemble.ensemble.report.page.page import head

MOST = 8  # gains and losses of each run that are shown with pictures


def page(out: Path, runs: Sequence[FinishedRun], rows: Sequence[StepRow], notes: Sequence[str]) -> str:
    """The text of the page.

    Args:
        out: folder of the page, from which it links to the reports of the runs.
        runs: the first is the one that the others are compared with.
        rows: see `step_rows`.
        notes: what was left out.
    """
    names, outputs = letters(len(runs)), [row for row in rows if row.step == OUTPUT]
    measures = list(dict.fromkeys(m for row in rows for m in row.means))
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    clips = len({clip for clip, _ in outputs[0].scores})
    title = f"{', '.join(run.folder.name for run in runs[1:])} against {runs[0].folder.name}"
    return template.substitute(
        title=escape(title),
        head=head(title, Path(__file__).parent / "page.css"),
        facts=f"{clips} clip{'s' * (clips != 1)}, {len(outputs[0].scores)} expressions that all runs have",
        runs="\n".join(_run(out, name, run) for name, run in zip(names, runs, strict=True)),
        notes="".join(f'<p class="message">{escape(note)}</p>' for note in notes),
        measure=escape(rows[0].measure),
        heads="".join(f'<th class="n">{escape(m)}</th>' for m in measures),
        steps="\n".join(_step(row, names[row.run], measures, _widest(rows)) for row in rows),
        changes="\n".join(_changes(runs, outputs[0], row, names[row.run]) for row in outputs[1:]),
        columns="".join(f'<th class="n">{name}</th>' for name in names)
        + "".join(f'<th class="n">{name} &minus; A</th>' for name in names[1:]),
        expressions="\n".join(_expressions(runs[0], outputs)),
    )


def _run(out: Path, name: str, run: FinishedRun) -> str:
    """A row of the table of runs, with a link to the report of the run."""
    folder = escape(str(run.folder))
    if (run.folder / "report.html").is_file():
        link = Path(os.path.relpath(run.folder / "report.html", out)).as_posix()
        folder = f'<a href="{escape(link)}">{folder}</a>'
    cells = "".join(f"<td>{escape(text)}</td>" for text in (run.recipe, run.output))
    return f"<tr><th>{name}</th>{cells}<td>{folder}</td></tr>"


def _step(row: StepRow, name: str, measures: Sequence[str], widest: float) -> str:
    """A row of the table of steps."""
    numbers = "".join(f'<td class="n">{_percent(row.means.get(m))}</td>' for m in measures)
    style = " class=output" if row.step == OUTPUT else ""
    head = f"<tr{style}><th>{'' if row.run else escape(row.step)}</th><td>{name}</td>"
    if row.gain is None:
        return f"{head}{numbers}<td></td><td></td><td></td></tr>"
    delta, low, high = row.gain
    if row.is_same:
        return f'{head}{numbers}<td class="n">same</td><td></td><td></td></tr>'
    style = "" if row.gain.mark else "up" if delta > 0 else "down"
    interval = "one clip is too few" if math.isnan(low) else f"[{100 * low:+.2f}, {100 * high:+.2f}]"
    drawn = "" if math.isnan(low) else _interval(delta, low, high, widest)
    gain = f'<td class="n {style}">{100 * delta:+.2f} {row.gain.mark}</td>'
    return f'{head}{numbers}{gain}<td class="n">{interval}</td><td>{drawn}</td></tr>'


def _widest(rows: Sequence[StepRow]) -> float:
    """The largest end of an interval, which the drawings of all rows share as their scale."""
    ends = [abs(v) for row in rows if row.gain for v in row.gain if not math.isnan(v)]
    return max(ends, default=0) or 1


def _interval(delta: float, low: float, high: float, widest: float) -> str:
    """A line from end to end of an interval with a dot at the difference, on a scale with 0 in the middle."""
    x = [f"{100 + 95 * v / widest:.1f}" for v in (low, high, delta)]
    return (
        '<svg class="interval" viewBox="0 0 200 16" aria-hidden="true">'
        '<line class="zero" x1="100" x2="100" y1="0" y2="16"/>'
        f'<line class="whisker" x1="{x[0]}" x2="{x[1]}" y1="8" y2="8"/><circle cx="{x[2]}" cy="8" r="4"/></svg>'
    )


def _changes(runs: Sequence[FinishedRun], first: StepRow, row: StepRow, name: str) -> str:
    """The largest gains and losses of a run, with pictures where both runs store them."""
    run, found = runs[row.run], changes(first, row)
    parts = [f"<section><h2>{name} against A: gains and losses of the outputs</h2>"]
    for title, some in zip(("Best gains", "Worst losses"), extremes(found, MOST), strict=True):
        items = "\n".join(_change(runs[0], run, change, name) for change in some)
        parts.append(f"<h3>{title}</h3>" + (f'<ol class="changes">{items}</ol>' if items else "<p>none</p>"))
    parts.append(
        '<p class="legend"><i class="right"></i> correct <i class="missing"></i> missing <i class="extra"></i> extra; '
        "the frame with the largest difference. Runs with report=false store no pictures.</p></section>"
    )
    return "\n".join(parts)


def _change(first: FinishedRun, run: FinishedRun, change: Change, name: str) -> str:
    """One expression: its scores, its sentence, and its pictures."""
    style = "up" if change.delta > 0 else "down"
    scores = f"{100 * change.before:.1f} &rarr; {100 * change.after:.1f}"
    text, where = escape(first.texts[change.key]), escape("/".join(change.key))
    item = f'<li><b class="{style}">{100 * change.delta:+.1f}</b> {text} <small>{where}, J&amp;F {scores}</small>'
    if stored := tiles(first, run, change.key, change.delta > 0):
        frame, pictures = stored
        titles = ("ground truth", "A", name)
        figures = "".join(
            f'<figure><img src="{tile.url}" alt="{escape(f"{title}: {first.texts[change.key]}, {frame}")}">'
            f"<figcaption>{title}</figcaption></figure>"
            for title, tile in zip(titles, pictures, strict=True)
        )
        item += f'<div class="tiles">{figures}</div><small>{escape(frame)}</small>'
    return f"{item}</li>"


def _expressions(first: FinishedRun, outputs: Sequence[StepRow]) -> list[str]:
    """A row per expression: J&F of every run, and the gains over the first."""
    lines = []
    for change in changes(outputs[0], outputs[-1]):
        values = [row.scores[change.key].JF for row in outputs]
        cells = "".join(f'<td class="n">{100 * v:.1f}</td>' for v in values)
        for v in values[1:]:
            delta = round(100 * (v - values[0]), 1)
            style = "up" if delta > 0 else "down" if delta < 0 else ""
            cells += f'<td class="n {style}">{delta:+.1f}</td>'
        clip, expression = change.key
        lines.append(
            f"<tr><td>{escape(clip)}</td><td>{escape(expression)}</td><td>{escape(first.texts[change.key])}</td>{cells}</tr>"
        )
    return lines


def _percent(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"
