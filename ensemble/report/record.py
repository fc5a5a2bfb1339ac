"""ClipRecord: what became of a clip in a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rvos_ensemble.ensemble.engine.store import key_of


@dataclass
class ClipRecord:
    """What became of a clip; kept as json beside the results, so that a rerun knows what is done.

    Attributes:
        clip: its name.
        status: "done", "reused" (nothing had to be computed) or "failed".
        error: why it failed.
        frames: how many it has.
        output: name of the source or step whose masks were written.
        keys: of every source and step, see `keys_of`; with output and truth they say whether the record still holds.
        truth: fingerprint of the ground truth it was scored against.
        pictures: digest of the PNGs it wrote.
        files: {part of the results: digest} of what lies beside the masks; see `side_files`.
        scores: {source or step: {expression: {"J": mean, "F": mean}}}; of every frame: `frame_scores`.
        notes: {source or step: {expression: notes}}: key frames, groups, propagator, where scores come from.
        seconds: spent on each step, "read" and "write" and "score" included.
        computed: steps that were computed, not taken from the store.
        peak_mb: of the process that did the work.
        trace: where the error came from, for those who mend programs; not kept in the record's file.
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
    """A record as json, with a digest: what it says is believed by later runs."""
    told = json.loads(json.dumps({k: v for k, v in asdict(record).items() if k != "trace"}))
    return json.dumps({"digest": key_of(told), **told}, indent=1).encode()


def unpack_record(data: bytes) -> ClipRecord:
    """The record in a file.

    Raises:
        ValueError, TypeError, KeyError: not what was written.
    """
    told = json.loads(data)
    if told.pop("digest") != key_of(told):
        raise ValueError("the digest of a record does not match")
    return ClipRecord(**told)


def read_record(file: Path) -> ClipRecord | None:
    """The record in a file, None where there is none, or not the one that was written."""
    try:
        return unpack_record(file.read_bytes())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
