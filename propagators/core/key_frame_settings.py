"""What rules for key frames there are, their settings, and key frames named by a file; `keyframe.py` applies them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.disk import user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import Setting, choice, either, path, switch, table, text, whole

RANK, SKIP_EMPTY = whole(0), switch(True)
WITHOUT_SCORES = choice("", "agreement", "temporal", "soft")
RULES: dict[str, dict[str, Any]] = {
    "argmax": {"rank": RANK, "skip_empty": SKIP_EMPTY, "without_scores": WITHOUT_SCORES},
    "product": {"rank": RANK, "skip_empty": SKIP_EMPTY, "without_scores": WITHOUT_SCORES},
    "top": {
        "k": whole(3, least=1),
        "apart": whole(1, least=1),
        "skip_empty": SKIP_EMPTY,
        "without_scores": WITHOUT_SCORES,
    },
    "agreement": {"rank": RANK, "skip_empty": SKIP_EMPTY},
    "temporal": {"rank": RANK, "skip_empty": SKIP_EMPTY},
    "soft": {"rank": RANK, "skip_empty": SKIP_EMPTY, "without_scores": WITHOUT_SCORES},
    "confidence": {
        "over": choice("frame", "mask"),
        "rank": RANK,
        "skip_empty": SKIP_EMPTY,
        "without_scores": WITHOUT_SCORES,
    },
    "first": {"skip_empty": SKIP_EMPTY},
    "uniform": {"k": whole(1, least=1), "at": choice("centres", "ends"), "skip_empty": SKIP_EMPTY},
    "given": {"file": path("", null=True)},
}
ONE_SCORE = ("argmax", "top")  # rules that go by the scores of one model
BY_SCORES = (*ONE_SCORE, "product")
BY_PROBABILITIES = ("soft", "confidence")


def settings_of(rule: str | Mapping[str, Any], where: str = "key_frame") -> dict[str, Any]:
    """The rule with all its settings, `rule` among them.

    >>> settings_of({"rule": "uniform", "k": 2})
    {'rule': 'uniform', 'k': 2, 'at': 'centres', 'skip_empty': True}

    Raises:
        InputError: no such rule, unknown settings, values out of range.
    """
    given = {str(key): value for key, value in rule.items()} if isinstance(rule, Mapping) else {"rule": rule}
    name = given.pop("rule", None)
    if not isinstance(name, str) or name not in RULES:
        raise InputError(f"{where}: there is no rule {shown(name)}. Valid: {', '.join(RULES)}")
    return {"rule": name, **merge_settings(RULES[name], given, f"{where} {name}", lambda s: _file_problems(s, where))}


def _file_problems(given: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with the file of the rule `given`."""
    file = given.get("file")
    if not file or os.path.isfile(user_path(file)):
        return []
    found = "a folder, expected a json file" if os.path.isdir(user_path(file)) else "no such file"
    return [f"{where} given: {file}: {found}, named as key frames in the recipe"]


def setting_of(default: str) -> Setting:
    """A step's setting `key_frame`: the name of a rule, or {rule: NAME, ...}."""
    below = {"rule": text(), **{key: known for rule in RULES.values() for key, known in rule.items()}}
    return either(default, text(), table(below=below), what="a rule, or {rule: NAME, settings...}")


def rule_problems(rule: Any, scorers: Sequence[str], named: str) -> list[str]:
    """What is wrong with a step's rule and the models that it goes by, found before there are clips.

    Args:
        rule: as given; None: something else, that has been told.
        scorers: names of the models.
        named: by which setting.
    """
    if rule is None:
        return []
    try:
        name = settings_of(rule)["rule"]
    except InputError as error:
        return error.problems
    if name in ONE_SCORE and len(scorers) > 1:
        told = ", ".join(scorers)
        return [f"key_frame {name} goes by one score, found {named} {told}; name one, or take `product`"]
    return []


def frames_of_file(file: str, clip: str, expression: str, length: int) -> tuple[int, ...]:
    """The key frames of an expression, ascending, as a file names them.

    Args:
        file: json {video: {expression: k | [k, ...] | {"index_info": {"class_index": k}}}}; the last is the 2023
            winner's.
        clip, expression: whose.
        length: frames of the clip.

    Raises:
        InputError: the file cannot be read, has no entry for the expression, or one that is no frame of the clip.
    """
    path = user_path(file)
    try:
        stat = os.stat(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    table = _read(str(path), stat.st_mtime_ns, stat.st_size)
    of_clip = table.get(clip) if isinstance(table, dict) else None
    entry = of_clip.get(expression) if isinstance(of_clip, dict) else None
    where = f"video {clip!r}, expression {expression!r}"
    if entry is None:
        raise InputError(f"{path}: no key frame for {where}")
    if isinstance(entry, dict):
        inner = entry.get("index_info")
        entry = inner.get("class_index") if isinstance(inner, dict) else None
        if entry is None:
            raise InputError(f"{path}: {where}: nothing at index_info.class_index, expected a number")
    return checked_frames(entry, length, f"{path}: {where}")


def checked_frames(found: Any, length: int, where: str) -> tuple[int, ...]:
    """Frame indices, ascending.

    Raises:
        InputError: something else, or one that is not in the clip.
    """
    frames = found if isinstance(found, (list, tuple)) else [found]
    bad = [t for t in frames if not isinstance(t, (int, np.integer)) or isinstance(t, bool) or not 0 <= t < length]
    if bad or not frames:
        raise InputError(f"{where}: key frame {shown(found)}, expected frame indices from 0 to {length - 1}")
    return tuple(sorted({int(t) for t in frames}))


@lru_cache(maxsize=8)
def _read(path: str, mtime: int, size: int) -> Any:
    return read_json(path)
