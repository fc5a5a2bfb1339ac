"""What a recipe may say, and how it is read: files, their bases, the data table, overrides from the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from rvos_ensemble import recipes
from rvos_ensemble.adapters.core.component import unknown_key
from rvos_ensemble.adapters.core.disk import user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import choice, default_of, either, shown, table, text, whole
from rvos_ensemble.ensemble.fusion import grouping
from rvos_ensemble.ensemble.recipe.overrides import nested, pairs
from rvos_ensemble.propagators.core.propagate import CACHE_MB

FOLDER = Path(recipes.__path__[0])

OVERLAYS = ("mp4", "gif")  # kinds of videos
BACKENDS = ("loky", "sequential", "dask", "ray")
# Every key a recipe may have, with its default.
DEFAULTS: dict[str, Any] = {
    "base": text(None),  # another recipe, over which this one is merged
    "data": either("shapes", text(), table()),  # a table of recipes/data, or {dataset: ..., settings}
    "source": text(None),  # the one source of recipes that run a single model: ${source}
    "sources": table({}, null=True),  # {name: {adapter: ..., settings}}
    "predictions": text(None),  # folder with masks of every source: DIR/SOURCE is read, and no model runs
    "propagators": table({}, null=True),  # {name: {propagator: ... (the name itself), settings}}
    "grouping": table({}, null=True),  # which expressions mean the same object; see GROUPING
    "steps": table({}, null=True),  # {name: {op: ..., settings}}
    "output": text(),  # the step or source whose masks are the result
    "out": text(None),  # folder of the results; runs/RECIPE
    "store": text(None),  # folder of intermediate results; OUT/store. Runs may share one
    "annotations": True,  # write the PNG tree; false streams masks straight into the zip
    "submission": True,  # write submission.zip
    "report": True,  # write report.html
    "overlays": choice(None, False, *OVERLAYS),  # a video of every expression's output, overlays/CLIP/EXPRESSION.mp4
    "engine": table({}, null=True),  # how clips are spread over processes; see ENGINE
}
GROUPING = grouping.SETTINGS
ENGINE = {
    "backend": choice(*BACKENDS),
    "workers": whole(0, most=4096),  # 0: one a GPU, else a core
    "cache_mb": whole(CACHE_MB),  # of frames and their features kept from one sweep for the other, in each worker
}
TABLES = ("sources", "propagators", "grouping", "steps", "engine")  # keys with a table below them


def plain_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults themselves."""
    return {key: default_of(value) for key, value in settings.items()}


