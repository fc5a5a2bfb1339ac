"""A folder, or a zip read as one: the same few operations on both."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeAlias

from rvos_ensemble.adapters.core.disk import open_file, read_file
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.hashing import Stamp, file_stamp
from rvos_ensemble.adapters.core.png import MAX_BYTES

MOST_NAMES = 1 << 29  # bytes of a list of names in a zip: a hundred times what any benchmark has
JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Folder:
    """A folder. Names inside are relative, with `/`; hidden files and the litter of file managers are not seen."""

    root: str

    def entries(self, at: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in a folder, sorted; two empty lists where there is no such folder.

        What cannot be looked at, such as a link to itself, counts as a file, so that it harms nobody who does not
        read it.

        Raises:
            InputError: the folder cannot be read.
        """
        path = os.path.join(self.root, at)
        folders, files = [], []
        try:
            with os.scandir(path) as found:
                for entry in found:
                    if not is_junk(entry.name):
                        (folders if _is_folder(entry) else files).append(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        return sorted(folders), sorted(files)

    def read(self, name: str, first: int | None = None, most: int = MAX_BYTES) -> bytes:
        """The bytes of a file, or its first few.

        Raises:
            InputError: it cannot be read, or has more bytes than `most`.
        """
        return read_file(os.path.join(self.root, name), most, first)

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
            InputError: none of them, or nothing that can be read.
        """
        failed: list[OSError] = []
        for _, folders, files in os.walk(self.root, onerror=failed.append):
            folders[:] = sorted(f for f in folders if not is_junk(f))
            for file in sorted(files):
                suffix = Path(file).suffix
                if suffix in suffixes and not is_junk(file):
                    return suffix
        told = f"; {failed[0].filename} cannot be read: {failed[0].strerror}" if failed else ""
        raise InputError(f"{self.root}/: holds no masks: no {', '.join(suffixes)} file in it{told}")


@dataclass(frozen=True)
class Zip:
    """A zip file; opened once per process, since processes must not share a file position."""

    root: str

    def entries(self, at: str) -> tuple[list[str], list[str]]:
        folders, files = self._zip.tree.get(at.rstrip("/"), ((), ()))
        return sorted(folders), sorted(files)

    def read(self, name: str, first: int | None = None, most: int = MAX_BYTES) -> bytes:
        archive, where = self._zip, self.where(name)
        if name not in archive.members:
            raise InputError(f"{where}: not in the zip")
        if name in archive.twice:
            raise InputError(f"{where}: twice in the zip")
        return read_member(archive.file, archive.members[name], where, most, first)

    def where(self, name: str) -> str:
        return f"{self.root}:{name}"

    def fingerprint(self, names: Iterable[str]) -> str:
        """From the checksums and sizes in the zip's directory."""
        members = self._zip.members
        lines = (f"{n} {members[n].CRC} {members[n].file_size}\n" for n in names)
        return hashlib.blake2b("".join(lines).encode(), digest_size=16).hexdigest()

    def problems(self) -> list[str]:
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
        """A member that is called something else in the zip's list of names than where it lies, if there is one."""
        for name, info in self.members.items():
            try:
                self.file.open(info).close()
            except Exception as error:  # see `read_member`
                return f"{name}: {str(error) or type(error).__name__}"
        return None

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
    return _OpenZip(stamp[0])


class _Bounded(io.BufferedReader):
    """A file of which no more is read at once than a zip's list of names can need, whatever its last bytes ask for."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MOST_NAMES:
            raise zipfile.BadZipFile(f"its list of names asks for {size:,} bytes")
        return super().read(size)


class _Owning(zipfile.ZipFile):
    """Closes the file that it was given."""

    def close(self) -> None:
        file = self.fp
        super().close()
        if file is not None:
            file.close()


def zip_file(path: str | Path) -> zipfile.ZipFile:
    """Opens a zip that nobody vouches for.

    Raises:
        InputError: no file, not a zip, or a damaged one, such as with names that are not UTF-8.
    """
    file = _Bounded(open_file(path))
    try:
        return _Owning(file)
    except Exception as error:  # zipfile raises BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, ...
        file.close()
        raise InputError(f"{path}: cannot be read as a zip: {str(error) or type(error).__name__}") from error


def zip_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its members that are no folders, in order."""
    return [info for info in archive.infolist() if not info.filename.endswith("/")]


def read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, most: int = MAX_BYTES, first: int | None = None
) -> bytes:
    """The bytes of a file in a zip, or its first few; the checksum of the whole is verified.

    Raises:
        InputError: damaged, encrypted, packed in a way that is not known, or more bytes than `most`.
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
    r"""The path of a member; some tools write `./` and `/` before it, those of Windows `\\` in it.

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
    """Litter of file managers: hidden files, and the like of `__MACOSX`."""
    return name.startswith(".") or name in JUNK


Storage: TypeAlias = Folder | Zip
"""Where masks lie; both have the same operations."""
