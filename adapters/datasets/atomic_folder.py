"""Folders of generated files that are complete and unaltered, or do not exist.

One process at a time fills a temporary folder beside the final one, writes a stamp with the origin of the files and the
length and hash of each, and renames the folder. `intact` is checked before the folder is used: if a file was removed,
added or altered since, the folder is generated again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import read_file, write_file
from rvos_ensemble.adapters.core.io.hashing import content_hash
from rvos_ensemble.adapters.core.io.json_text import parse_json

MOST_BYTES = 1 << 28  # of a stamp: a million files need 80 MB
_compared: dict[str, tuple] = {}  # {folder whose hashes this process has compared: its files at that time}


@dataclass(frozen=True)
class AtomicFolder:
    """One such folder.

    Attributes:
        root: its final path.
        made_of: the origin of its files, a JSON value; a folder of another origin is replaced.
        stamp: name of the stamp file.
        own: whether a file, named relative to the root, is one that is generated; others are never deleted.
        setting: the setting that names the folder, for messages.
        part: suffix of the temporary folder, `.NAME.PART`.
    """

    root: Path
    made_of: dict
    stamp: str
    own: Callable[[str], bool]
    setting: str
    part: str = "tmp"

    def make(self, fill: Callable[[Path], None]) -> None:
        """Generates the folder unless it is intact. If two processes try at once, one waits for the other.

        Args:
            fill: writes all files into a new, empty folder.

        Raises:
            InputError: it cannot be written, or holds files of another origin; no partial result remains.
        """
        if not self.root.name:
            raise InputError(f"{self.root}: cannot be a folder of its own; set another `{self.setting}`")
        if self.intact() and not self._leftovers():
            return
        missing = [folder for folder in self.root.parents if not os.path.lexists(folder)]
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self._beside("lock")):
                for leftover in self._leftovers():  # of a process that was killed
                    _remove(leftover)
                if not self.intact():
                    self._refuse_foreign()
                    self._replace(fill)
        except OSError as error:
            if not self.intact():  # otherwise only leftovers of another user could not be removed, which do no harm
                raise InputError(
                    f"{self.root}: cannot be written: {error.strerror or error}; free some space, or give another "
                    f"`{self.setting}`"
                ) from error
        finally:
            for folder in missing:
                with contextlib.suppress(OSError):  # not empty
                    folder.rmdir()

    def intact(self) -> bool:
        """Whether every file is present and unaltered, and none was added.

        Hashes are compared once per process, and again if lengths or times have changed since.
        """
        try:
            raw = read_file(self.root / self.stamp, MOST_BYTES)
            stamp = parse_json(raw, self.stamp)
            files = stamp["files"] if isinstance(stamp, dict) and stamp.get("made_of") == self.made_of else None
            if not isinstance(files, dict):
                return False
            now = self._signatures()
            present = {name: signature for name, *signature in now}
            if files.keys() - present.keys() or any(map(self.own, present.keys() - files.keys() - {self.stamp})):
                return False
            key = os.path.abspath(self.root)
            if _compared.get(key) == now:
                return True
            for name, known in files.items():
                if known != [present[name][0], content_hash(os.path.join(self.root, name))]:
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
                    f"{self.root}: must be generated again, but holds files of another origin, such as {name}; delete "
                    f"or move them, or give another `{self.setting}`"
                )

    def _listed(self) -> set[str]:
        """The files that the stamp lists; none if it cannot be read."""
        try:
            return set(parse_json(read_file(self.root / self.stamp, MOST_BYTES), self.stamp)["files"])
        except (InputError, KeyError, TypeError):
            return set()

    def _replace(self, fill: Callable[[Path], None]) -> None:
        fresh, old = self._beside(self.part), self._beside("old")
        try:
            fresh.mkdir()
            fill(fresh)
            files = {name: [_signature(fresh / name)[0], content_hash(fresh / name)] for name in files_in(fresh)}
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
        """Temporary files beside the folder, of a process that was killed or is still running."""
        return [path for what in (self.part, "old", "lock") if os.path.lexists(path := self._beside(what))]


def tidy(folder: Path, name: re.Pattern) -> None:
    """Removes the leftovers of killed processes for folders of these names; not those of a running process."""
    leftovers: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for file in os.listdir(folder):
            if match := re.fullmatch(rf"\.({name.pattern})(\.\w+)?\.(tmp|old|lock)", file):
                leftovers.setdefault(match[1], []).append(folder / file)
    for final, paths in leftovers.items():
        with contextlib.suppress(OSError), _locked(folder / f".{final}.lock", wait=False):
            for path in paths:
                _remove(path)


def files_in(root: Path) -> list[str]:
    """All files below a folder, hidden ones and links of any kind included, relative to it.

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


def _signature(path: str | Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_size, status.st_mtime_ns


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif not path.name.endswith(".lock"):  # the holder of a lock removes it
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(lock: Path, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock, whose file exists only meanwhile. The system releases it when the process ends.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
    """
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _take(file, lock, wait)
            if _is_file(file, lock):  # not a file that the last holder has removed meanwhile
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
        print(
            f"{lock.parent}: another process generates {lock.name[1:-5]}; waiting for it",
            file=sys.stderr,
            flush=True,
        )
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
