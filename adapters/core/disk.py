"""Files: bounded reads of bytes that nobody vouches for, and writes that are whole or not at all.

Everything that a user's file holds comes in through `read_file` and `read_json`, and whatever is wrong with it is an
`InputError` that names the file.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import stat
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import shown

MOST_BYTES = 1 << 32  # of a file that is read whole
NAME_BYTES = 240  # of a name that becomes a file's: systems take 255, and suffixes are put behind it


def read_file(path: str | os.PathLike, most: int = MOST_BYTES, first: int | None = None) -> bytes:
    """The bytes of a file.

    Args:
        path: of a regular file; a pipe or device is refused, and nobody waits for it.
        most: bytes that it may have; a larger one is refused before it is read.
        first: so many bytes from its beginning only.

    Raises:
        InputError: it cannot be read, is no file, or is too large.
    """
    with open_file(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise InputError(_too_large(path, f"{size:,} bytes", most))
            if first is not None:
                return file.read(first) or b""
            return _all_of(file, path, size, most)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def open_file(path: str | os.PathLike) -> io.FileIO:
    """A regular file opened for reading, unbuffered.

    Raises:
        InputError: it cannot be opened, or is a folder, pipe, socket or device.
    """
    try:
        file = io.FileIO(path, "rb", opener=_open)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in its name, or half a character
        raise InputError(f"{shown(str(path))}: cannot be read: {error}") from error
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        raise InputError(f"{path}: a {kind_of(mode)}, expected a file")
    return file


def _all_of(file: io.FileIO, path: str | os.PathLike, size: int, most: int) -> bytes:
    """Reads to the end; a file can grow, and those of /proc do not say their size."""
    data = file.read(size + 1) or b""
    if len(data) == size and not file.read(1):  # as good as always: the system hands out up to 2 GB at once
        return data
    parts, length = [data], len(data)
    file.seek(length)
    while block := file.read(1 << 24):
        parts.append(block)
        length += len(block)
        if length > most:
            raise InputError(_too_large(path, "more bytes than it says", most))
    return b"".join(parts)


def _too_large(path: str | os.PathLike, size: str, most: int) -> str:
    return (
        f"{path}: {size}, more than the {most:,} that such a file can have; it was not read: it is damaged, or "
        "something else"
    )


def _open(path, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer must not be waited for


def kind_of(mode: int) -> str:
    """What a thing on disk is that is no file, in a word, by its `st_mode`."""
    names = {stat.S_ISDIR: "folder", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    return next((name for test, name in names.items() if test(mode)), "device")


def read_json(path: str | os.PathLike, most: int = MOST_BYTES, said: str = "not a json file") -> Any:
    """The content of a json file; see `parse_json`."""
    return parse_json(read_file(path, most), str(path), said)


DEPTH = 64  # levels of lists and objects in each other; no format here has ten


def parse_json(data: bytes | str, where: str, said: str = "not a json file") -> Any:
    """Json in UTF-8, read strictly.

    Args:
        data: all of it.
        where: file name, for messages.
        said: of what is no json.

    Raises:
        InputError: not json, not UTF-8, a key twice in one object, objects in each other without end, numbers beyond
            all measure, or half a character (a lone surrogate), with its place.
    """
    written = isinstance(data, bytes)
    if written:
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: not UTF-8 (byte {error.start}), expected a json file in UTF-8") from error
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found) and not twice:
            twice.append(Counter(key for key, _ in found).most_common(1)[0][0])
        return made

    try:
        content = json.loads(data, object_pairs_hook=pairs)
        deep = _deeper_than(content, DEPTH)
    except RecursionError:
        deep = True
    except ValueError as error:
        raise InputError(f"{where}: {said} ({len(data)} characters): {error}") from error
    if deep:
        raise InputError(f"{where}: lists or objects in each other more than {DEPTH} deep; nothing here has that")
    if twice:
        raise InputError(f"{where}: the key {shown(twice[0])} is there twice in one object; which one counts?")
    if ("\\u" in data and re.search(r"\\u[dD][89a-fA-F]", data)) or not (written or data.isascii()):
        place = half_character(content)
        if place is not None:
            raise InputError(
                f"{where}: {place}: half a character (a lone surrogate such as \\ud800), which no file can hold; "
                "write the text in UTF-8"
            )
    return content


def half_character(content: Any, place: str = "at the top") -> str | None:
    """Where in a content there is a text with a lone surrogate, in words; None: nowhere."""
    if isinstance(content, str):
        return place if re.search(r"[\ud800-\udfff]", content) else None
    below = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in below:
        here = shown(key) if place == "at the top" else f"{place}, {shown(key)}"
        if found := half_character(key, f"key {here}") or half_character(value, here):
            return found
    return None


def _deeper_than(content: Any, most: int) -> bool:
    level = [content]
    for _ in range(most):
        dicts = [value.values() for value in level if type(value) is dict]
        below = chain(*dicts, *(value for value in level if type(value) is list))
        level = [value for value in below if type(value) in (dict, list)]
        if not level:
            return False
    return True


def user_path(given: str | os.PathLike) -> Path:
    """The path that a person wrote: `~/` and `~name/` are homes where there are such; anything else is as it stands."""
    text = str(given)
    if text.startswith("~") and "/" in text:
        text = os.path.expanduser(text)
    return Path(text)


def name_problem(name: str, what: str) -> str | None:
    """Why a name cannot become the name of a file, in words; None where it can.

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
    """Writes a file of a folder that only counts when all of its files are there.

    Raises:
        OSError: it cannot be written; the path is in the error.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def atomic_write(path: Path, data: bytes | str, mode: int | None = None, make: bool = True) -> None:
    """Writes the whole file or nothing: a temporary file beside it, fsync, rename.

    Args:
        path: of the file.
        data: all of it.
        mode: who may read and write it; what the umask says where it is None.
        make: whether the folder is made where it is missing.

    Raises:
        OSError: it cannot be written; the path is in the error.
    """
    data = data.encode() if isinstance(data, str) else data
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
