"""Groups of expressions from a json file: {clip: [[expression id, ...], ...]}."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown

EXPECTED = "{clip: [[expression id, ...], ...]}"


def read_groups(file: str | None) -> dict[str, Any]:
    """The content of a file of groups, {clip: groups}. `groups_of` checks the groups of one clip.

    Raises:
        InputError: no file, or one that holds something else.
    """
    if not file:
        raise InputError(f"rule `file` needs `grouping.file`, a json {EXPECTED}")
    path = user_path(file)
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        raise InputError(f"{file}: no such file, named by grouping.file") from None
    table = _json(str(path), stat.st_mtime_ns, stat.st_size)
    if not isinstance(table, dict):
        raise InputError(f"{file}: a {type(table).__name__}, expected {EXPECTED}")
    return table


def groups_of(clip: Clip, file: str | None) -> list[list[str]]:
    """The groups of one clip.

    Raises:
        InputError: a file that cannot be read, or groups that do not hold every expression of the clip once.
    """
    table, ids = read_groups(file), [e.id for e in clip.expressions]
    if clip.name not in table:
        raise InputError(f"{file}: no groups for clip {clip.name!r}")
    content = table[clip.name]
    if not isinstance(content, list) or not all(isinstance(g, list) and g and all(map(_is_id, g)) for g in content):
        raise InputError(f"{file}: clip {clip.name!r} has {shown(content)}, expected [[expression id, ...], ...]")
    groups = [[str(i) for i in group] for group in content]
    listed = [i for group in groups for i in group]
    if sorted(listed) != sorted(ids):
        raise InputError(f"{file}: clip {clip.name!r} groups {shown(listed)}, expected each of {shown(ids)} once")
    return groups


@lru_cache(maxsize=4)
def _json(path: str, mtime: int, size: int) -> Any:
    """The content of a file, read once per version of the file."""
    return read_json(path)


def _is_id(value: Any) -> bool:
    """Whether a value can be an expression id."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)
