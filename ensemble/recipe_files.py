"""What a recipe may say, and how it is read: files, their bases, the data table, overrides from the command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

import recipes
from adapters.component import unknown_key
from adapters.sequence import InputError
from propagators.propagate import CACHE_MB

FOLDER = Path(recipes.__path__[0])

# Every key a recipe may have, with its default.
DEFAULTS: dict[str, Any] = {
    "base": None,  # another recipe, over which this one is merged
    "data": "shapes",  # a table of recipes/data, or {dataset: ..., settings}
    "source": None,  # the one source of recipes that run a single model: ${source}
    "sources": {},  # {name: {adapter: ..., settings}}
    "predictions": None,  # folder with masks of every source: DIR/SOURCE is read, and no model runs
    "propagators": {},  # {name: {propagator: ... (the name itself), settings}}
    "grouping": {},  # which expressions mean the same object; see GROUPING
    "steps": {},  # {name: {op: ..., settings}}
    "output": "???",  # the step or source whose masks are the result
    "out": None,  # folder of the results; runs/RECIPE
    "store": None,  # folder of intermediate results; OUT/store. Runs may share one
    "annotations": True,  # write the PNG tree; false streams masks straight into the zip
    "submission": True,  # write submission.zip
    "report": True,  # write report.html
    "overlays": None,  # mp4 or gif: a video of every expression's output, overlays/CLIP/EXPRESSION.mp4
    "engine": {},  # how clips are spread over processes; see ENGINE
}
GROUPING = {"rule": "auto", "file": None, "min_iou": 0.3}
ENGINE = {
    "backend": "loky",  # one of BACKENDS
    "workers": 0,  # 0: one a GPU, else a core
    "cache_mb": CACHE_MB,  # of frames and their features kept from one sweep for the other, in each worker
}
TABLES = ("sources", "propagators", "grouping", "steps", "engine")  # keys with a table below them
BACKENDS = ("sequential", "loky", "dask", "ray")


def resolve(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Reads the recipe and its bases, merges the overrides over them, resolves `${...}`."""
    broken = [a for a in arguments if "=" not in a]
    if broken:
        raise InputError(f"argument {broken[0]!r}: expected key=value")
    table = dict(a.split("=", 1) for a in arguments)
    recipe, data = table.pop("recipe", None), table.pop("data", None)
    if recipe is None:
        raise InputError(f"which recipe? Give recipe=NAME, one of {', '.join(names())}, or recipe=FILE")
    path = _recipe_file(recipe, Path())
    try:
        config = _with_bases(path, ())
        if "data.video" in table:  # a video of one's own, to be looked at
            data, table = data or "video", {"overlays": "mp4", **table}
        data = data if data is not None else config.get("data", DEFAULTS["data"])
        if isinstance(data, str):
            config = OmegaConf.merge(config, {"data": None})
            config.data = OmegaConf.load(_data_file(data))
        given = OmegaConf.from_dotlist([f"{k}={v}" for k, v in table.items()])
        before = config
        config = _over(_read_from(given.get("predictions", config.get("predictions")), config), given)
        resolved = OmegaConf.to_container(config, resolve=True)
        resolved.pop("predictions", None)  # the sources say it
        if problems := _unread(before, given, resolved):
            raise InputError([f"recipe {path}: {problem}" for problem in problems])
    except (OmegaConfBaseException, YAMLError) as e:
        raise InputError(f"recipe {path}: {str(e).splitlines()[0]}") from None
    return path.stem, _plain(resolved)


def names() -> dict[str, str]:
    """{name: its first line of comment} of the recipes that come with the package."""
    return {p.stem: _headline(p) for p in sorted(FOLDER.glob("*.yaml"))}


def tables() -> dict[str, str]:
    """{name: its first line of comment} of the data tables that come with the package."""
    return {p.stem: _headline(p) for p in sorted((FOLDER / "data").glob("*.yaml"))}


def _unread(before, given, config: dict[str, Any]) -> list[str]:
    """Sources and propagators of the command line that the recipe has not, and that nothing in it reads: misspelt."""
    read = set(_words({"steps": config.get("steps"), "output": config.get("output")}))
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


def _words(value) -> Iterator[str]:
    """All texts in a config."""
    if isinstance(value, dict):
        value = list(value.values())
    for v in value if isinstance(value, list) else [value]:
        yield from [v] if isinstance(v, str) else _words(v) if isinstance(v, (dict, list)) else ()


def _with_bases(path: Path, above: tuple[Path, ...]):
    """The yaml of a recipe merged over its bases."""
    if path in above:
        raise InputError(f"recipes build on each other in a circle: {' -> '.join(p.name for p in [*above, path])}")
    config = _read(path)
    base = config.pop("base", None)
    if base is None:
        return config
    return _over(_with_bases(_recipe_file(base, path.parent), (*above, path)), config)


def _read_from(folder: str | None, config):
    """The recipe with masks on disk in place of its models, if a folder is given."""
    if folder is None:
        return config
    names = [name for name, entry in (config.get("sources") or {}).items() if entry is not None]
    files = {name: {"adapter": "files", "path": f"{folder}/{name}"} for name in names}
    return _over(config, OmegaConf.create({"sources": files}))


def _over(lower, upper):
    """A recipe merged over another; a component that takes another's place takes none of its settings."""
    for group in TABLES:
        for config in (lower, upper):
            if config.get(group) is not None and not OmegaConf.is_dict(config[group]):
                raise InputError(f"{group} is {config[group]!r}, expected `key: value` lines below it")
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
    return OmegaConf.merge(lower, upper)


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
        (near / name, FOLDER / f"{name}.yaml") if name.endswith((".yaml", ".yml")) else (FOLDER / f"{name}.yaml",)
    ):
        if path.is_file():
            return path
    raise InputError(f"no recipe {name!r}. There are: {', '.join(names())}; or give the path of a .yaml file")


def _data_file(name: str) -> Path:
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / "data" / f"{name}.yaml"
    if not path.is_file():
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
