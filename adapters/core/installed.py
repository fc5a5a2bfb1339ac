"""Entry points of installed packages, the third place that components come from."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib import metadata


def entry_points(group: str) -> metadata.EntryPoints:
    """The entry points of a group.

    The metadata of all packages are read again only when `sys.path` or one of its folders has changed: reading them
    takes about 20 ms, and one recipe asks dozens of times.
    """
    return _entry_points(tuple((folder, _changed(folder)) for folder in sys.path)).select(group=group)


@lru_cache(maxsize=8)
def _entry_points(state: tuple[tuple[str, int], ...]) -> metadata.EntryPoints:
    """All entry points, for folders of `sys.path` and the times of their last changes."""
    return metadata.entry_points()


def _changed(folder: str) -> int:
    """When something was added to or removed from the folder, in ns; 0 where there is none."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0
