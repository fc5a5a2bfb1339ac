"""Choices of a source for each expression, made by a language model or a person: a JSON or CSV file.

    {"VIDEO": {"EXPRESSION": "SOURCE", ...}, ...}      one source for each expression
    {"VIDEO": "SOURCE", ...}                           one source for all expressions of a video
    video,expression,source                            the same as CSV; without the column `expression`, for a video

The file is recognised by its content: JSON begins with a brace. Columns may have the names that files of verdicts have
(`verdicts.py`), such as `video_id` and `exp_id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.csv_text import parse_csv
from rvos_ensemble.adapters.core.io.disk import read_file, user_path
from rvos_ensemble.adapters.core.io.hashing import Stamp, file_stamp
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.files.verdicts.verdicts import EXPRESSION, VIDEO

EXPECTED = '{"VIDEO": {"EXPRESSION": "SOURCE"}} as JSON, or CSV with the columns video, expression, source'
MOST_BYTES = 1 << 28  # of a file of choices; MeViS has 33 000 expressions
SHOWN = 20  # problems of one file that are listed

Key = tuple[str, str | None]  # (video, expression); None for all expressions of the video


@dataclass(frozen=True)
class Choices:
    """The content of a file of choices.

    Attributes:
        file: its path, for messages.
        sources: {(video, expression): name of the source}; the expression None stands for all others of the video.
    """

    file: str
    sources: Mapping[Key, str]

    def of(self, video: str, expression: str) -> str | None:
        """The source that the file names for an expression; None if it names none."""
        return self.sources.get((video, expression), self.sources.get((video, None)))

    def names(self) -> list[str]:
        """All names of sources in the file, in order."""
        return list(dict.fromkeys(self.sources.values()))


def read_choices(file: str) -> Choices:
    """Reads a file of choices; the same file is parsed once.

    Raises:
        InputError: it cannot be read, or has another form; all problems are listed, up to `SHOWN`.
    """
    return _read(file_stamp(user_path(file)))


@lru_cache(maxsize=8)
def _read(stamp: Stamp) -> Choices:
    path = stamp[0]
    data = read_file(path, MOST_BYTES)
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise InputError(f"{path}: empty, expected {EXPECTED}")
    entries_of = _json_entries if start[:1] in (b"{", b"[") else _csv_entries
    sources: dict[Key, str] = {}
    problems: list[str] = []
    for key, source, where in entries_of(data, path):
        if "" in key:
            problems.append(f"{where}: a choice of {shown(source)} for no video or expression")
        elif not isinstance(source, str) or not source.strip():
            problems.append(f"{where}: {shown(source)}, expected the name of a source")
        elif key in sources:
            problems.append(f"{where}: a second choice, {shown(source)}; remove one of them")
        else:
            sources[key] = source.strip()
    if problems:
        more = [f"{path}: and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise InputError([*problems[:SHOWN], *more])
    return Choices(path, sources)


def _json_entries(data: bytes, path: str) -> Iterator[tuple[Key, Any, str]]:
    """The (key, source, place) of a JSON file."""
    content = parse_json(data, path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON {type(content).__name__}, expected {EXPECTED}")
    for video, of_video in content.items():
        where = f"{path}: video {shown(video)}"
        if not isinstance(of_video, dict):
            yield (video, None), of_video, where
            continue
        for expression, source in of_video.items():
            yield (video, expression), source, f"{where}, expression {shown(expression)}"


def _csv_entries(data: bytes, path: str) -> Iterator[tuple[Key, Any, str]]:
    """The (key, source, place) of a CSV file."""
    try:
        rows = parse_csv(data, path, [VIDEO, "source"])
    except InputError as error:
        raise InputError([*error.problems, f"{path}: expected {EXPECTED}"]) from None
    for line, row in rows:
        video, expression = (next((row[n] for n in names if n in row), None) for names in (VIDEO, EXPRESSION))
        yield (video, expression), row["source"], f"{path}: line {line}"
