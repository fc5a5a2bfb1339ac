"""CSV tables in UTF-8 with a header, read strictly: what the standard parser lets pass is reported with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few, shown

DELIMITERS = (",", ";", "\t")  # spreadsheets of some countries write semicolons


class Row(NamedTuple):
    """A row of a table: the number of its line in the file, and {column: text}."""

    line: int
    values: dict[str, str]


def parse_csv(data: bytes | str, where: str, columns: Sequence[str | Sequence[str]]) -> list[Row]:
    """The rows of a table; empty lines are skipped, and spaces around values are removed.

    Args:
        data: the whole text, UTF-8 if bytes.
        where: file name, for messages.
        columns: those that the header must name; it may name others in any order. A list of names is one column that
            may have any of them.

    Raises:
        InputError: not UTF-8, no such header, a row with another number of values, or text that is not CSV.

    >>> parse_csv("video;source\\nv1; soc\\n", "choices.csv", ["video", "source"])
    [Row(line=2, values={'video': 'v1', 'source': 'soc'})]
    """
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: not UTF-8 (byte {error.start}), expected a csv file in UTF-8") from error
    first = data.split("\n", 1)[0].strip("\r")
    headers = {d: [name.strip().strip('"') for name in first.split(d)] for d in DELIMITERS}
    wanted = [[column] if isinstance(column, str) else list(column) for column in columns]
    delimiter = next((d for d, names in headers.items() if all(set(w) & set(names) for w in wanted)), None)
    if delimiter is None:
        expected = ", ".join(w[0] if len(w) == 1 else f"one of ({', '.join(w)})" for w in wanted)
        raise InputError(f"{where}: line 1 is {shown(first)}, expected a header that names {expected}")
    header = headers[delimiter]
    if twice := [name for name in dict.fromkeys(header) if header.count(name) > 1]:
        raise InputError(f"{where}: line 1 names the column {first_few(map(shown, twice))} twice")
    reader = csv.reader(io.StringIO(data, newline=""), delimiter=delimiter, strict=True)
    rows, problems = [], []
    try:
        for cells in reader:
            if reader.line_num > 1 and any(cell.strip() for cell in cells):
                if len(cells) != len(header):
                    problems.append(f"{where}: line {reader.line_num}: {len(cells)} values, expected {len(header)}")
                else:
                    rows.append(Row(reader.line_num, dict(zip(header, (c.strip() for c in cells), strict=True))))
    except csv.Error as error:
        raise InputError(f"{where}: line {reader.line_num}: not csv: {error}") from error
    if problems:
        raise InputError(problems)
    return rows
