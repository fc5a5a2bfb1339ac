"""The identity of a file: its stamp, which is cheap, and its hash."""

from __future__ import annotations

import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from rvos_ensemble.adapters.core.disk import kind_of, open_file
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import shown

Stamp: TypeAlias = tuple[str, int, int]
"""(path, size, mtime in ns): the same stamp means the same contents, so that what was read can be kept."""


def file_stamp(path: str | Path) -> Stamp:
    """The stamp of a file.

    Raises:
        InputError: there is none, or a folder, pipe or device in its place.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in its name
        raise InputError(f"{shown(str(path))}: cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: a {kind_of(status.st_mode)}, expected a file")
    return str(path), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def file_hash(stamp: Stamp) -> str:
    """blake2b of a whole file.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with open_file(stamp[0]) as file:
        try:
            while block := file.read(1 << 20):
                digest.update(block)
        except OSError as error:
            raise InputError(f"{stamp[0]}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()
