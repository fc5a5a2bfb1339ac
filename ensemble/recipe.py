"""Recipes: the graph of components and steps, validated before anything is computed. `recipe_files.py` reads them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adapters
import adapters.datasets
import propagators
from adapters.adapter import Adapter
from adapters.component import Component, available, find, merge_settings, unknown_key
from adapters.datasets import Dataset
from adapters.sequence import InputError
from ensemble import overlays
from ensemble.recipe_files import BACKENDS, DEFAULTS, ENGINE, GROUPING, TABLES, resolve
from ensemble.steps import OPS, Propagate, Step, Vote
from propagators.propagator import Propagator

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
        for key in TABLES:
            if not isinstance(config[key] or {}, Mapping):
                problems.append(f"recipe {name}: {key} is {config[key]!r}, expected `key: value` lines below it")
            config = {**config, key: config[key] if isinstance(config[key], Mapping) else {}}
        grouping = _attempt(problems, merge_settings, GROUPING, config["grouping"], "grouping")
        engine = _attempt(problems, merge_settings, ENGINE, config["engine"], "engine") or ENGINE
        if engine["backend"] not in BACKENDS:
            problems.append(f"engine: backend is {engine['backend']!r}, expected one of {', '.join(BACKENDS)}")
        for key in ("workers", "cache_mb"):
            if engine[key] is None or engine[key] < 0:
                problems.append(f"engine: {key} is {engine[key]!r}, expected a whole number of at least 0")
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
        problems += [] if None in models.values() else _kind_problems(models, steps, order, config["output"])
        used = {s.settings["with"] for s in steps.values() if isinstance(s, Propagate)}
        movers = {}
        for key in sorted(used):
            if key not in config["propagators"]:
                problems.append(unknown_key(key, config["propagators"], "propagators"))
                continue
            settings = config["propagators"][key] or {}
            if not isinstance(settings, Mapping):
                problems.append(f"propagator {key}: expected {{propagator: NAME, settings...}}, found {settings!r}")
                continue
            settings = {"propagator": key, **settings}
            movers[key] = _attempt(problems, part, "propagator", settings, f"propagator {key}")
        dataset = _attempt(problems, make_component, "dataset", config["data"], "data")
        if problems:
            raise InputError(problems)
        return cls(name, config, dataset, models, movers, {k: steps[k] for k in order}, config["output"])

    def describe_propagator(self, name: str) -> str:
        """Which propagator really runs under that name, in a few words."""
        real = self.propagators[name]
        told = [x for x in (real.name, getattr(real.settings, "weights", None)) if x not in (None, name)]
        return f"{name} ({', '.join(told)})" if told else name

    def rendered_only(self) -> list[str]:
        """Propagators with small weights of ours, where the data are not what those have learned from."""
        if self.config["data"].get("dataset") == "shapes":
            return []
        given = {n: str(getattr(p.settings, "weights", "")) for n, p in self.propagators.items()}
        return [n for n, weights in given.items() if re.fullmatch(r"\w+_nano", weights)]

    def needed(self) -> list[str]:
        """The steps that the output is made by, itself first."""
        found = [n for n in [self.output] if n in self.steps]
        for name in found:  # grows on the way
            found += [i for i in self.steps[name].inputs if i in self.steps and i not in found]
        return found

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
        if not any(c.uses_gpu for c in (*self.sources.values(), *self.propagators.values(), *self.steps.values())):
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


def _make_step(name: str, settings: Mapping[str, Any], grouping: dict) -> Step:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise InputError(f"step {name!r}: a name is made of letters, digits, _ . and -")
    if not isinstance(settings, Mapping):
        raise InputError(f"step {name}: expected {{op: NAME, settings...}}, found {settings!r}")
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


def _kind_problems(
    sources: Mapping[str, Adapter], steps: Mapping[str, Step], order: Sequence[str], output: str
) -> list[str]:
    """Steps that would read objects as masks of expressions, or the other way round."""
    problems = []
    kinds = {name: "objects" if adapter.objects else "expressions" for name, adapter in sources.items()}
    for name in order:
        step = steps[name]
        found = {i: kinds[i] for i in step.inputs}
        wanted = step.takes or next(iter(found.values()))
        problems += [
            f"step {name}: input {i} gives masks of {kind}, expected {wanted}"
            for i, kind in found.items()
            if kind != wanted
        ]
        kinds[name] = step.gives or wanted
    if isinstance(steps.get(output), Vote) and steps[output].settings["threshold"] is None:
        problems.append(f"output {output} is a vote map, no masks: give steps.{output}.threshold")
    if kinds[output] != "expressions":
        problems.append(f"output {output} gives masks of {kinds[output]}, expected expressions: `ground` them")
    return problems


def _attempt(problems: list[str], function, *arguments):
    """The function's result; what it finds wrong joins the problems, so that all are told at once."""
    try:
        return function(*arguments)
    except InputError as e:
        problems += e.problems
        return None
