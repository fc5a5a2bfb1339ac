"""Files: bounded reads of untrusted bytes, and writes that are complete or do not happen.

Every byte of a user's file is read through `read_file` or `open_file`; whatever is wrong with the file becomes an
`InputError` that names it. Every file that must never be seen half written is written by `atomic_write`.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown

MOST_BYTES = 1 << 32  # of a file that is read into memory
NAME_BYTES = 240  # of a name that becomes a file name: file systems take 255, and suffixes are appended

Content: TypeAlias = bytes | str | Callable[[BinaryIO], Any]
"""What `atomic_write` writes: all bytes or text, or a function that writes into the open file."""


def read_file(path: str | os.PathLike, most: int = MOST_BYTES, first: int | None = None) -> bytes:
    """The bytes of a file.

    Args:
        path: a regular file; a pipe or device is refused without waiting for it.
        most: the size in bytes above which the file is refused before it is read.
        first: reads only this many bytes from the beginning.

    Raises:
        InputError: it cannot be read, is not a regular file, or is too large.
    """
    with open_file(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise InputError(_too_large(path, f"{size:,} bytes", most))
            if first is not None:
                return file.read(first) or b""
            return _read_to_end(file, path, size, most)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def open_file(path: str | os.PathLike) -> io.FileIO:
    """Opens a regular file for reading, unbuffered.

    Raises:
        InputError: it cannot be opened, or is a folder, pipe, socket or device.
    """
    try:
        file = io.FileIO(path, "rb", opener=_open)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # the name has a zero byte or a lone surrogate
        raise InputError(f"{shown(str(path))}: cannot be read: {error}") from error
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        raise InputError(f"{path}: a {kind_of(mode)}, expected a file")
    return file


def _read_to_end(file: io.FileIO, path: str | os.PathLike, size: int, most: int) -> bytes:
    """Reads everything, also of a file that grows meanwhile, or in /proc, where files state no size."""
    data = file.read(size + 1) or b""
    if len(data) == size and not file.read(1):  # almost always: the system returns up to 2 GB at once
        return data
    parts, length = [data], len(data)
    file.seek(length)
    while block := file.read(1 << 24):
        parts.append(block)
        length += len(block)
        if length > most:
            raise InputError(_too_large(path, "more bytes than it states", most))
    return b"".join(parts)


def _too_large(path: str | os.PathLike, size: str, most: int) -> str:
    return (
        f"{path}: {size}, more than the {most:,} that such a file can have; it was not read: it is damaged, or "
        "something else"
    )


def _open(path, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # without it, opening a pipe waits for a writer


def kind_of(mode: int) -> str:
    """The kind of a file system entry that is not a regular file, as a word, from its `st_mode`."""
    names = {stat.S_ISDIR: "folder", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    return next((name for test, name in names.items() if test(mode)), "device")


def names_in(folder: Path) -> list[str]:
    """Names of the entries of a folder, sorted, without hidden ones.

    Raises:
        InputError: the folder does not exist or cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no such folder") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def exists(path: Path) -> bool:
    """Whether a path exists; True as well where the system does not say, so that the reader reports the reason."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        pass
    return True


def user_path(written: str | os.PathLike) -> Path:
    """The path that a user wrote, with `~/` and `~name/` expanded where such a home exists."""
    text = str(written)
    if text.startswith("~") and "/" in text:
        text = os.path.expanduser(text)
    return Path(text)


def name_problem(name: str, what: str) -> str | None:
    """Why a name cannot become a file name, in words; None where it can.

    >>> name_problem("a/b", "clip"), name_problem("a", "clip")
    ("clip 'a/b' cannot be a file name", None)
    """
    if not name or name in (".", "..") or any(c in name for c in "/\\\0"):
        return f"{what} {shown(name)} cannot be a file name"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return f"{what} {shown(name)}: a name that is not UTF-8, which results cannot carry; rename it"
    if size > NAME_BYTES:
        return f"{what} {shown(name)} has {size} bytes, at most {NAME_BYTES} can be a file name; rename it"
    return None


def write_file(path: Path, data: bytes) -> None:
    """Writes a file of a folder that only counts when all of its files are present.

    Raises:
        OSError: it cannot be written; the error carries the path.
    """
    with _errors_name(path):
        path.write_bytes(data)


def atomic_write(path: Path, content: Content, mode: int | None = None, make: bool = True) -> None:
    """Writes a complete file or leaves the old one: temporary file beside it, fsync, rename.

    Args:
        path: of the file.
        content: all of it, or a function that writes it into an open, seekable file. That file's `name` is the
            temporary path, so that the function can also verify what it wrote; if it raises, nothing is published.
        mode: permission bits; None leaves them to the umask.
        make: whether to create a missing folder.

    Raises:
        OSError: it cannot be written; the error carries `path`.
    """
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # shorter than a name may be, whatever `path` is called
    try:
        with _errors_name(path):
            file = _Output(temporary, path)
        with file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)  # `remove_leftovers` leaves a locked file alone
            if mode is not None:
                os.fchmod(file.fileno(), mode)  # before the content can be read
            file.fill(content)
            with _errors_name(path):
                os.fsync(file.fileno())
                os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that killed processes left in a folder; an `atomic_write` in progress keeps its file."""
    for name in os.listdir(folder):
        if re.fullmatch(r"\.[0-9a-f]{16}\.tmp", name):
            with contextlib.suppress(OSError), open(folder / name, "rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / name).unlink()


class _Output(io.FileIO):
    """The temporary file of `atomic_write`: a write is complete or raises, with the path of the file that is meant."""

    def __init__(self, temporary: Path, path: Path):
        super().__init__(temporary, "x+b")
        self.path, self.error = path, None

    def fill(self, content: Content) -> None:
        """Writes the content; an error of the disk is raised as it is, though PyTorch's writer replaces it."""
        try:
            if callable(content):
                content(self)
            else:
                self.write(content.encode() if isinstance(content, str) else content)
        except Exception:
            if self.error is not None:
                raise self.error from None
            raise

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            with _errors_name(self.path):
                while len(left):
                    left = left[super().write(left) :]
        except OSError as error:
            self.error = error
            raise
        return size


@contextlib.contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Lets every OSError carry this path."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
