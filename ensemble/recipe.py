"""Recipes: loading, inheritance, overrides, and strict validation before anything is computed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import adapters
import adapters.datasets
import propagators
import recipes
from adapters.adapter import Adapter
from adapters.component import Component, available, find, merge_settings, unknown_key
from adapters.datasets import Dataset
from adapters.sequence import InputError
from ensemble import overlays
from ensemble.steps import OPS, Propagate, Step
from propagators.propagator import Propagator

FOLDER = Path(recipes.__path__[0])

# Every key a recipe may have, with its default.
DEFAULTS: dict[str, Any] = {
    "base": None,  # another recipe, over which this one is merged
    "data": "shapes",  # a table of recipes/data, or {dataset: ..., settings}
    "source": None,  # the one source of recipes that run a single model: ${source}
    "sources": {},  # {name: {adapter: ..., settings}}
    "propagators": {},  # {name: {propagator: ... (the name itself), settings, stand_in: what runs without weights}}
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
NOT_GIVEN = "(data.predictions is not given)"  # stands in the paths of the sources that would lie there
GROUPING = {"rule": "auto", "file": None, "min_iou": 0.3}
ENGINE = {"backend": "loky", "workers": 0}  # workers 0: one a GPU, else a core; backend: sequential, loky, dask, ray

KINDS: dict[str, tuple[type[Component], Any, str]] = {
    "adapter": (Adapter, adapters, "rvos_ensemble.adapters"),
    "propagator": (Propagator, propagators, "rvos_ensemble.propagators"),
    "dataset": (Dataset, adapters.datasets, "rvos_ensemble.datasets"),
}


@dataclass(frozen=True)
class Recipe:
    """A validated recipe, its components made.

    Attributes:
        name: as it was called.
        config: everything resolved, as plain json values; `Recipe.build(name, config)` makes it again elsewhere.
        dataset: the benchmark.
        sources: adapters that some step or the output reads, by name.
        propagators: by name.
        steps: in an order in which they can be computed.
        output: name of the step or source whose masks are the result.
    """

    name: str
    config: dict[str, Any]
    dataset: Dataset
    sources: dict[str, Adapter]
    propagators: dict[str, Propagator]
    steps: dict[str, Step]
    output: str

    @classmethod
    def build(cls, name: str, config: dict[str, Any], made: dict[str, Component] | None = None) -> Recipe:
        """Makes the components of a resolved recipe.

        Args:
            name: what to call it.
            config: as `resolve` gives it.
            made: sources and propagators by their settings, read and filled: recipes that share it load weights once.

        Raises:
            InputError: naming every unknown key, missing input, cycle and component that cannot be made.
        """
        problems: list[str] = []
        made = {} if made is None else made

        def part(kind: str, settings: Mapping[str, Any], where: str) -> Component:
            key = json.dumps([kind, settings])
            if key not in made:
                made[key] = make_component(kind, settings, where)
            return made[key]

        config = _attempt(problems, merge_settings, DEFAULTS, config, f"recipe {name}") or {**DEFAULTS, **config}
        grouping = _attempt(problems, merge_settings, GROUPING, config["grouping"] or {}, "grouping")
        _attempt(problems, merge_settings, ENGINE, config["engine"] or {}, "engine")
        if config["overlays"] not in (None, False, *overlays.KINDS):
            kinds = ", ".join(overlays.KINDS)
            problems.append(f"recipe {name}: overlays is {config['overlays']!r}, expected false or one of {kinds}")
        steps = {}
        for key, settings in config["steps"].items():
            if settings is not None:
                step = _attempt(problems, _make_step, key, settings, grouping)
                steps |= {key: step} if step else {}
        if problems:
            raise InputError(problems)
        sources = {k: v for k, v in config["sources"].items() if v is not None}
        order, read = _order(steps, list(sources), config["output"])
        models = {k: _attempt(problems, part, "adapter", sources[k], f"source {k}") for k in read}
        used = {s.settings["with"] for s in steps.values() if isinstance(s, Propagate)}
        movers = {}
        for key in sorted(used):
            if key not in config["propagators"]:
                problems.append(unknown_key(key, config["propagators"], "propagators"))
                continue
            settings = {"propagator": key, **(config["propagators"][key] or {})}
            stand_in = settings.pop("stand_in", None)
            settings = stand_in if _needs_stand_in(stand_in, settings) else settings
            movers[key] = _attempt(problems, part, "propagator", settings, f"propagator {key}")
        dataset = _attempt(problems, make_component, "dataset", config["data"], "data")
        if problems:
            raise InputError(problems)
        return cls(name, config, dataset, models, movers, {k: steps[k] for k in order}, config["output"])

    def describe_propagator(self, name: str) -> str:
        """Which propagator really runs under that name, in a few words."""
        entry, real = self.config["propagators"][name] or {}, self.propagators[name].name
        if _needs_stand_in(entry.get("stand_in"), entry):
            return f"{real} (in place of {name}: no weights given)"
        return name if real == name else f"{name} ({real})"

    @property
    def out(self) -> Path:
        """Folder of the results."""
        return Path(self.config["out"] or Path("runs") / self.name)

    @property
    def store(self) -> Path:
        """Folder of intermediate results."""
        return Path(self.config["store"] or self.out / "store")

    @property
    def engine(self) -> dict[str, Any]:
        """See `ENGINE`, with the number of workers settled."""
        engine = {**ENGINE, **self.config["engine"]}
        return {**engine, "workers": engine["workers"] or self.gpus or os.cpu_count() or 1}

    @property
    def gpus(self) -> int:
        """How many GPUs there are for its components; 0 where none of them uses one."""
        if not any(c.uses_gpu for c in (*self.sources.values(), *self.propagators.values())):
            return 0
        import torch  # loaded by whoever uses a GPU

        return torch.cuda.device_count()


def load(arguments: Sequence[str]) -> Recipe:
    """The recipe that `recipe=NAME|FILE [data=NAME] [key=value ...]` says.

    Raises:
        InputError: naming everything that is wrong with the arguments, the files or the recipe.
    """
    name, config = resolve(arguments)
    return Recipe.build(name, config)


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
        config = _over(config, OmegaConf.from_dotlist([f"{k}={v}" for k, v in table.items()]))
        if OmegaConf.is_dict(config.data) and config.data.get("predictions") is None:
            config = OmegaConf.merge(config, {"data": {"predictions": NOT_GIVEN}})
        resolved = OmegaConf.to_container(config, resolve=True)
        if isinstance(resolved["data"], dict) and resolved["data"].get("predictions") == NOT_GIVEN:
            del resolved["data"]["predictions"]
    except OmegaConfBaseException as e:
        raise InputError(f"recipe {path}: {str(e).splitlines()[0]}") from None
    return path.stem, _plain(resolved)


def names() -> dict[str, str]:
    """{name: its first line of comment} of the recipes that come with the package."""
    return {p.stem: _headline(p) for p in sorted(FOLDER.glob("*.yaml"))}


def tables() -> dict[str, str]:
    """{name: its first line of comment} of the data tables that come with the package."""
    return {p.stem: _headline(p) for p in sorted((FOLDER / "data").glob("*.yaml"))}


def make_component(kind: str, settings: Mapping[str, Any], where: str) -> Component:
    """The component that `{kind: NAME, settings...}` describes.

    Raises:
        InputError: no such component, or settings it does not take.
    """
    if not isinstance(settings, Mapping) or kind not in settings:
        raise InputError(f"{where}: expected {{{kind}: NAME, settings...}}, found {settings!r}")
    base, package, group = KINDS[kind]
    try:
        component = find(str(settings[kind]), base, package, group)
        return component(**{k: v for k, v in settings.items() if k != kind})
    except InputError as e:
        raise InputError(f"{where}: {p}" for p in e.problems) from None


def components(kind: str) -> dict[str, str]:
    """{name: one line} of all components of a kind."""
    return available(*KINDS[kind])


def _needs_stand_in(stand_in: Mapping | None, settings: Mapping[str, Any]) -> bool:
    return stand_in is not None and settings.get("weights") is None


def _make_step(name: str, settings: Mapping[str, Any], grouping: dict) -> Step:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise InputError(f"step {name!r}: a name is made of letters, digits, _ . and -")
    settings = dict(settings)
    op = settings.pop("op", None)
    if op not in OPS:
        raise InputError(f"step {name}: op is {op!r}, expected one of {', '.join(OPS)}")
    if "grouping" in OPS[op].defaults:
        own = settings.get("grouping") or {}
        settings["grouping"] = merge_settings(GROUPING, {**(grouping or {}), **own}, f"step {name}: grouping")
    return OPS[op](name, **settings)


def _order(steps: Mapping[str, Step], sources: Sequence[str], output: str) -> tuple[list[str], list[str]]:
    """Steps in an order in which they can be computed, and the sources that are read.

    Raises:
        InputError: inputs that do not exist, a name used twice, a cycle.
    """
    problems = [f"`{name}` is both a source and a step: rename one" for name in steps if name in sources]
    known = [*sources, *steps]
    for name, step in steps.items():
        problems += [unknown_key(i, known, f"step {name}: input") for i in step.inputs if i not in known]
    if output not in known:
        problems.append(unknown_key(output, known, "output"))
    if problems:
        raise InputError(problems)
    order: list[str] = []
    read: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise InputError(f"steps run in a circle: {' -> '.join([*path[path.index(name) :], name])}")
        if name in sources:
            read[name] = None
        elif name not in order:
            for i in steps[name].inputs:
                visit(i, (*path, name))
            order.append(name)

    for name in [*steps, output]:
        visit(name, ())
    return order, [s for s in sources if s in read]


def _with_bases(path: Path, above: tuple[Path, ...]):
    """The yaml of a recipe merged over its bases."""
    if path in above:
        raise InputError(f"recipes build on each other in a circle: {' -> '.join(p.name for p in [*above, path])}")
    config = _read(path)
    base = config.pop("base", None)
    if base is None:
        return config
    return _over(_with_bases(_recipe_file(base, path.parent), (*above, path)), config)


def _over(lower, upper):
    """A recipe merged over another; a component that takes another's place takes none of its settings."""
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


def _attempt(problems: list[str], function, *arguments):
    """The function's result; what it finds wrong joins the problems, so that all are told at once."""
    try:
        return function(*arguments)
    except InputError as e:
        problems += e.problems
        return None
