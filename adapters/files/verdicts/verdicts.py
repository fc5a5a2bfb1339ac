"""Verdicts of a juror, such as a language model that sees the video, on whether expressions refer to anything.

Three formats are read, told apart by their content:

- csv with a header: the columns `video`, `expression` and one of values.
- json: {video: {expression: value}}, or a list of records with the keys `video`, `expression` and one of values.
- a folder of answers, VIDEO/EXPRESSION.json, see `answers.py`.

A value is a probability in 0..1, true or false, yes or no, or, in json, a list of instances as a language model answers
(`[]` means that there is none), or an object that holds one of these beside other keys, such as {"is_match": true,
"reason": ...}. An empty cell or null is a missing verdict.

Values state presence: 1, true and yes mean that the expression refers to something. Files that state absence, where
they mean that it refers to nothing, are read with `states: absence`; names such as `no_target` are refused without it.
The words `present` and `absent`, and lists of instances, mean what they say with either setting.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.csv_text import parse_csv
from rvos_ensemble.adapters.core.io.disk import read_file, user_path
from rvos_ensemble.adapters.core.io.hashing import Stamp, digest, file_stamp
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.core.settings import choice, path, text
from rvos_ensemble.adapters.files.storage import Folder
from rvos_ensemble.adapters.files.verdicts.answers import Answers
from rvos_ensemble.adapters.files.verdicts.values import EXPECTED, VALUES, presence_of, value_in

VIDEO, EXPRESSION = ("video", "video_id", "clip"), ("expression", "expression_id", "exp_id")
MOST_BYTES = 1 << 28  # of a file; MeViSv2 has 33 000 expressions, and a juror gives reasons
SHOWN = 20  # records without a name or value that are listed
SETTINGS: dict[str, Any] = {
    "verdicts": path(),
    "states": choice("presence", "absence"),  # what 1, true and yes mean in the file
    "value": text(None),  # name of the column or key of the values, if it is none of VALUES
    "missing": choice("error", "unknown"),  # expressions without a verdict
    "extra": choice("error", "ignore"),  # verdicts on expressions that the data set does not list for a video
}


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of one juror in a file; the attributes are those of `SETTINGS`.

    Attributes:
        verdicts: path of the file or folder.
        states: "presence" or "absence", what 1, true and yes mean in the file.
        value: name of the column or key of the values; None if it is one of VALUES.
        missing: "error", or "unknown": an expression without a verdict has the presence None.
        extra: "error" or "ignore": verdicts on expressions that the data set does not list for a video. Videos that the
            data set does not list are always ignored, as of masks on disk.
    """

    verdicts: str
    states: str = "presence"
    value: str | None = None
    missing: str = "error"
    extra: str = "error"

    def presences(self, clip: Clip) -> dict[str, float | None]:
        """P(the expression refers to something) of every expression of a clip; None if the juror does not say.

        Raises:
            InputError: naming everything that is wrong with the verdicts of the clip.
        """
        table = self._table([clip])
        problems = self._problems_of(table, clip)
        if self.missing == "error" and (missing := self._missing(table, [clip])):
            problems.append(self._missing_text(table, missing, [clip]))
        if problems:
            raise InputError(problems)
        of = table.presences.get(clip.name, {})
        return {e.id: of.get(e.id) for e in clip.expressions}

    def problems(self, clips: Sequence[Clip]) -> dict[str, list[str]]:
        """{clip: what is wrong with its verdicts}; the line about missing verdicts counts those of all clips."""
        try:
            table = self._table(clips)
        except InputError as error:
            return {clip.name: error.problems for clip in clips}
        problems = {clip.name: self._problems_of(table, clip) for clip in clips}
        missing = self._missing(table, clips)
        silent = sum(map(len, missing.values())) == sum(len(clip.expressions) for clip in clips)
        if missing and (self.missing == "error" or silent):
            line = self._missing_text(table, missing, clips)
            for name in missing:
                problems[name].append(line)
        return {name: lines for name, lines in problems.items() if lines}

    def fingerprint(self, clip: Clip) -> str:
        """A hash of the verdicts on the expressions of a clip."""
        return digest(json.dumps(self._table([clip]).presences.get(clip.name), sort_keys=True))

    def _table(self, clips: Sequence[Clip]) -> _Table:
        """The verdicts of the file, or those of the clips in a folder of answers."""
        if os.path.isdir(user_path(self.verdicts)):
            if (self.states, self.value) != ("presence", None):
                raise InputError(f"{self.verdicts}: a folder of answers states presence; remove `states` and `value`")
            return _read_answers(Answers(Folder(str(user_path(self.verdicts)))), clips)
        return _load(file_stamp(user_path(self.verdicts)), self.states, self.value)

    def _problems_of(self, table: _Table, clip: Clip) -> list[str]:
        """Values of a clip that cannot be read, and expressions that the data set does not list."""
        problems = [p for lines in table.problems.get(clip.name, {}).values() for p in lines]
        wanted = [e.id for e in clip.expressions]
        if self.extra == "error":
            problems += [
                f"{self.verdicts}: video {clip.name!r}: a verdict on expression {shown(i)}, which is not in the data "
                f"set (it has {first_few(wanted)}); `extra: ignore` skips such verdicts"
                for i in table.presences.get(clip.name, ())
                if i not in wanted
            ]
        return problems

    def _missing(self, table: _Table, clips: Sequence[Clip]) -> dict[str, list[str]]:
        """{clip: its expressions without a verdict}, of clips that lack some."""
        missing: dict[str, list[str]] = {}
        for clip in clips:
            of, wrong = table.presences.get(clip.name, {}), table.problems.get(clip.name, {})
            if ids := [e.id for e in clip.expressions if of.get(e.id) is None and e.id not in wrong]:
                missing[clip.name] = ids
        return missing

    def _missing_text(self, table: _Table, missing: Mapping[str, list[str]], clips: Sequence[Clip]) -> str:
        """One sentence about all missing verdicts."""
        number, total = sum(map(len, missing.values())), sum(len(clip.expressions) for clip in clips)
        of = f"{number} of {total} expressions of {first_few([c.name for c in clips], 3)}"
        examples = first_few((f"{name}/{i}" for name, ids in missing.items() for i in ids), 3)
        lines = f"{self.verdicts}: no verdict on {of}: {examples}"
        if not any(table.presences.get(clip.name) for clip in clips):
            lines += f"; the file has the videos {first_few(table.presences, 3)}"
        if number == total:
            return f"{lines}; the juror says nothing on any of them: correct the file, or remove the juror"
        return f"{lines}; `missing: unknown` leaves these expressions to the other jurors"


