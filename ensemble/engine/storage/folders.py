"""Output folders: recognised by a marker file of this package, used by one process at a time or shared."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import read_file

MARK = ".rvos_ensemble"  # the marker file in each of our folders; it is also the lock
MAGIC = "rvos-ensemble: folder of a"
KINDS = {
    "run": "run",
    "evaluation": "evaluation",
    "comparison": "comparison",
    "training": "training",
    "store": "store of runs",
}


class NoLocks(InputError):
    """The file system of a folder has no locks."""


@contextlib.contextmanager
def owned(folder: Path, kind: str) -> Iterator[None]:
    """Locks an output folder for this process; the lock is released with the process, however it ends.

    A new folder that is still empty when the work is refused is removed again.

    Args:
        folder: where results go. It is ours when it has our marker file, and becomes ours when it is new or empty.
        kind: a key of `KINDS`; results of two kinds never share a folder.

    Raises:
        InputError: the folder belongs to somebody else, is of another kind, cannot be written, or is in use by another
            process.
    """
    file = _locked(folder, kind, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if file is None:
        raise InputError(f"{folder}: another run is working in this folder; wait for it, or give out=DIR")
    with file:
        try:
            yield
        finally:
            _leave_nothing(folder)


@contextlib.contextmanager
def shared(store: Path) -> Iterator[None]:
    """Locks a store that other runs may use at the same time; the first one removes what killed runs left incomplete.

    Raises:
        InputError: the folder is not a store, or cannot be written.
    """
    try:
        if file := _locked(store, "store", fcntl.LOCK_EX | fcntl.LOCK_NB):
            with file:
                clear(store, "*/")
        lock = _locked(store, "store", fcntl.LOCK_SH)
    except NoLocks:  # entries are complete or absent without; incomplete ones of killed runs stay
        lock = contextlib.nullcontext()
    with lock:
        yield


def clear(folder: Path, *where: str) -> None:
    """Removes temporary files of processes that have ended, in the folder and in subfolders that patterns name."""
    for leftover in [f for pattern in ("", *where) for f in folder.glob(f"{pattern}.*.tmp")]:
        with contextlib.suppress(OSError):  # it belongs to another user and does no harm
            remove(leftover)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all its content; a missing one is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def private(folder: Path, rests: bool = False) -> Iterator[Path]:
    """A folder within an owned one, under a name that no earlier process knows.

    A worker that outlives its run, on any machine, finds the folder renamed and can no longer write into it. The
    content is kept from one owner to the next; an empty folder is removed.

    Args:
        folder: its plain name.
        rests: whether it gets its plain name back when the owner has finished.
    """
    hidden = f".{folder.name}-"
    own = folder.with_name(f"{hidden}{secrets.token_hex(4)}")
    left = sorted(folder.parent.glob(f"{hidden}*"), key=lambda p: p.stat().st_mtime)
    if rests and folder.is_dir():
        left.append(folder)
    for old in left[:-1]:  # never more than one, unless somebody copied it
        remove(old)
    if left:
        left[-1].rename(own)
    else:
        own.mkdir()
    try:
        yield own
    finally:
        if rests:
            own.rename(folder)
        else:
            with contextlib.suppress(OSError):
                own.rmdir()


def _locked(folder: Path, kind: str, lock: int) -> IO[bytes] | None:
    """The open marker file of a folder, locked until it is closed; None where another process holds the lock.

    Raises:
        InputError: see `owned`.
    """
    while True:
        try:
            _mark(folder, kind)
            file = _open(folder / MARK)
        except OSError as error:
            raise InputError(f"{folder}: cannot be used: {error.strerror or error}; give another folder") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            file.close()
            raise InputError(f"{folder}: cannot be written by you; give another folder, or let its group write")
        try:
            fcntl.flock(file, lock)
        except OSError as error:
            file.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EBADF):  # EBADF: on NFS, the marker of another group member
                return None
            raise NoLocks(
                f"{folder}: its file system has no locks ({error.strerror}), which keep two runs apart; mount it with "
                "them (Lustre: -o flock), or give a folder elsewhere"
            ) from error
        if _is(folder / MARK, file):
            return file
        file.close()  # its owner has removed the marker meanwhile


def _mark(folder: Path, kind: str) -> None:
    """Writes the marker file into a folder that is new or empty.

    Raises:
        InputError: the folder belongs to somebody else, or is ours for another purpose.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: not a folder; give another one")
    mark = folder / MARK
    if not mark.exists():
        if folder.is_dir() and any(p.name != MARK for p in folder.iterdir()):
            raise InputError(
                f"{folder}: not empty, and not the folder of an earlier {KINDS[kind]} (without the mark {MARK} that we "
                "leave in ours); nothing in it was touched: give another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), open(mark, "x", encoding="utf-8") as file:
            file.write(f"{MAGIC} {KINDS[kind]}\nWithout this file the folder counts as somebody else's.\n")
        return
    found = read_file(mark, first=200).decode("utf-8", "replace").split("\n")[0]
    if found and found != f"{MAGIC} {KINDS[kind]}":  # an empty marker is just being written
        what = found.removeprefix(f"{MAGIC} ") if found.startswith(MAGIC) else "something else"
        raise InputError(f"{folder}: the folder of a {what}, expected that of a {KINDS[kind]}; give another folder")


def _open(mark: Path) -> IO[bytes]:
    """Opens it for reading and writing, as network locks need; for reading where it belongs to another group member."""
    try:
        return open(mark, "r+b")
    except PermissionError:
        return open(mark, "rb")


def _is(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _leave_nothing(folder: Path) -> None:
    """Removes the marker file and the folder where nothing else is in it."""
    with contextlib.suppress(OSError):
        if [p.name for p in folder.iterdir()] == [MARK]:
            (folder / MARK).unlink()
            folder.rmdir()
