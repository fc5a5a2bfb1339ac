"""Reads recipes: a file, its bases, its data table, and the overrides of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rvos_ensemble import recipes
from rvos_ensemble.adapters.core.component import unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.messages import did_you_mean, shown
from rvos_ensemble.ensemble.recipe.config.mask_folder import with_masks_from
from rvos_ensemble.ensemble.recipe.config.merging import merge
from rvos_ensemble.ensemble.recipe.config.overrides import nested, pairs
from rvos_ensemble.ensemble.recipe.config.paths import with_component_files, with_setting_files
from rvos_ensemble.ensemble.recipe.config.source_choice import CHOSEN, move_chosen, remove_null_sources, with_chosen

FOLDER = Path(recipes.__path__[0])
SUFFIXES = (".yaml", ".yml")
FIRST = ("predictions", "map", "drop", "source", CHOSEN)  # keys that determine the sources, merged before all others


def resolve(arguments: Sequence[str], values: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Reads the recipe and its bases, merges the overrides over them, and resolves `${...}`.

    Args:
        arguments: `key=value` of the command line.
        values: {path of a key: value}, merged over everything else.

    Returns:
        The name of the recipe and its config, plain JSON values.

    Raises:
        InputError: naming everything that is wrong with the arguments or the files.
    """
    name, config, problems = read(arguments, values)
    if problems:
        raise InputError(problems)
    return name, config


def read(arguments: Sequence[str], values: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any], list[str]]:
    """Like `resolve`, but returns the problems of single arguments, to be reported together with all others.

    Raises:
        InputError: the recipe itself cannot be read.
    """
    given = pairs(tuple(arguments))
    recipe, data = given.pop("recipe", None), given.pop("data", None)
    if recipe is None:
        raise InputError(f"which recipe? Give recipe=NAME, one of {', '.join(names())}, or recipe=FILE")
    path, problems, values = _recipe_file(recipe, Path()), [], dict(values or {})
    where = f"recipe {path}: "
    try:
        config = _with_bases(path, ())
        if "data.video" in given:  # a video of the user's, whose result is to be watched
            data, given = data or (None if _is_own_video(config) else "video"), {"overlays": "mp4", **given}
        table = values.get("data")
        if isinstance(table, Mapping) and "dataset" in table:  # it replaces the recipe's own
            config = OmegaConf.merge(config, {"data": None})
        elif data is not None or config.get("data") is not None:
            config = _with_data(config, data)
        elif "data.dataset" not in {**given, **values}:
            raise InputError(f"{where}{_no_data()}")
        move_chosen(given, values)
        (first, rest), (early, late) = _parted(given), _parted(values)
        determining = _overriding(first, early, config, problems)
        if "source" in determining and config.get("source") is None:
            problems.append(
                "no step reads `source`: the recipe has no `${source}`, as `single` has; its steps name their sources"
            )
        config = merge(config, determining)
        config = with_masks_from(config, problems)
        overriding = _overriding(rest, late, config, problems)
        before = config
        config = merge(config, overriding)
        remove_null_sources(config, where)
        resolved = with_chosen(OmegaConf.to_container(config, resolve=True), problems)
        problems += _unused(before, overriding, resolved)
    except (OmegaConfBaseException, YAMLError, RecursionError) as e:
        raise InputError(f"{where}{str(e).splitlines()[0]}") from None
    return path.stem, _json_values(resolved), [f"{where}{problem}" for problem in problems]


def names() -> dict[str, str]:
    """{name: the first line of its comment} of the recipes that come with the package."""
    return {p.stem: _headline(p) for p in sorted(FOLDER.glob("*.yaml"))}


def tables() -> dict[str, str]:
    """{name: the first line of its comment} of the data tables that come with the package."""
    return {p.stem: _headline(p) for p in sorted((FOLDER / "data").glob("*.yaml"))}


def words(value: Any) -> Iterator[str]:
    """All texts in a config."""
    if isinstance(value, dict):
        value = list(value.values())
    for v in value if isinstance(value, list) else [value]:
        yield from [v] if isinstance(v, str) else words(v) if isinstance(v, (dict, list)) else ()


