"""Tables in Markdown as GitHub shows it, with every name escaped."""

from __future__ import annotations

import re

from rvos_ensemble.ensemble.metrics.gains import Gain
from rvos_ensemble.ensemble.report.paper.table import ScoreTable, signed


def escape(text: str) -> str:
    r"""Plain text as Markdown, in one line.

    >>> escape("soc_aot | 50 %")
    'soc\\_aot \\| 50 %'
    """
    return re.sub(r"([\\`*_\[\]<>|~$&#])", r"\\\1", " ".join(text.split()))


def markdown(table: ScoreTable) -> str:
    """The file of a table: its heading, the table with the highest value of each column in bold, and the notes."""
    gains = table.gain_of is not None
    noted = any(line.note for line in table.lines)
    head = [table.first, *table.columns]
    head += [f"diff of {table.gain_of}, 95 % interval"] * gains + [""] * noted
    rule = ["---", *("---:" for _ in table.columns), *["---"] * (gains + noted)]
    best, rows = table.best(), []
    for line, texts in zip(table.lines, table.written(), strict=True):
        cells = [f"**{t}**" if t and t == b and line.ranked else t for t, b in zip(texts, best, strict=True)]
        rows.append([escape(line.label), *cells, *[_gain(line.gain)] * gains, *[escape(line.note)] * noted])
    lines = [f"| {' | '.join(cells)} |" for cells in ([escape(title) for title in head], rule, *rows)]
    notes = [f"- {escape(note)}" for note in table.notes]
    return "\n".join([f"**{escape(table.heading)}**", "", *lines, "", *notes, ""])


def _gain(gain: Gain | None) -> str:
    """A difference with its interval, in percent.

    >>> _gain(Gain(0.012, -0.001, 0.025))
    '+1.2 [-0.1, +2.5]'
    """
    if gain is None or gain.delta != gain.delta:
        return ""
    delta, low, high = map(signed, gain)
    return delta if gain.mark == "?" else f"{delta} [{low}, {high}]"
