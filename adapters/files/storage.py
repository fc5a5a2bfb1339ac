"""A folder or a zip of masks, with the same operations on both."""

from __future__ import annotations

import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeAlias

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import open_file, read_file
from rvos_ensemble.adapters.core.io.hashing import Stamp, content_hash, digest, file_stamp
from rvos_ensemble.adapters.core.io.png import MAX_BYTES

MOST_NAMES = 1 << 29  # bytes of the central directory of a zip: a hundred times that of any benchmark
JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Folder:
    """A folder. Names are relative to it, with `/`; hidden files and those of file managers are skipped."""

    root: str

    def entries(self, at: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in a folder, sorted; two empty lists if the folder does not exist.

        An entry of unknown kind, such as a link to itself, counts as a file, so that it only matters to those who
        read it.

        Raises:
            InputError: the folder cannot be read.
        """
        path = os.path.join(self.root, at)
        folders, files = [], []
        try:
            with os.scandir(path) as scan:
                for entry in scan:
                    if not is_junk(entry.name):
                        (folders if _is_folder(entry) else files).append(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        return sorted(folders), sorted(files)

    def read(self, name: str, first: int | None = None, most: int = MAX_BYTES) -> bytes:
        """The bytes of a file, or its first ones.

        Raises:
            InputError: it cannot be read, or has more bytes than `most`.
        """
        return read_file(os.path.join(self.root, name), most, first)

    def where(self, name: str) -> str:
        """The name of a file, for messages."""
        return os.path.join(self.root, name)

    def fingerprint(self, names: Iterable[str]) -> str:
        """A hash of the names and contents of some files."""
        return digest("".join(f"{name} {content_hash(self.where(name))}\n" for name in names))

    def problems(self) -> list[str]:
        """What is wrong with the folder as a whole: nothing."""
        return []

    def first_suffix(self, suffixes: tuple[str, ...]) -> str:
        """The suffix of the first file, in sorted order, that has one of these suffixes.

        Raises:
            InputError: no file has one of them; folders that cannot be read are named.
        """
        failed: list[OSError] = []
        for _, folders, files in os.walk(self.root, onerror=failed.append):
            folders[:] = sorted(f for f in folders if not is_junk(f))
            for file in sorted(files):
                suffix = Path(file).suffix
                if suffix in suffixes and not is_junk(file):
                    return suffix
        unreadable = f"; {failed[0].filename} cannot be read: {failed[0].strerror}" if failed else ""
        raise InputError(f"{self.root}/: holds no masks: no {', '.join(suffixes)} file in it{unreadable}")


@dataclass(frozen=True)
class Zip:
    """A zip, with the operations of `Folder`; opened once per process: a file position must not be shared."""

    root: str

    def entries(self, at: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in a folder, sorted; two empty lists if the folder does not exist."""
        folders, files = self._zip.tree.get(at.rstrip("/"), ((), ()))
        return sorted(folders), sorted(files)

    def read(self, name: str, first: int | None = None, most: int = MAX_BYTES) -> bytes:
        """The bytes of a file, or its first ones.

        Raises:
            InputError: it does not exist, occurs twice, is damaged, or has more bytes than `most`.
        """
        archive, where = self._zip, self.where(name)
        if name not in archive.members:
            raise InputError(f"{where}: not in the zip")
        if name in archive.twice:
            raise InputError(f"{where}: twice in the zip")
        return read_member(archive.file, archive.members[name], where, most, first)

    def where(self, name: str) -> str:
        """The name of a file, for messages."""
        return f"{self.root}:{name}"

    def fingerprint(self, names: Iterable[str]) -> str:
        """A hash of the names of some files, and of their checksums and sizes as the central directory states them."""
        members = self._zip.members
        return digest("".join(f"{n} {members[n].CRC} {members[n].file_size}\n" for n in names))

    def problems(self) -> list[str]:
        """What is wrong with the zip as a whole: names that occur twice."""
        return [f"{self.where(name)}: twice in the zip" for name in sorted(self._zip.twice)]

    @property
    def _zip(self) -> _OpenZip:
        return open_zip(file_stamp(self.root), os.getpid())


class _OpenZip:
    def __init__(self, path: str):
        self.file = zip_file(path)
        infos = zip_members(self.file)
        names = [_plain(i.filename) for i in infos]
        self.members = dict(zip(names, infos, strict=True))
        self.twice = {name for name, count in Counter(names).items() if count > 1}

    @cached_property
    def misnamed(self) -> str | None:
        """A member whose name differs between the central directory and its own header, if there is one."""
        for name, info in self.members.items():
            try:
                self.file.open(info).close()
            except Exception as error:  # see `read_member`
                return f"{name}: {str(error) or type(error).__name__}"
        return None

    @cached_property
    def tree(self) -> dict[str, tuple[set[str], set[str]]]:
        """{folder: (its folders, its files)}; the top is ""."""
        tree: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        for name in self.members:
            parts = name.split("/")
            if any(map(is_junk, parts)):
                continue
            folder = ""
            for part in parts[:-1]:
                tree[folder][0].add(part)
                folder = f"{folder}/{part}" if folder else part
                tree.setdefault(folder, (set(), set()))
            tree[folder][1].add(parts[-1])
        return tree


@lru_cache(maxsize=32)
def open_zip(stamp: Stamp, process: int) -> _OpenZip:
    """A zip opened for reading, and kept open.

    Raises:
        InputError: not a zip, or a damaged one.
    """
    return _OpenZip(stamp[0])


class _Bounded(io.BufferedReader):
    """A file that refuses to read more at once than a central directory can have, whatever the end record states."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MOST_NAMES:
            raise zipfile.BadZipFile(f"its central directory claims {size:,} bytes")
        return super().read(size)


class _Owning(zipfile.ZipFile):
    """A zip that closes its file object, which `zipfile` leaves open."""

    def close(self) -> None:
        file = self.fp
        super().close()
        if file is not None:
            file.close()


def zip_file(path: str | Path) -> zipfile.ZipFile:
    """Opens an untrusted zip.

    Raises:
        InputError: no such file, not a zip, or a damaged one, such as one with names that are not UTF-8.
    """
    file = _Bounded(open_file(path))
    try:
        return _Owning(file)
    except Exception as error:  # zipfile raises BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, ...
        file.close()
        raise InputError(f"{path}: cannot be read as a zip: {str(error) or type(error).__name__}") from error


def zip_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members of a zip that are files, in order."""
    return [info for info in archive.infolist() if not info.filename.endswith("/")]


def read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, most: int = MAX_BYTES, first: int | None = None
) -> bytes:
    """The bytes of a file in a zip, or its first ones; the checksum of a whole file is verified.

    Raises:
        InputError: damaged, encrypted, compressed by an unknown method, or larger than `most`.
    """
    if info.file_size > most:
        raise InputError(
            f"{where}: {info.file_size:,} bytes when unpacked, more than the {most:,} that such a file can have; it "
            "was not unpacked: it is damaged, or something else"
        )
    try:
        with archive.open(info) as file:
            return file.read(most + 1 if first is None else first)
    except Exception as error:  # also zlib.error, RuntimeError (encrypted), NotImplementedError, EOFError, LZMAError
        raise InputError(f"{where}: damaged, or encrypted: {str(error) or type(error).__name__}") from error


def _plain(name: str) -> str:
    r"""The path of a member, without the `./` and `/` that some tools prepend, and with `/` for `\\`.

    >>> _plain(".\\top\\a.png"), _plain("/top//a.png")
    ('top/a.png', 'top/a.png')
    """
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_junk(name: str) -> bool:
    """Whether a file is hidden, or one that file managers create, such as `__MACOSX`."""
    return name.startswith(".") or name in JUNK


Storage: TypeAlias = Folder | Zip
"""Where masks lie; both have the same operations."""