def _with_bases(path: Path, above: tuple[Path, ...]) -> Any:
    """The content of a recipe file merged over its bases; relative paths are resolved, see `paths.py`.

    Args:
        path: the file.
        above: the recipes that have it as their base.

    Raises:
        InputError: a file cannot be read, or the bases form a circle.
    """
    if path in above:
        raise InputError(f"recipes build on each other in a circle: {' -> '.join(p.name for p in [*above, path])}")
    config = _read(path)
    base = config.pop("base", None)
    if isinstance(config.get("sources"), str) or OmegaConf.is_list(config.get("sources")):  # those to keep of the base
        config[CHOSEN] = config.pop("sources")
    config = with_component_files(config, path.parent)
    if base is None:
        return with_setting_files(config, config, path.parent)
    if not isinstance(base, str):
        raise InputError(f"{path}: base is {shown(base)}, expected the name of a recipe or the path of a .yaml file")
    lower = _with_bases(_recipe_file(base, path.parent), (*above, path))
    merged = merge(deepcopy(lower), config)
    return merge(lower, with_setting_files(config, merged, path.parent))


def _parted(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that determine the sources, and all others."""
    first = {key: value for key, value in table.items() if key.partition(".")[0] in FIRST}
    return first, {key: value for key, value in table.items() if key not in first}


def _overriding(given: Mapping[str, str], values: Mapping[str, Any], config: Any, problems: list[str]) -> Any:
    """Texts of the command line and Python values as a config of their own; see `nested`."""
    overriding = nested(given, config, problems)
    for key, value in values.items():
        OmegaConf.update(overriding, key, value, force_add=True)
    return overriding


def _no_data() -> str:
    """The sentence for a recipe that does not say which data it runs on."""
    own = ", ".join(name for name in tables() if not name.startswith("shapes"))
    return (
        f"which data? The recipe has no `data:`. Give data=NAME, one of {own}, and usually data.root=FOLDER; or "
        "data=shapes, clips that are rendered for a first impression"
    )


def _is_own_video(config: Any) -> bool:
    """Whether the recipe itself has a data table for a video, as `vos` has."""
    table = config.get("data")
    return isinstance(table, Mapping) and table.get("dataset") == "video"


def _with_data(config: Any, name: str | None) -> Any:
    """The config with the content of its data table in place of the table's name.

    Args:
        config: the recipe.
        name: the table of the command line, None if that has none.

    Raises:
        InputError: no such table, or it cannot be read.
    """
    data = name if name is not None else config.data
    if not isinstance(data, str):
        return config
    file = _data_file(data)
    whole = OmegaConf.create({"data": _read(file)})
    whole = with_component_files(whole, file.parent)
    config = OmegaConf.merge(config, {"data": None})
    config.data = with_setting_files(whole, whole, file.parent).data
    return config


def _unused(before: Any, given: Any, config: dict[str, Any]) -> list[str]:
    """Sources and propagators of the command line that neither exist in the recipe nor are used: misspelt names."""
    used = set(words({"steps": config.get("steps"), "output": config.get("output")}))
    problems = []
    for group in ("sources", "propagators"):
        entries = given.get(group)
        valid = [*(before.get(group) or {}), *used]
        for name in entries if OmegaConf.is_dict(entries) else ():
            if name not in valid:
                problems.append(unknown_key(str(name), before.get(group) or {}, group))
    return problems


def _read(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        InputError: the file cannot be read, is not YAML, or holds no table.
    """
    try:
        config = OmegaConf.load(path)
    except Exception as e:  # errors of yaml, OmegaConf and the file system: the user must repair the file
        raise InputError(f"{path}: not a recipe: {e}") from None
    if not OmegaConf.is_dict(config):
        raise InputError(f"{path}: expected `key: value` lines, found a {type(config).__name__}")
    return config


def _recipe_file(name: str, folder: Path) -> Path:
    """The file of a recipe: a path from `folder`, or the name of a recipe of the package."""
    shipped = FOLDER / f"{name}.yaml"
    for path in (folder / user_path(name), shipped) if name.endswith(SUFFIXES) else (shipped,):
        if os.path.isfile(path):
            return path
    raise InputError(
        f"no recipe {name!r}{did_you_mean(name, names())} Available: {', '.join(names())}; or give the path of a .yaml "
        "file"
    )


def _data_file(name: str) -> Path:
    path = user_path(name) if name.endswith(SUFFIXES) else FOLDER / "data" / f"{name}.yaml"
    if not os.path.isfile(path):
        raise InputError(
            f"no data table {name!r}{did_you_mean(name, tables())} Available: {', '.join(tables())}; or give the path "
            "of a .yaml file"
        )
    return path


def _headline(path: Path) -> str:
    """The first line of a file, if it is a comment."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _json_values(value: Any) -> Any:
    """The value with JSON types only: keys become strings, tuples become lists."""
    if isinstance(value, dict):
        return {str(k): _json_values(v) for k, v in value.items()}
    return [_json_values(v) for v in value] if isinstance(value, (list, tuple)) else value
