"""How far the work on one clip is, written by the worker into a file that the run reads.

A file works for every backend and survives whatever happens to the worker. Where the folder does not exist, as on
another machine of a cluster, nothing is written, and the run shows finished clips only.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.clip import Clip

PAUSE = 0.5  # seconds between two writes
LIGHT = 0.02  # cost of a part that runs no network, relative to one that does, where neither was measured

_current: ContextVar[ClipProgress | None] = ContextVar("current", default=None)
_seconds: dict[str, float] = {}  # {name of work: seconds per frame}, measured in this process on earlier clips


class ClipProgress:
    """The work on one clip: parts with expected costs, and how far the one in progress is.

    A part that this process has done for an earlier clip takes as long per frame as it did then. Of the others, those
    that run a network take as long as the part in progress, by its frames so far, and the rest close to nothing.

    Args:
        file: to write; None to write nothing.
        frames: number of frames of the clip.
    """

    def __init__(self, file: Path | None, frames: int):
        self.file, self.frames = file, frames
        self.left: dict[str, bool] = {}  # the parts that are not done: whether they run a network
        self.spent = 0.0  # seconds, on parts that are done
        self.names: list[str] = []  # parts in progress
        self.share, self.started, self.written = 0.0, 0.0, 0.0

    def expect(self, parts: dict[str, bool]) -> None:
        """Announces parts of the work, {name: whether it runs a network}."""
        self.left |= parts

    @contextlib.contextmanager
    def running(self, names: Iterable[str]) -> Iterator[None]:
        """Work on these parts, together; `progress.advance` within says how far it is."""
        self.names, self.share, self.started = list(names), 0.0, time.perf_counter()
        self._write(now=True)
        try:
            with progress.listening(self._advance):
                yield
        finally:
            seconds = time.perf_counter() - self.started
            self.spent += seconds
            for name in self.names:
                self.left.pop(name, None)
                _seconds[name] = seconds / len(self.names) / self.frames
            self.names, self.share = [], 0.0

    def done(self) -> float:
        """The share of all work that is done, in 0..1, as far as can be told."""
        so_far = time.perf_counter() - self.started if self.names else 0.0
        known = sum(_seconds.get(name, 1.0) for name in self.names) * self.frames
        part = so_far / self.share if self.share > 0 else max(known, so_far)  # seconds that it takes in all
        typical = part / max(len(self.names), 1) / self.frames
        rest = [_seconds.get(n, typical if h else LIGHT * typical) for n, h in self.left.items() if n not in self.names]
        whole = self.spent + part + sum(rest) * self.frames
        return (self.spent + so_far) / whole if whole else 0.0

    def _advance(self, share: float) -> None:
        self.share = max(self.share, share)
        self._write()

    def _write(self, now: bool = False) -> None:
        moment = time.perf_counter()
        if self.file is None or (not now and moment - self.written < PAUSE):
            return
        self.written = moment
        state = {"done": self.done(), "parts": self.names, "frames": int(self.share * self.frames + 1e-6)}
        with contextlib.suppress(OSError):  # no folder, or no space: the run continues without
            part = self.file.with_suffix(".tmp")
            part.write_text(json.dumps(state))
            os.replace(part, self.file)


def current() -> ClipProgress:
    """That of the clip on which this worker works."""
    return _current.get() or ClipProgress(None, 1)


@contextlib.contextmanager
def of_clip(folder: Path, clip: Clip) -> Iterator[None]:
    """Writes the progress of the work within into `folder/CLIP.json`; `current` returns it."""
    file = folder / f"{clip.name}.json"
    token = _current.set(ClipProgress(file, max(len(clip), 1)))
    try:
        yield
    finally:
        _current.reset(token)
        with contextlib.suppress(OSError):
            file.unlink()
