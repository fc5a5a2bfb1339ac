"""ClipRecord: the status, scores and notes of a clip of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rvos_ensemble.ensemble.engine.storage.store import key_of


@dataclass
class ClipRecord:
    """The outcome of a clip, stored as JSON with its results, so that a rerun can reuse them.

    Attributes:
        clip: name of the clip.
        status: "done", "reused" (nothing had to be computed) or "failed".
        error: reason of the failure.
        frames: number of frames.
        output: name of the source or step whose masks were written.
        keys: {source or step: key}, see `keys_of`; the record is valid while keys, output and truth are unchanged.
        truth: fingerprint of the ground truth used for scoring.
        pictures: digest of the PNGs.
        files: {part of the results: digest} of the other files of the clip, see `side_files`.
        scores: {source or step: {expression: {"J": mean, "F": mean}}}; for scores per frame see `frame_scores`. Where
            the ground truth states whether the expression refers to anything, also "no_target" and "empty", the answer.
        notes: {source or step: {expression: notes}}: key frames, groups, propagator, origin of the scores.
        seconds: {step: seconds}, including "read", "write" and "score".
        computed: steps that were computed rather than loaded from the store.
        peak_mb: peak memory of the process that computed the clip.
        trace: traceback of the error; not stored in the file of the record.
    """

    clip: str
    status: str = "done"
    error: str = ""
    frames: int = 0
    output: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    truth: str = ""
    pictures: str = ""
    files: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    notes: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    peak_mb: float = 0.0
    trace: str = ""


def pack_record(record: ClipRecord) -> bytes:
    """A record as JSON with a digest, because later runs rely on it."""
    content = json.loads(json.dumps({k: v for k, v in asdict(record).items() if k != "trace"}))
    return json.dumps({"digest": key_of(content), **content}, indent=1).encode()


def unpack_record(data: bytes) -> ClipRecord:
    """The record in a file.

    Raises:
        ValueError, TypeError, KeyError: the file is damaged or was changed.
    """
    content = json.loads(data)
    if content.pop("digest") != key_of(content):
        raise ValueError("the digest of a record does not match")
    return ClipRecord(**content)


def read_record(file: Path) -> ClipRecord | None:
    """The record in a file; None if the file is missing, damaged or was changed."""
    try:
        return unpack_record(file.read_bytes())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def missing_masks(records: Iterable[ClipRecord], sources: Iterable[str]) -> list[str]:
    """A sentence for each source whose files lack masks that `missing: empty` replaced by empty ones.

    Args:
        records: of all clips.
        sources: their names; steps may pass the notes of their inputs on.

    >>> notes = {"a": {"0": {"missing": True}, "1": {"missing_frames": 2}}, "b": {"0": {"key_frame": 3}}}
    >>> missing_masks([ClipRecord("bear", notes=notes)], "ab")
    ['a: 1 expressions, and 2 frames of others, are missing in its files and are empty']
    """
    lines, records = [], list(records)
    for name in sources:
        notes = [n for record in records for n in record.notes.get(name, {}).values()]
        expressions, frames = sum("missing" in n for n in notes), sum(n.get("missing_frames", 0) for n in notes)
        if expressions or frames:
            what = f"{expressions} expressions, and {frames} frames of others,"
            lines.append(f"{name}: {what} are missing in its files and are empty")
    return lines
