"""Files: bounded reads of bytes that nobody vouches for, and writes that are whole or not at all.

Everything that a user's file holds comes in through `read_file` and `read_json`, and whatever is wrong with it is an
`InputError` that names the file.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any

from adapters.sequence import InputError
from adapters.settings import shown

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
    try:
        with open(path, "rb", buffering=0, opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: a {_kind(status.st_mode)}, expected a file")
            if first is not None:
                return file.read(first) or b""
            if status.st_size > most:
                raise InputError(
                    f"{path}: {status.st_size:,} bytes, more than the {most:,} that such a file can have; it was not "
                    "read: it is damaged, or something else"
                )
            return file.readall()[: most + 1]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in its name
        raise InputError(f"{shown(str(path))}: cannot be read: {error}") from error


def _open(path, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer must not be waited for


def _kind(mode: int) -> str:
    names = {stat.S_ISDIR: "folder", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    return next((name for test, name in names.items() if test(mode)), "device")


def read_json(path: str | os.PathLike, most: int = MOST_BYTES) -> Any:
    """The content of a json file; see `parse_json`."""
    return parse_json(read_file(path, most), str(path))


DEPTH = 64  # levels of lists and objects in each other; no format here has ten


def parse_json(data: bytes | str, where: str) -> Any:
    """Json in UTF-8, read strictly.

    Raises:
        InputError: not json, not UTF-8, a key twice in one object, objects in each other without end, numbers beyond
            all measure, or half a character (a lone surrogate), with its place.
    """
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: not UTF-8 (byte {error.start}), expected a json file in UTF-8") from error
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found) and not twice:
            keys = [key for key, _ in found]
            twice.append(next(key for key in keys if keys.count(key) > 1))
        return made

    try:
        content = json.loads(data, object_pairs_hook=pairs)
        deep = _deeper_than(content, DEPTH)
    except RecursionError:
        deep = True
    except ValueError as error:
        raise InputError(f"{where}: not a json file ({len(data)} characters): {error}") from error
    if deep:
        raise InputError(f"{where}: lists or objects in each other more than {DEPTH} deep; nothing here has that")
    if twice:
        raise InputError(f"{where}: the key {shown(twice[0])} is there twice in one object; which one counts?")
    if re.search(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]", data):
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
        level = [v for c in level if isinstance(c, (dict, list)) for v in (c.values() if isinstance(c, dict) else c)]
        level = [v for v in level if isinstance(v, (dict, list))]
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


def atomic_write(path: Path, data: bytes | str, mode: int = 0o666) -> None:
    """Writes the whole file or nothing: a temporary file beside it, fsync, rename.

    Args:
        path: of the file; its folder is made where it is missing.
        data: all of it.
        mode: who may read and write it, less the umask.

    Raises:
        OSError: it cannot be written; the path is in the error.
    """
    data = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