def resolve(arguments: Sequence[str], values: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Reads the recipe and its bases, merges the overrides over them, resolves `${...}`.

    Args:
        arguments: `key=value` of the command line.
        values: {path of a key: value} over all that.

    Raises:
        InputError: naming everything that is wrong with the arguments or the files.
    """
    name, config, problems = read(arguments, values)
    if problems:
        raise InputError(problems)
    return name, config


def read(arguments: Sequence[str], values: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any], list[str]]:
    """As `resolve`, but what is wrong with single arguments is returned, so that it is told with what else is wrong.

    Raises:
        InputError: there is no recipe to speak of.
    """
    given = pairs(tuple(arguments))
    recipe, data = given.pop("recipe", None), given.pop("data", None)
    if recipe is None:
        raise InputError(f"which recipe? Give recipe=NAME, one of {', '.join(names())}, or recipe=FILE")
    path, problems = _recipe_file(recipe, Path()), []
    where = f"recipe {path}: "
    try:
        config = _with_bases(path, ())
        if "data.video" in given:  # a video of one's own, to be looked at
            data, given = data or "video", {"overlays": "mp4", **given}
        data = data if data is not None else config.get("data", "shapes")
        if isinstance(data, str):
            config = OmegaConf.merge(config, {"data": None})
            config.data = _read(_data_file(data))
        top = {**DEFAULTS, "grouping": GROUPING, "engine": ENGINE}
        folder = DEFAULTS["predictions"].read(given["predictions"]) if "predictions" in given else None
        config = _read_from(folder or config.get("predictions"), config)
        overriding = nested(given, config, top, problems)
        for key, value in (values or {}).items():
            OmegaConf.update(overriding, key, value, force_add=True)
        before = config
        config = _over(config, overriding)
        resolved = OmegaConf.to_container(config, resolve=True)
        resolved.pop("predictions", None)  # the sources say it
        problems += _unread(before, overriding, resolved)
    except (OmegaConfBaseException, YAMLError, RecursionError) as e:
        raise InputError(f"{where}{str(e).splitlines()[0]}") from None
    return path.stem, _plain(resolved), [f"{where}{problem}" for problem in problems]


def names() -> dict[str, str]:
    """{name: its first line of comment} of the recipes that come with the package."""
    return {p.stem: _headline(p) for p in sorted(FOLDER.glob("*.yaml"))}


def tables() -> dict[str, str]:
    """{name: its first line of comment} of the data tables that come with the package."""
    return {p.stem: _headline(p) for p in sorted((FOLDER / "data").glob("*.yaml"))}


def _unread(before, given, config: dict[str, Any]) -> list[str]:
    """Sources and propagators of the command line that the recipe has not, and that nothing in it reads: misspelt."""
    read = set(words({"steps": config.get("steps"), "output": config.get("output")}))
    problems = []
    for group in ("sources", "propagators"):
        entries = given.get(group)
        valid = [*(before.get(group) or {}), *read]
        for name in entries if OmegaConf.is_dict(entries) else ():
            if name not in valid:
                problems.append(unknown_key(str(name), before.get(group) or {}, group))
    if "source" in given and before.get("source") is None:
        problems.append("no step reads `source`; `single` does, and here sources are those of the steps")
    return problems


def words(value) -> Iterator[str]:
    """All texts in a config."""
    if isinstance(value, dict):
        value = list(value.values())
    for v in value if isinstance(value, list) else [value]:
        yield from [v] if isinstance(v, str) else words(v) if isinstance(v, (dict, list)) else ()


def _with_bases(path: Path, above: tuple[Path, ...]):
    """The yaml of a recipe merged over its bases."""
    if path in above:
        raise InputError(f"recipes build on each other in a circle: {' -> '.join(p.name for p in [*above, path])}")
    config = _read(path)
    base = config.pop("base", None)
    if base is None:
        return config
    if not isinstance(base, str):
        raise InputError(f"{path}: base is {shown(base)}, expected the name of a recipe or the path of a .yaml file")
    return _over(_with_bases(_recipe_file(base, path.parent), (*above, path)), config)


def _read_from(folder: str | None, config):
    """The recipe with masks on disk in place of its models, if a folder is given."""
    if folder is None or not OmegaConf.is_dict(config.get("sources")):
        return config
    if not isinstance(folder, str) or not folder:
        raise InputError(f"predictions is {shown(folder)}, expected a folder")
    names = [name for name, entry in config.sources.items() if entry is not None]
    files = {name: {"adapter": "files", "path": f"{folder}/{name}"} for name in names}
    return _over(config, OmegaConf.create({"sources": files}))


def _over(lower, upper):
    """A recipe merged over another; a component that takes another's place takes none of its settings."""
    for group in TABLES:
        for config in (lower, upper):
            if config.get(group) is not None and not OmegaConf.is_dict(config[group]):
                raise InputError(f"{group} is {shown(config[group])}, expected `key: value` lines below it")
    for group, kind in (("sources", "adapter"), ("propagators", "propagator")):
        for name, new in (upper.get(group) or {}).items():
            old = (lower.get(group) or {}).get(name)
            default = name if kind == "propagator" else None
            if (
                OmegaConf.is_dict(old)
                and OmegaConf.is_dict(new)
                and new.get(kind) not in (None, old.get(kind, default))
            ):
                lower[group][name] = None
    _give_way(lower, upper)
    return OmegaConf.merge(lower, upper)


def _give_way(lower, upper) -> None:
    """Empties what a list takes the place of a table in, or a table that of a list: OmegaConf merges like with like."""
    for key, new in upper.items_ex(resolve=False):
        old = lower._get_node(key) if key in lower else None
        if not (OmegaConf.is_config(old) and OmegaConf.is_config(new)):
            continue
        if OmegaConf.is_dict(old) and OmegaConf.is_dict(new):
            _give_way(old, new)
        elif OmegaConf.is_dict(old) != OmegaConf.is_dict(new):
            lower[key] = None


def _read(path: Path):
    try:
        config = OmegaConf.load(path)
    except Exception as e:  # yaml's own errors, unreadable files: all are the user's to mend
        raise InputError(f"{path}: not a recipe: {e}") from None
    if not OmegaConf.is_dict(config):
        raise InputError(f"{path}: expected `key: value` lines, found a {type(config).__name__}")
    return config


def _recipe_file(name: str, near: Path) -> Path:
    for path in (
        (near / user_path(name), FOLDER / f"{name}.yaml")
        if name.endswith((".yaml", ".yml"))
        else (FOLDER / f"{name}.yaml",)
    ):
        if os.path.isfile(path):
            return path
    raise InputError(f"no recipe {name!r}. There are: {', '.join(names())}; or give the path of a .yaml file")


def _data_file(name: str) -> Path:
    path = user_path(name) if name.endswith((".yaml", ".yml")) else FOLDER / "data" / f"{name}.yaml"
    if not os.path.isfile(path):
        raise InputError(f"no data table {name!r}. There are: {', '.join(tables())}; or give the path of a .yaml file")
    return path


def _headline(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _plain(value):
    """Json values only: keys become strings."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
