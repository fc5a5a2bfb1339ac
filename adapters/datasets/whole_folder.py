"""Folders of files that a data set makes: there whole and as they were made, or not there.

A folder is filled beside its place by one process at a time, gets a stamp that says what it was made of and every
file's length and digest, and is then put into its place. `intact` is asked before it is used: where a file was lost,
added or altered since, it is made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rvos_ensemble.adapters.core.disk import read_file, write_file
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.json_text import parse_json

MOST_BYTES = 1 << 28  # of a stamp: that of a million files has 80 MB
_compared: dict[str, tuple] = {}  # folders whose digests this process has compared, and their files at that time


@dataclass(frozen=True)
class WholeFolder:
    """One such folder.

    Attributes:
        root: its place.
        made_of: what it is made of, as json can say it; a folder made of something else is replaced.
        stamp: name of the file that says so.
        own: whether a file, named from the root, is one that is written here; others are never deleted.
        setting: that says where the folder is, for messages.
        part: what the folder is called beside its place while it is filled: `.NAME.PART`.
    """

    root: Path
    made_of: dict
    stamp: str
    own: Callable[[str], bool]
    setting: str
    part: str = "tmp"

    def make(self, fill: Callable[[Path], None]) -> None:
        """Makes the folder, unless it is there and intact. Of two processes at once one waits for the other.

        Args:
            fill: writes all files into a new, empty folder.

        Raises:
            InputError: it cannot be written, or holds files of another origin; nothing is left of the attempt.
        """
        if not self.root.name:
            raise InputError(f"{self.root}: cannot be a folder of its own; give another `{self.setting}`")
        if self.intact() and not self._leftovers():
            return
        missing = [folder for folder in self.root.parents if not os.path.lexists(folder)]
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self._beside("lock")):
                for left in self._leftovers():  # of a process that was killed
                    _remove(left)
                if not self.intact():
                    self._refuse_foreign()
                    self._replace(fill)
        except OSError as error:
            if not self.intact():  # else only the leftovers of somebody else are in the way, and they may stay
                raise InputError(
                    f"{self.root}: cannot be written: {error.strerror or error}; make room there, or give another "
                    f"`{self.setting}`"
                ) from error
        finally:
            for folder in missing:
                with contextlib.suppress(OSError):  # what is not empty stays
                    folder.rmdir()

    def intact(self) -> bool:
        """Whether every file is there as it was made, and none was added.

        Digests are compared once in a process, and again where lengths or times have changed since.
        """
        try:
            raw = read_file(self.root / self.stamp, MOST_BYTES)
            told = parse_json(raw, self.stamp)
            files = told["files"] if isinstance(told, dict) and told.get("made_of") == self.made_of else None
            if not isinstance(files, dict):
                return False
            now = self._signatures()
            there = {name: signature for name, *signature in now}
            if files.keys() - there.keys() or any(map(self.own, there.keys() - files.keys() - {self.stamp})):
                return False
            key = os.path.abspath(self.root)
            if _compared.get(key) == now:
                return True
            if any(known != [there[name][0], _digest(os.path.join(self.root, name))] for name, known in files.items()):
                return False
        except (OSError, InputError, KeyError):
            return False
        _compared[key] = now
        return True

    def _signatures(self) -> tuple[tuple[str, int, int], ...]:
        """(name, length, time) of every file."""
        return tuple((name, *_signature(os.path.join(self.root, name))) for name in files_in(self.root))

    def _refuse_foreign(self) -> None:
        if not os.path.lexists(self.root):
            return
        if not self.root.is_dir():
            raise InputError(f"{self.root}: a file, expected a folder to write into; give another `{self.setting}`")
        listed = self._listed()
        for name in _walk(self.root):
            if name != self.stamp and name not in listed and not self.own(name):
                raise InputError(
                    f"{self.root}: has to be made anew, but holds files of another origin, such as {name}; delete or "
                    f"move them, or give another `{self.setting}`"
                )

    def _listed(self) -> set[str]:
        """The files in the stamp, as far as there is one."""
        try:
            told = parse_json(read_file(self.root / self.stamp, MOST_BYTES), self.stamp)
            return set(told["files"])
        except (InputError, KeyError, TypeError):
            return set()

    def _replace(self, fill: Callable[[Path], None]) -> None:
        fresh, old = self._beside(self.part), self._beside("old")
        try:
            fresh.mkdir()
            fill(fresh)
            files = {name: [_signature(fresh / name)[0], _digest(fresh / name)] for name in files_in(fresh)}
            write_file(fresh / self.stamp, json.dumps({"made_of": self.made_of, "files": files}, indent=0).encode())
            if os.path.lexists(self.root):
                os.rename(self.root, old)
            os.rename(fresh, self.root)
            _compared[os.path.abspath(self.root)] = self._signatures()
        finally:
            _remove(fresh)
            _remove(old)

    def _beside(self, what: str) -> Path:
        return self.root.with_name(f".{self.root.name}.{what}")

    def _leftovers(self) -> list[Path]:
        """What a process that was killed, or is still at work, has left beside the folder."""
        return [path for what in (self.part, "old", "lock") if os.path.lexists(path := self._beside(what))]


def tidy(folder: Path, name: re.Pattern) -> None:
    """Removes what processes that were killed have left of whole folders of these names; never that of a live one."""
    left: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for file in os.listdir(folder):
            if found := re.fullmatch(rf"\.({name.pattern})(\.\w+)?\.(tmp|old|lock)", file):
                left.setdefault(found[1], []).append(folder / file)
    for whole, paths in left.items():
        with contextlib.suppress(OSError), _alone(folder / f".{whole}.lock", wait=False):
            for path in paths:
                _remove(path)


def files_in(root: Path) -> list[str]:
    """All files below a folder, hidden ones and links of any kind included, named from it.

    Raises:
        OSError: a folder cannot be read.
    """

    return sorted(_walk(root))


def _walk(root: Path) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, onerror=stop):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        below = os.path.relpath(folder, root)
        yield from (name if below == "." else f"{below}/{name}" for name in (*files, *links))


def _digest(path: str | Path) -> str:
    return hashlib.blake2b(read_file(path), digest_size=16).hexdigest()


def _signature(path: str | Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_size, status.st_mtime_ns


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif not path.name.endswith(".lock"):  # which its holder removes
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _alone(lock: Path, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock, whose file is there only as long. The system lets go of it when the process ends.

    Raises:
        BlockingIOError: somebody else holds it, and is not waited for.
    """
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _take(file, lock, wait)
            if _is_file(file, lock):  # not one that its last holder has removed meanwhile
                try:
                    yield
                finally:
                    with contextlib.suppress(OSError):
                        os.unlink(lock)
                return
        finally:
            os.close(file)


def _take(file: int, lock: Path, wait: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise
        print(f"{lock.parent}: another process makes {lock.name[1:-5]}; waiting for it", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
