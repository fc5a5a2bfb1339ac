"""meta_expressions.json and its kin: which videos, frames and expressions a benchmark has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.clip import BadClips, Clip, Expression
from rvos_ensemble.adapters.core.disk import name_problem
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.json_text import lone_surrogate, read_json
from rvos_ensemble.adapters.core.messages import shown


def read_videos(path: Path) -> dict[str, dict]:
    """{video: its entry} of a json of the form {"videos": {...}}.

    Raises:
        InputError: it has another form.
    """
    content = read_json(path)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos:
        raise InputError(f'{path}: expected {{"videos": {{name: {{"expressions": ..., "frames": ...}}}}}}')
    return videos


def subset(videos: Mapping[str, Any], names: str | Iterable[str] | None, where: str | Path) -> dict[str, Any]:
    """The named videos only; all of them when there are no names.

    Raises:
        InputError: naming every video that does not exist.
    """
    if names is None:
        return dict(videos)
    names = [str(name) for name in (names if isinstance(names, (list, tuple)) else [names])]
    if unknown := [name for name in names if name not in videos]:
        raise InputError(
            [
                f"{where}: no video {shown(name)}, named in `videos` (ids such as 0123 need quotes in YAML)"
                for name in unknown
            ]
        )
    return {name: videos[name] for name in names}


def make_clips(videos: Mapping[str, Any], make: Callable[[str, Any], Clip]) -> list[Clip]:
    """`make(name, entry)` of every video, in order of names.

    Whatever is wrong with one video costs its clip, not the others: `make` is where its files are looked at.

    Raises:
        BadClips: with the clips that could be made, and the problems of those that could not.
    """
    clips, bad = [], {}
    for name in sorted(videos):
        try:
            clips.append(make(name, videos[name]))
        except InputError as error:
            bad[printable(name)] = error.problems
        except (OSError, UnicodeError) as error:
            bad[printable(name)] = [f"video {shown(name)}: {error}"]
    if bad:
        raise BadClips(clips, bad)
    return clips


def printable(name: str) -> str:
    r"""A name as a screen and a file in UTF-8 can show it.

    >>> printable("caf\xe9"), printable("caf\udce9")
    ('café', 'caf\\udce9')
    """
    return name.encode("utf-8", "backslashreplace").decode()


def parse(name: str, entry: Any, where: str | Path) -> tuple[tuple[str, ...], tuple[Expression, ...]]:
    """Frames in the json's order and expressions in numeric order of their ids.

    Two layouts: that of 2021, `{"expressions": {id: {"exp", "obj_id"?}}, "frames"}`, and that of 2020,
    `{"objects": {id: {"frames", "expressions": [text]}}}`, where expressions are numbered object by object and the
    frames are those of all objects together.

    Args:
        name: of the video.
        entry: what the json holds about it.
        where: file name, for messages.

    Raises:
        InputError: naming everything that is malformed.
    """
    at = f"{where}: video {shown(name)}"
    if isinstance(entry, dict) and "objects" in entry and "expressions" not in entry:
        entry = _from_2020(entry["objects"], at)
    frames = entry.get("frames") if isinstance(entry, dict) else None
    expressions = entry.get("expressions") if isinstance(entry, dict) else None
    problems = []
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, str) for frame in frames):
        problems.append(f"{at}: `frames` should be a list of names")
    else:
        problems += [f"{at}: {told}" for frame in frames if (told := name_problem(frame, "frame"))]
        twice = [frame for frame, count in Counter(frames).items() if count > 1]
        problems += [f"{at}: a frame name is listed twice: {shown(frame)}" for frame in twice]
    if not isinstance(expressions, dict) or not expressions:
        problems.append(f'{at}: `expressions` should be {{id: {{"exp": text}}}} with at least one id')
        expressions = {}
    for i, e in expressions.items():
        if problem := name_problem(i, "expression"):
            problems.append(f"{at}: {problem}")
        if not isinstance(e, dict) or not isinstance(e.get("exp"), str):
            problems.append(f"{at}: expression {shown(i)} has no text `exp`")
        elif lone_surrogate(e["exp"]):
            problems.append(
                f"{at}: the text of expression {shown(i)} has half a character (a lone surrogate such as \\ud800), "
                "which no file can hold; write it in UTF-8"
            )
    if problems:
        raise InputError(problems)
    ids = {i: object_ids(e.get("obj_id"), f"{at}: expression {shown(i)}") for i, e in expressions.items()}
    found = (Expression(name, i, expressions[i]["exp"], ids[i]) for i in sorted(expressions, key=natural))
    return tuple(frames), tuple(found)


def object_ids(value: Any, where: str = "object ids") -> tuple[str, ...]:
    """Ids as strings, from one id, a list of them, or None.

    >>> object_ids(None), object_ids("1"), object_ids([2, 3])
    ((), ('1',), ('2', '3'))

    Raises:
        InputError: something else than texts and whole numbers.
    """
    ids = () if value is None else value if isinstance(value, list) else (value,)
    if odd := [i for i in ids if type(i) not in (str, int)]:
        raise InputError(f"{where}: an object's id is {shown(odd[0])}, expected a text or a whole number")
    return tuple(str(i) for i in ids)


def natural(name: str) -> list:
    """Sort key that reads digits as numbers.

    >>> sorted(["10", "2", "0"], key=natural)
    ['0', '2', '10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [_by_value(part) if n % 2 else part for n, part in enumerate(parts)]


def _by_value(digits: str) -> tuple[int, str]:
    """Orders digits as the number they are, however many there are."""
    digits = digits.lstrip("0")
    return len(digits), digits


def _from_2020(objects: Any, at: str) -> dict:
    entries = objects.values() if isinstance(objects, dict) else [None]
    if not all(isinstance(o, dict) and _texts(o.get("frames")) and _texts(o.get("expressions")) for o in entries):
        raise InputError(f"{at}: `objects` should be {{id: {{frames, expressions}}}}, lists of texts both")
    frames = {frame for o in entries for frame in o["frames"]}
    texts = [(i, text) for i in sorted(objects, key=natural) for text in objects[i]["expressions"]]
    expressions = {str(n): {"exp": text, "obj_id": i} for n, (i, text) in enumerate(texts)}
    return {"frames": sorted(frames, key=natural), "expressions": expressions}


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
