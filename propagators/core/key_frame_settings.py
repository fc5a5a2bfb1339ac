"""The rules for key frames with their settings, and key frames named by a file; `key_frames.py` applies the rules."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import Setting, choice, either, number, path, switch, table, text, whole
from rvos_ensemble.propagators.core.memory_rules.scene_cut import DISTANCE
from rvos_ensemble.propagators.core.propagator import SIGNALS

RANK, SKIP_EMPTY = whole(0), switch(True)
WITHOUT_SCORES = choice("", "agreement", "temporal", "soft")
BY = choice("scores", *SIGNALS)
ANCHORS = {"by": BY, "min_score": number(None), "skip_empty": SKIP_EMPTY, "without_scores": WITHOUT_SCORES}
RULES: dict[str, dict[str, Any]] = {
    "argmax": {"by": BY, "rank": RANK, "skip_empty": SKIP_EMPTY, "without_scores": WITHOUT_SCORES},
    "product": {"by": BY, "rank": RANK, "skip_empty": SKIP_EMPTY, "without_scores": WITHOUT_SCORES},
    "top": {"k": whole(3, least=1), "apart": whole(1, least=1), **ANCHORS},
    "every": {"frames": whole(30, least=1), **ANCHORS},
    "shots": {"distance": number(DISTANCE, least=0, below=1), **ANCHORS},
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
ONE_SCORE = ("argmax", "top")  # rules that use the scores of one model
BY_SCORES = (*ONE_SCORE, "product", "every", "shots")
BY_PROBABILITIES = ("soft", "confidence")


def settings_of(rule: str | Mapping[str, Any], where: str = "key_frame") -> dict[str, Any]:
    """The rule with all its settings, `rule` among them.

    >>> settings_of({"rule": "uniform", "k": 2})
    {'rule': 'uniform', 'k': 2, 'at': 'centres', 'skip_empty': True}

    Raises:
        InputError: no such rule, unknown settings, values out of range.
    """
    values = {str(key): value for key, value in rule.items()} if isinstance(rule, Mapping) else {"rule": rule}
    name = values.pop("rule", None)
    if not isinstance(name, str) or name not in RULES:
        raise InputError(f"{where}: no rule is called {shown(name)}. Valid: {', '.join(RULES)}")
    return {"rule": name, **merge_settings(RULES[name], values, f"{where} {name}", lambda s: _file_problems(s, where))}


def with_default(rule: Any, without_scores: str) -> Any:
    """The rule with `without_scores`, if it knows this setting and does not have it.

    >>> with_default("argmax", "agreement"), with_default("first", "agreement")
    ({'rule': 'argmax', 'without_scores': 'agreement'}, 'first')
    """
    values = dict(rule) if isinstance(rule, Mapping) else {"rule": rule}
    known = RULES.get(values.get("rule"), {}) if isinstance(values.get("rule"), str) else {}
    if "without_scores" not in known or values.get("without_scores"):
        return rule
    return {**values, "without_scores": without_scores}


def _file_problems(values: Mapping[str, Any], where: str) -> list[str]:
    """Problems with the file of the rule `given`."""
    file = values.get("file")
    if not file or os.path.isfile(user_path(file)):
        return []
    problem = "a folder, expected a json file" if os.path.isdir(user_path(file)) else "no such file"
    return [f"{where} given: {file}: {problem}; the recipe names it for key frames"]


def setting_of(default: str) -> Setting:
    """A step's setting `key_frame`: the name of a rule, or {rule: NAME, ...}."""
    keys = {"rule": text(), **{key: known for rule in RULES.values() for key, known in rule.items()}}
    return either(default, text(), table(below=keys), what="a rule, or {rule: NAME, settings...}")


def rule_problems(rule: Any, scorers: Sequence[str], named: str) -> list[str]:
    """Problems of a step's rule with the models whose scores decide, as far as they do not depend on clips.

    Args:
        rule: the value of the setting; None if its value is wrong by itself, which is reported elsewhere.
        scorers: names of the models.
        named: the setting that names them.
    """
    if rule is None:
        return []
    try:
        name = settings_of(rule)["rule"]
    except InputError as error:
        return error.problems
    if name in ONE_SCORE and len(scorers) > 1:
        names = ", ".join(scorers)
        return [f"key_frame {name} uses one score, found {named} {names}; name one model, or choose `product`"]
    return []


def frames_of_file(file: str, clip: str, expression: str, length: int) -> tuple[int, ...]:
    """The key frames of an expression that a file names, ascending.

    Args:
        file: JSON {video: {expression: k | [k, ...] | {"index_info": {"class_index": k}}}}, the last form being that of
            the LSVOS 2023 winner; or the `selected_frames.json` of Q-frame as SaSaSa2VA reads it (MeViS-Qframe),
            {video: {"selected_frames": {expression: [k, ...]}}}, where a frame may be listed repeatedly.
        clip, expression: their names.
        length: the number of frames of the clip.

    Raises:
        InputError: the file cannot be read, has no entry for the expression, or an index outside the clip.
    """
    path = user_path(file)
    try:
        stat = os.stat(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    table = _read(str(path), stat.st_mtime_ns, stat.st_size)
    of_clip = table.get(clip) if isinstance(table, dict) else None
    if isinstance(of_clip, dict) and _is_q_frame(of_clip):
        of_clip = of_clip["selected_frames"]
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


def _is_q_frame(of_clip: dict[str, Any]) -> bool:
    """Whether the entry of a video is one of Q-frame, and not that of an expression with the id `selected_frames`."""
    frames = of_clip.get("selected_frames")
    return isinstance(frames, dict) and "index_info" not in frames


def checked_frames(value: Any, length: int, where: str) -> tuple[int, ...]:
    """A frame index or a list of them, as ascending indices.

    Raises:
        InputError: the value is something else, or an index is outside the clip.
    """
    frames = value if isinstance(value, (list, tuple)) else [value]
    bad = [t for t in frames if not isinstance(t, (int, np.integer)) or isinstance(t, bool) or not 0 <= t < length]
    if bad or not frames:
        raise InputError(f"{where}: key frame {shown(value)}, expected frame indices from 0 to {length - 1}")
    return tuple(sorted({int(t) for t in frames}))


@lru_cache(maxsize=8)
def _read(path: str, mtime: int, size: int) -> Any:
    """The content of a JSON file; its time and size let a changed file be read again."""
    return read_json(path)