@dataclass(frozen=True)
class _Table:
    """The content of a file.

    Attributes:
        presences: {video: {expression: presence, or None for a missing verdict}}.
        problems: {video: {expression: what is wrong with its verdicts}}.
    """

    presences: dict[str, dict[str, float | None]] = field(default_factory=dict)
    problems: dict[str, dict[str, list[str]]] = field(default_factory=dict)


class _Entry(NamedTuple):
    """One verdict as it is written, and its place in the file."""

    video: str
    expression: str
    value: Any
    place: str


def _read_answers(answers: Answers, clips: Sequence[Clip]) -> _Table:
    """The table of the clips' answers."""
    table = _Table()
    for clip in clips:
        for expression, file in answers.files(clip.name).items():
            of = table.presences.setdefault(clip.name, {})
            of[expression] = None
            try:
                of[expression] = float(answers.read(file, clip.name, expression).present)
            except InputError as error:
                table.problems.setdefault(clip.name, {})[expression] = error.problems
    return table


@lru_cache(maxsize=16)
def _load(stamp: Stamp, states: str, value: str | None) -> _Table:
    """The table of a file; see `Verdicts`.

    Raises:
        InputError: a file that is neither csv nor json, or whose rows name no video or expression.
    """
    data = read_file(stamp[0], MOST_BYTES)
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        entries = _json_entries(parse_json(data, stamp[0]), stamp[0], states, value)
    else:
        entries = _csv_entries(data, stamp[0], states, value)
    table, places = _Table(), {}
    for entry in entries:
        where = f"{entry.place}: video {shown(entry.video)}, expression {shown(entry.expression)}"
        of = table.presences.setdefault(entry.video, {})
        try:
            if first := places.get((entry.video, entry.expression)):
                raise InputError(f"{where}: a second verdict, after that of {first}; remove one of them")
            places[entry.video, entry.expression] = entry.place
            of[entry.expression] = presence_of(entry.value, states, value, where)
        except InputError as error:
            of.setdefault(entry.expression, None)
            table.problems.setdefault(entry.video, {}).setdefault(entry.expression, []).extend(error.problems)
    return table


def _json_entries(content: Any, file: str, states: str, value: str | None) -> list[_Entry]:
    """The verdicts of {video: {expression: value}} or of a list of records."""
    if isinstance(content, list):
        return _record_entries([(r, f"{file}, record {i}") for i, r in enumerate(content, 1)], states, value)
    if wrong := [f"video {shown(v)} has {shown(of)}" for v, of in content.items() if not isinstance(of, dict)]:
        raise InputError(
            f"{file}: expected {{video: {{expression: {EXPECTED}}}}}, or a list of records; {first_few(wrong, 3)}"
        )
    return [_Entry(video, e, verdict, file) for video, of in content.items() for e, verdict in of.items()]


def _csv_entries(data: bytes, file: str, states: str, value: str | None) -> list[_Entry]:
    """The verdicts of a csv file with a header."""
    try:
        rows = parse_csv(data, file, [VIDEO, EXPRESSION, [value] if value else VALUES])
    except InputError as error:
        raise InputError([*error.problems, f"{file}: not json either, which begins with a bracket or brace"]) from None
    return _record_entries([(row.values, f"{file}, line {row.line}") for row in rows], states, value)


def _record_entries(records: Sequence[tuple[Any, str]], states: str, value: str | None) -> list[_Entry]:
    """The verdicts of records with their places.

    Raises:
        InputError: naming every record without a video, an expression or a value.
    """
    entries, problems = [], []
    for record, place in records:
        try:
            if not isinstance(record, dict):
                raise InputError(f"{place}: {shown(record)}, expected an object with video, expression and a value")
            video, expression = (_name(record, names, place) for names in (VIDEO, EXPRESSION))
            entries.append(_Entry(video, expression, value_in(record, states, value, place), place))
        except InputError as error:
            problems += error.problems
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise InputError([*problems[:SHOWN], *more])
    return entries


def _name(record: Mapping[str, Any], names: Sequence[str], place: str) -> str:
    """The video or expression of a record; ids may be whole numbers."""
    name = next((record[n] for n in names if n in record), None)
    if type(name) not in (str, int) or not str(name).strip():
        raise InputError(f"{place}: {names[0]} is {shown(name)}, expected a name")
    return str(name).strip()
