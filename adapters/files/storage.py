"""A folder, or a zip read as one: the same few operations on both."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from adapters.files.side_files import Stamp, file_stamp
from adapters.sequence import InputError

JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Folder:
    """A folder. Names inside are relative, with `/`; hidden files and the litter of file managers are not seen."""

    root: str

    def entries(self, at: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in a folder, sorted; two empty lists where there is no such folder."""
        folders, files = [], []
        try:
            with os.scandir(os.path.join(self.root, at)) as found:
                for entry in found:
                    if not is_junk(entry.name):
                        (folders if entry.is_dir() else files).append(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        return sorted(folders), sorted(files)

    def read(self, name: str, most: int = -1) -> bytes:
        """The bytes of a file, or its first few.

        Raises:
            InputError: it cannot be read.
        """
        try:
            with open(os.path.join(self.root, name), "rb") as file:
                return file.read(most)
        except OSError as error:
            raise InputError(f"{self.where(name)}: cannot be read: {error.strerror or error}") from error

    def where(self, name: str) -> str:
        """The file's name for messages."""
        return os.path.join(self.root, name)

    def fingerprint(self, names: Iterable[str]) -> str:
        """Changes whenever one of these files does: a hash of their bytes."""
        digest = hashlib.blake2b(digest_size=16)
        for name in names:
            data = self.read(name)
            digest.update(f"{name} {len(data)}\n".encode() + data)
        return digest.hexdigest()

    def problems(self) -> list[str]:
        return []

    def first_suffix(self, suffixes: tuple[str, ...]) -> str:
        """Which of these kinds of file the folder holds, by the first one found.

        Raises:
            InputError: none of them.
        """
        for _, folders, files in os.walk(self.root):
            folders[:] = sorted(f for f in folders if not is_junk(f))
            for file in sorted(files):
                suffix = Path(file).suffix
                if suffix in suffixes and not is_junk(file):
                    return suffix
        raise InputError(f"{self.root}/: holds no masks: no {', '.join(suffixes)} file in it")


@dataclass(frozen=True)
class Zip:
    """A zip file; opened once per process, since processes must not share a file position."""

    root: str

    def entries(self, at: str) -> tuple[list[str], list[str]]:
        folders, files = self._zip.tree.get(at.rstrip("/"), ((), ()))
        return sorted(folders), sorted(files)

    def read(self, name: str, most: int = -1) -> bytes:
        archive = self._zip
        try:
            with archive.file.open(archive.members[name]) as file:
                return file.read(most)
        except KeyError:
            raise InputError(f"{self.where(name)}: not in the zip") from None
        except (OSError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
            raise InputError(f"{self.where(name)}: damaged, or encrypted: {error}") from error

    def where(self, name: str) -> str:
        return f"{self.root}:{name}"

    def fingerprint(self, names: Iterable[str]) -> str:
        """From the checksums and sizes in the zip's directory."""
        members = self._zip.members
        lines = (f"{n} {members[n].CRC} {members[n].file_size}\n" for n in names)
        return hashlib.blake2b("".join(lines).encode(), digest_size=16).hexdigest()

    def problems(self) -> list[str]:
        return [f"{self.where(name)}: twice in the zip" for name in self._zip.twice]

    @property
    def _zip(self) -> _OpenZip:
        return open_zip(file_stamp(self.root), os.getpid())


class _OpenZip:
    def __init__(self, path: str):
        self.file = zipfile.ZipFile(path)
        infos = [i for i in self.file.infolist() if not i.is_dir()]
        names = [i.filename.replace("\\", "/").removeprefix("./") for i in infos]  # some tools on Windows write \
        self.members = dict(zip(names, infos, strict=True))
        self.twice = [name for name, count in Counter(names).items() if count > 1]

    @cached_property
    def tree(self) -> dict[str, tuple[set[str], set[str]]]:
        """{folder: (folders in it, files in it)}; the top is ""."""
        tree: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        for name in self.members:
            parts = name.split("/")
            if any(map(is_junk, parts)):
                continue
            above = ""
            for part in parts[:-1]:
                tree[above][0].add(part)
                above = f"{above}/{part}" if above else part
                tree.setdefault(above, (set(), set()))
            tree[above][1].add(parts[-1])
        return tree


@lru_cache(maxsize=32)
def open_zip(stamp: Stamp, process: int) -> _OpenZip:
    """A zip file opened for reading, kept open.

    Raises:
        InputError: not a zip, or a damaged one.
    """
    try:
        return _OpenZip(stamp[0])
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{stamp[0]}: cannot be read as a zip: {error}") from error


def is_junk(name: str) -> bool:
    """Litter of file managers: hidden files, and the like of `__MACOSX`."""
    return name.startswith(".") or name in JUNK
