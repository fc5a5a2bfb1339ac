"""Rows of the result: what a part of the benchmark writes while it runs, and the tables that are made from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Rows:
    """Appends rows to a file as they become known, so that what was measured survives whatever comes later.

    Args:
        file: receives one JSON object per line; None keeps the rows in memory only.
    """

    def __init__(self, file: Path | None = None):
        self.file, self.rows = file, []

    def add(self, case: str, **values: Any) -> None:
        """Adds a row.

        Args:
            case: what was measured.
            values: columns; `failed`, a sentence, marks what is wrong.
        """
        row = {"case": case, **{k: v for k, v in values.items() if v is not None}}
        self.rows.append(row)
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    @staticmethod
    def read(file: Path) -> list[dict[str, Any]]:
        """The rows in a file; none if it does not exist."""
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A markdown table with a column for every key of the rows.

    >>> print(table([{"case": "aott", "frames/s": 12.345}, {"case": "x", "failed": "no memory"}]))
    | case | frames/s | failed |
    |---|---|---|
    | aott | 12.3 |  |
    | x |  | no memory |
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(keys)} |", f"|{'---|' * len(keys)}"]
    lines += [f"| {' | '.join(_text(row.get(key, '')) for key in keys)} |" for row in rows]
    return "\n".join(lines)


def _text(value: Any) -> str:
    """A value as a cell: three or more digits of a number, one line of a text."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) <= 1 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"
    return " ".join(str(value).split()).replace("|", "/")
