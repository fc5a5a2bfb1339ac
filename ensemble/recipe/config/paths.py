"""Relative paths in a recipe file, which are also looked for beside that file.

A relative path means a file in the working folder, as everywhere. If it does not exist there but exists in the folder
of the recipe file that contains it (or of the `base` or data table that contains it), it is taken from that folder. If
both exist, the working folder wins. This holds for the .py files of components and for all settings that are declared
with `settings.path`. Outputs (`out`, `store`) and paths that contain `${...}` are not looked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.ensemble.recipe.schema import COMPONENTS, Schema


def beside(written: str, folder: Path, endings: tuple[str, ...] = ("",)) -> str:
    """The path that a recipe file means.

    Args:
        written: the path in the file.
        folder: the folder of the file.
        endings: what may follow the path in the name of an existing file.

    Returns:
        The path from the working folder; unchanged if it is absolute, exists in the working folder, or exists nowhere.
    """
    path = user_path(written)
    if path.is_absolute() or "${" in written or _exists(written, endings):
        return written
    other = os.path.join(folder, written)  # keeps a `/` at the end, which says "the folder of that name"
    return other if _exists(other, endings) else written


def _exists(path: str, endings: tuple[str, ...]) -> bool:
    return any(os.path.lexists(f"{path}{ending}") for ending in endings)


def with_component_files(config: Any, folder: Path) -> Any:
    """The config with the .py files of components, and the file of a data table, as paths from the working folder.

    Args:
        config: what one recipe file contains, not yet merged.
        folder: the folder of the file.
    """

    def change(keys: tuple[str, ...], written: str) -> str:
        kind = COMPONENTS.get(keys[0])
        names_file = written.endswith(".py") and keys[-1] == kind and len(keys) == (2 if keys[0] == "data" else 3)
        is_table = keys == ("data",) and written.endswith((".yaml", ".yml"))
        return beside(written, folder) if names_file or is_table else written

    return _changed(config, change)


def with_setting_files(config: Any, merged: Any, folder: Path) -> Any:
    """The config with all settings that are paths as paths from the working folder.

    Args:
        config: what one recipe file contains.
        merged: the same, merged over its base, which says which component a setting belongs to.
        folder: the folder of the file.
    """
    plain = OmegaConf.to_container(merged, resolve=False)

    def value_at(*keys: str) -> Any:
        value = plain
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    schema = Schema(value_at)

    def change(keys: tuple[str, ...], written: str) -> str:
        endings = schema.at(keys).endings
        return beside(written, folder, endings) if endings else written

    return _changed(config, change)


def _changed(config: Any, change: Callable[[tuple[str, ...], str], str]) -> Any:
    """The config with every text replaced by change(its keys, the text); texts in a list have the keys of the list."""

    def walk(value: Any, keys: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: walk(v, (*keys, str(key))) for key, v in value.items()}
        if isinstance(value, list):
            return [walk(v, keys) if isinstance(v, str) else v for v in value]
        return change(keys, value) if isinstance(value, str) else value

    return OmegaConf.create(walk(OmegaConf.to_container(config, resolve=False), ()))
