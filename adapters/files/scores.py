"""Scores and key frames in json files beside masks, parsed once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import Stamp, file_stamp
from rvos_ensemble.adapters.core.io.json_object import JsonObject
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown

LARGE = 1 << 24  # bytes; parsed, a file takes up to ten times as many
COMPLAINT = "cannot be read as json"
SCORES = "scores"  # the only key beside the videos in a file of masks


@lru_cache(maxsize=16)
def load_json(stamp: Stamp) -> Mapping[str, Any]:
    """The content of a JSON file that holds an object; it is cached, so do not modify it.

    A value of a large file is parsed when it is read, and the last few values are cached.

    Raises:
        InputError: not JSON, or not an object; of a large file also when a value is read.
    """
    if stamp[1] > LARGE:
        return JsonObject(stamp, COMPLAINT)
    data = read_json(stamp[0], complaint=COMPLAINT)
    if not isinstance(data, dict):
        raise InputError(f"{stamp[0]}: a json {type(data).__name__}, expected an object: {{video: ...}}")
    return data


def as_scores(values: Any, frames: int, where: str) -> np.ndarray:
    """One finite score per frame as float32 [T].

    Args:
        values: a list, tuple or array [T] of numbers; other sequences are refused.
        frames: T.
        where: file name and entry, for messages.

    Raises:
        InputError: another count, values that are not numbers, or numbers that float32 cannot hold.
    """
    if isinstance(values, np.ndarray):
        values = values.tolist() if values.ndim == 1 and values.dtype.kind in "fiu" else values
    if not isinstance(values, (list, tuple)):
        kind = f"an array of {values.dtype} {values.shape}" if isinstance(values, np.ndarray) else shown(values)
        raise InputError(
            f"{where}: scores are not a list of {frames} numbers, one for every frame in order: {kind}; write them as "
            "such a list"
        )
    if wrong := [t for t, value in enumerate(values) if type(value) not in (int, float)]:
        raise InputError(
            f"{where}: scores are not a list of {frames} numbers: that of frame {wrong[0]} is {shown(values[wrong[0]])}"
        )
    if len(values) != frames:
        raise InputError(f"{where}: {len(values)} scores, expected {frames}, one for every frame")
    with np.errstate(over="ignore"):
        scores = np.array([_double(value) for value in values], np.float64).astype(np.float32)
    if not np.isfinite(scores).all():
        t = int(np.argmin(np.isfinite(scores)))
        raise InputError(f"{where}: score of frame {t} is not finite: {shown(values[t])}")
    return scores


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int of hundreds of digits
        return math.inf


def text_of(path: Path, key: str) -> str:
    """The remark in a file {key: a line of text}; "" if it has no such key.

    Raises:
        InputError: the file has another form.
    """
    value = load_json(file_stamp(path)).get(key, "")
    if not isinstance(value, str) or not value.isprintable():
        raise InputError(f"{path}: `{key}` is {shown(value)}, expected one line of text")
    return value


def scores_of(path: Path, clip: Clip, expression: str) -> np.ndarray:
    """The scores of an expression in a file {video: {expression: [score per frame]}}."""
    where = f"{path}: video {clip.name!r}, expression {expression!r}"
    return as_scores(_entry(path, clip, expression, where), len(clip), where)


def key_frame_of(path: Path, clip: Clip, expression: str) -> int:
    """The key frame of an expression, written as the winner's {"index_info": {"class_index": k}}, or as k."""
    where = f"{path}: video {clip.name!r}, expression {expression!r}"
    entry = _entry(path, clip, expression, where)
    try:
        k = entry["index_info"]["class_index"] if isinstance(entry, dict) else entry
    except (KeyError, TypeError):
        k = None
    if type(k) is not int or not 0 <= k < len(clip):
        raise InputError(
            f'{where}: expected a key frame 0..{len(clip) - 1} as {{"index_info": {{"class_index": k}}}} or a number, '
            f"found {shown(entry)}"
        )
    return k


def _entry(path: Path, clip: Clip, expression: str, where: str) -> Any:
    try:
        return load_json(file_stamp(path))[clip.name][expression]
    except (KeyError, TypeError):
        raise InputError(f"{where}: no entry") from None
