"""Shows the progress of a run: a bar in a terminal, otherwise a plain line now and then."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
FIRST, EVERY = 10.0, 60.0  # seconds to the first plain line, and between two
REFRESH = 0.5  # seconds between two looks at what the workers have written
SHOWN = 4  # clips in progress that are named
FOLDER = f"rvos_progress_{socket.gethostname()}_"  # then the process that made it; machines may share the place


class ProgressBar:
    """The progress of items that are counted, with the remaining time.

    Args:
        title: what is done.
        total: number of units.
        unit: what is counted, such as "frame".
        keep: whether a terminal keeps the bar when all is done.
    """

    def __init__(self, title: str, total: int, unit: str, keep: bool = True):
        self.title, self.total, self.unit = title, total, unit
        self.n, self.note = 0.0, ""
        self.started = time.perf_counter()
        self.line_at = self.started + FIRST
        self.bar = tqdm(total=total, desc=title, unit=unit, leave=keep) if sys.stderr.isatty() else None

    def show(self, n: float, note: str = "") -> None:
        """Shows that `n` units are done, which may be a fraction, with a note on what is in progress."""
        self.n, self.note = n, note
        if self.bar is not None:
            self.bar.n = int(n)
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.refresh()
        elif time.perf_counter() >= self.line_at and n < self.total:
            self.line_at = time.perf_counter() + EVERY
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """The state in one line: `stage2: 12% | 36 of 288 frames | NOTE | 00:30, about 03:40 left`."""
        passed, share = time.perf_counter() - self.started, self.n / max(self.total, 1)
        left = f", about {tqdm.format_interval(passed / share - passed)} left" if self.n >= 1 else ""  # else a guess
        note = f" | {self.note}" if self.note else ""
        counted = f"{int(self.n)} of {self.total} {self.unit}s"
        return f"{self.title}: {100 * share:.0f}% | {counted}{note} | {tqdm.format_interval(passed)}{left}"

    def close(self) -> None:
        """Ends the bar."""
        if self.bar is not None:
            self.bar.close()


def tracked(items: Iterable[T], title: str, total: int, unit: str) -> Iterator[T]:
    """The items, with a bar that vanishes at the end."""
    bar = ProgressBar(title, total, unit, keep=False)
    try:
        for n, item in enumerate(items, start=1):
            yield item
            bar.show(n)
    finally:
        bar.close()


class ClipsBar:
    """The progress of clips in workers, each of which writes its own, see `clip_progress.py`.

    Attributes:
        folder: where workers write.
    """

    def __init__(self, title: str, frames: Mapping[str, int]):
        self.frames = dict(frames)
        _remove_left()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}_"))
        self.finished: set[str] = set()
        self.failed = 0
        self.best: dict[str, float] = {}  # {clip in progress: share}; what was shown once is not taken back
        self.bar = ProgressBar(title, sum(self.frames.values()), "frame")
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ClipsBar:
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.thread.join()
        self.bar.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self, clip: str, failed: bool) -> None:
        """Counts a clip as finished."""
        with self.lock:
            self.finished.add(clip)
            self.failed += failed
        self.refresh()

    def refresh(self) -> None:
        """Reads what the workers have written, and shows it."""
        with self.lock:
            states = {c: state for c, state in _states(self.folder) if c in self.frames and c not in self.finished}
            for clip, state in states.items():
                self.best[clip] = max(self.best.get(clip, 0.0), state["done"])
            running = {c: s for c, s in self.best.items() if c not in self.finished}  # some have just ended
            done = sum(self.frames[c] for c in self.finished) + sum(self.frames[c] * s for c, s in running.items())
            self.bar.show(done, self._note(states))

    def _note(self, states: Mapping[str, Mapping[str, Any]]) -> str:
        """Clips that are finished and have failed, and what the workers do."""
        parts = [f"{len(self.finished)} of {len(self.frames)} clips"]
        parts += [f"{self.failed} failed"] if self.failed else []
        for clip, state in sorted(states.items())[:SHOWN]:
            counted = f" {state['frames']}/{self.frames[clip]}" if state["frames"] else ""
            parts.append(f"{clip}: {'+'.join(state['parts'])}{counted}")
        return ", ".join(parts)

    def _watch(self) -> None:
        while not self.ended.wait(REFRESH):
            with contextlib.suppress(Exception):  # of the terminal: the work is not stopped for its display
                self.refresh()


def _states(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(clip, what its worker has written) of clips in progress."""
    for file in folder.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):  # the clip is finished meanwhile
            yield file.name.removesuffix(".json"), json.loads(file.read_text())


def _remove_left() -> None:
    """Removes the folders of runs that were killed: of processes of this machine that have ended."""
    for path in glob.glob(f"{glob.escape(os.path.join(tempfile.gettempdir(), FOLDER))}*"):
        process = path.rpartition(FOLDER)[2].partition("_")[0]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(path, ignore_errors=True)  # it may belong to another user


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no number of a process
        return True
    return True
