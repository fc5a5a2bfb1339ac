"""A table of scores for a paper, and which of them are the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rvos_ensemble.ensemble.metrics.gains import Gain

SYMBOLS = {"J": r"$\mathcal{J}$", "F": r"$\mathcal{F}$", "J&F": r"$\mathcal{J}\&\mathcal{F}$"}
UNRANKED = ("below oracle",)  # columns in which no value is the best


def signed(value: float) -> str:
    """A difference in percent with one decimal; one that rounds to 0 has no sign.

    >>> signed(0.0123), signed(-0.0004)
    ('+1.2', '0.0')
    """
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        label: its name.
        values: 0..1, one for each column; NaN where it is not defined.
        gain: over the first row; None for the first row.
        ranked: whether its values can be the best; those of an upper bound cannot.
        note: what else there is to say: a description, or why it was not scored.
        ruled: whether a rule separates it from the row above.
    """

    label: str
    values: Sequence[float]
    gain: Gain | None = None
    ranked: bool = True
    note: str = ""
    ruled: bool = False


@dataclass(frozen=True)
class ScoreTable:
    """A table.

    Attributes:
        heading: what it shows, one sentence.
        first: title of the column with the names.
        columns: measures, such as "J" and "J&F".
        lines: its rows.
        gain_of: the measure of the gains; None for a table without them.
        notes: sentences below it.
    """

    heading: str
    first: str
    columns: Sequence[str]
    lines: Sequence[Line]
    gain_of: str | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def written(self) -> list[list[str]]:
        """The values in percent with one decimal; empty where they are not defined."""
        return [["" if math.isnan(v) else f"{100 * v:.1f}" for v in line.values] for line in self.lines]

    def best(self) -> list[str]:
        """For each column the highest value as written, so that all that look equal are the best; empty for none."""
        texts = [text for line, text in zip(self.lines, self.written(), strict=True) if line.ranked]
        columns = zip(*texts, strict=True) if texts else ([] for _ in self.columns)
        return [
            "" if name in UNRANKED else max(filter(None, column), key=float, default="")
            for name, column in zip(self.columns, columns, strict=True)
        ]
