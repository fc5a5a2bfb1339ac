"""Hashes, all BLAKE2b in hex, and the stamp of a file, by which a hash is computed only once per process."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import kind_of, open_file
from rvos_ensemble.adapters.core.messages import shown

BLOCK = 1 << 20  # bytes read at once

Stamp: TypeAlias = tuple[str, int, int]
"""(path, size, mtime in ns): as long as the stamp is the same, so is the content, and results can be cached by it."""


def digest(data: bytes | str, size: int = 16) -> str:
    """The hash of bytes, or of a text in UTF-8, of `size` bytes."""
    return hashlib.blake2b(data.encode() if isinstance(data, str) else data, digest_size=size).hexdigest()


def content_hash(path: str | Path) -> str:
    """The hash of a file's bytes, which are read now.

    Raises:
        InputError: it cannot be read.
    """
    result = hashlib.blake2b(digest_size=16)
    with open_file(path) as file:
        try:
            while block := file.read(BLOCK):
                result.update(block)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return result.hexdigest()


def contents_hash(paths: Iterable[str | Path]) -> str:
    """A hash that changes whenever the content or the order of the files does."""
    return digest(" ".join(map(content_hash, paths)))


def file_stamp(path: str | Path) -> Stamp:
    """The stamp of a file.

    Raises:
        InputError: it does not exist, or is a folder, pipe or device.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # the name has a zero byte
        raise InputError(f"{shown(str(path))}: cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: a {kind_of(status.st_mode)}, expected a file")
    return str(path), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4096)
def file_hash(stamp: Stamp) -> str:
    """`content_hash` of the file with this stamp, cached.

    Raises:
        InputError: it cannot be read.
    """
    return content_hash(stamp[0])


def path_hash(path: str | Path) -> str:
    """The hash of a file, or of the names and contents of all files below a folder.

    In a folder, hidden files and folders and `__pycache__` are ignored.

    Raises:
        InputError: a file does not exist or cannot be read.
    """
    if not os.path.isdir(path):
        return file_hash(file_stamp(path))
    hashes = []
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        names = [os.path.join(folder, f) for f in sorted(files) if not f.startswith(".")]
        hashes += [f"{os.path.relpath(name, path)} {file_hash(file_stamp(name))}" for name in names]
    return digest("\n".join(hashes))
