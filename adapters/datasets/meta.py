"""meta_expressions.json and similar files, which list the videos, frames and expressions of a benchmark."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.clip import BadClips, Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import name_problem
from rvos_ensemble.adapters.core.io.json_text import lone_surrogate, read_json
from rvos_ensemble.adapters.core.messages import shown


def read_videos(path: Path) -> dict[str, dict]:
    """{video: its entry} of a JSON file {"videos": {...}}.

    Raises:
        InputError: the file has another form.
    """
    content = read_json(path)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos:
        raise InputError(f'{path}: expected {{"videos": {{name: {{"expressions": ..., "frames": ...}}}}}}')
    return videos


def subset(videos: Mapping[str, Any], names: str | Iterable[str] | None, where: str | Path) -> dict[str, Any]:
    """The named videos; all of them if `names` is None.

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
    """Calls `make(name, entry)` for every video, in order of names.

    `make` checks the files of its video, so that a problem of one video does not affect the others.

    Raises:
        BadClips: some clips could not be made; it carries the others and the problems.
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
    """The frames of a video in the order of the file, and its expressions in numeric order of their ids.

    There are two layouts: that of 2021, `{"expressions": {id: {"exp", "obj_id"?}}, "frames"}`, and that of 2020,
    `{"objects": {id: {"frames", "expressions": [text]}}}`, whose expressions are numbered object by object, and whose
    frames are the union over the objects.

    Args:
        name: of the video.
        entry: the value of the video in the file.
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
        problems += [f"{at}: {problem}" for frame in frames if (problem := name_problem(frame, "frame"))]
        repeated = [frame for frame, count in Counter(frames).items() if count > 1]
        problems += [f"{at}: a frame name is listed twice: {shown(frame)}" for frame in repeated]
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
    parsed = (Expression(name, i, expressions[i]["exp"], ids[i]) for i in sorted(expressions, key=natural))
    return tuple(frames), tuple(parsed)


def object_ids(value: Any, where: str = "object ids") -> tuple[str, ...]:
    """Ids as strings, from one id, a list of them, or None.

    >>> object_ids(None), object_ids("1"), object_ids([2, 3])
    ((), ('1',), ('2', '3'))

    Raises:
        InputError: an id is neither a text nor a whole number.
    """
    ids = () if value is None else value if isinstance(value, list) else (value,)
    if wrong := [i for i in ids if type(i) not in (str, int)]:
        raise InputError(f"{where}: an object's id is {shown(wrong[0])}, expected a text or a whole number")
    return tuple(str(i) for i in ids)


def natural(name: str) -> list:
    """Sort key that compares digits as numbers.

    >>> sorted(["10", "2", "0"], key=natural)
    ['0', '2', '10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [_by_value(part) if n % 2 else part for n, part in enumerate(parts)]


def _by_value(digits: str) -> tuple[int, str]:
    """Sort key of a number of any length, which `int` would limit."""
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
