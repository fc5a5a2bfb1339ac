"""Small json files beside masks, parsed once, and the identity of files."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from adapters.sequence import Clip, InputError

Stamp: TypeAlias = tuple[str, int, int]
"""(path, size, mtime in ns): the same stamp means the same contents, so that what was read can be kept."""


def file_stamp(path: str | Path) -> Stamp:
    """The stamp of a file.

    Raises:
        InputError: there is none.
    """
    try:
        status = Path(path).stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return str(path), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def file_hash(stamp: Stamp) -> str:
    """blake2b of a whole file."""
    with open(stamp[0], "rb") as file:
        digest = hashlib.blake2b(digest_size=16)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@lru_cache(maxsize=16)
def load_json(stamp: Stamp) -> dict[str, Any]:
    """A json file whose top is a mapping; treat the result as read-only.

    Raises:
        InputError: not json, or not a mapping.
    """
    try:
        with open(stamp[0], encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{stamp[0]}: cannot be read as json: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{stamp[0]}: a json {type(data).__name__}, expected an object: {{video: ...}}")
    return data


def as_scores(values: Any, frames: int, where: str) -> np.ndarray:
    """One finite score per frame as float32 [T].

    Raises:
        InputError: another number of them, or not numbers.
    """
    try:
        scores = np.array([float(v) for v in values], np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: scores are not a list of {frames} numbers: {error}") from error
    if len(scores) != frames:
        raise InputError(f"{where}: {len(scores)} scores, expected {frames}, one for every frame")
    if not np.isfinite(scores).all():
        raise InputError(f"{where}: score of frame {int(np.argmin(np.isfinite(scores)))} is not finite")
    return scores


def scores_of(path: Path, clip: Clip, expression: str) -> np.ndarray:
    """The scores of an expression in a side file {video: {expression: [score per frame]}}."""
    where = f"{path}: video {clip.name!r}, expression {expression!r}"
    return as_scores(_entry(path, clip, expression, where), len(clip), where)


def key_frame_of(path: Path, clip: Clip, expression: str) -> int:
    """The key frame of an expression: the winner's {"index_info": {"class_index": k}}, or just k."""
    where = f"{path}: video {clip.name!r}, expression {expression!r}"
    entry = _entry(path, clip, expression, where)
    try:
        k = entry["index_info"]["class_index"] if isinstance(entry, dict) else entry
    except (KeyError, TypeError):
        k = None
    if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < len(clip):
        raise InputError(
            f'{where}: expected a key frame 0..{len(clip) - 1} as {{"index_info": {{"class_index": k}}}} or a number, '
            f"found {entry!r:.80}"
        )
    return k


def _entry(path: Path, clip: Clip, expression: str, where: str) -> Any:
    try:
        return load_json(file_stamp(path))[clip.name][expression]
    except (KeyError, TypeError):
        raise InputError(f"{where}: no entry") from None
