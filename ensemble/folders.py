"""Folders that several processes might use at once: one run in a folder at a time, many runs on one store."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from adapters.sequence import InputError


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """One run in a folder at a time; the lock goes with the process, however it ends.

    Raises:
        InputError: another one is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{out}: another run is working in this folder; wait for it, or give out=DIR") from None
        yield


@contextlib.contextmanager
def shared(store: Path) -> Iterator[None]:
    """A store that other runs may use at the same time; the first to come clears away what killed ones left half."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".lock").open("a") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear(store, "*/")
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def clear(folder: Path, *where: str) -> None:
    """Removes the temporary files of processes that are gone, in the folder and in those that patterns name."""
    for leftover in [f for pattern in ("", *where) for f in folder.glob(f"{pattern}.*.tmp")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
