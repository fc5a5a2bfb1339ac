"""Recipes: the graph of components and steps, validated before anything is computed. `recipe_files.py` reads them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.component import Component, make, merge_settings, unknown_key
from rvos_ensemble.adapters.core.disk import user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import setting, shown
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.ensemble.recipe.parts import class_of, components, make_component
from rvos_ensemble.ensemble.recipe.recipe_files import DEFAULTS, ENGINE, GROUPING, TABLES, plain_defaults, read, words
from rvos_ensemble.ensemble.steps.step import Step
from rvos_ensemble.propagators.core.propagator import Propagator

LONGEST = 120  # characters of a name: it is part of the names of files


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

        def part(kind: str, settings: Any, where: str) -> Component:
            key = json.dumps([kind, settings])
            if key not in made:
                made[key] = make_component(kind, settings, where)
            return made[key]

        config = _merged(problems, DEFAULTS, config, f"recipe {name}")
        config |= {key: config[key] or {} for key in TABLES}
        grouping = _merged(problems, GROUPING, config["grouping"], "grouping")
        _merged(problems, ENGINE, config["engine"], "engine")
        for group in ("sources", "propagators"):
            problems += [p for key in config[group] for p in _name_problems(group.removesuffix("s"), key)]
        given = {key: settings for key, settings in config["steps"].items() if settings is not None}
        steps = {key: _attempt(problems, _make_step, key, settings, grouping) for key, settings in given.items()}
        steps = {key: step for key, step in steps.items() if step}
        sources = {k: v for k, v in config["sources"].items() if v is not None}
        broken = {key: settings for key, settings in given.items() if key not in steps}
        order, needed = _order(problems, steps, [*sources], broken.keys(), config["output"])
        needed += [k for k in sources if k not in needed and k in set(words(broken))]
        models = {k: _attempt(problems, part, "adapter", sources[k], f"source {k}") for k in needed}
        movers = {}
        for key in sorted({s.propagator for s in steps.values() if s.propagator}):
            if key not in config["propagators"]:
                problems.append(unknown_key(key, config["propagators"], "propagators"))
                continue
            settings = {} if config["propagators"][key] is None else config["propagators"][key]
            if not isinstance(settings, Mapping):
                told = shown(settings)
                problems.append(f"propagator {key}: expected {{propagator: NAME, settings...}}, found {told}")
                continue
            settings = {"propagator": key, **settings}
            movers[key] = _attempt(problems, part, "propagator", settings, f"propagator {key}")
        dataset = _attempt(problems, make_component, "dataset", config["data"], "data")
        if problems:
            raise InputError(dict.fromkeys(problems))
        if found := _kind_problems(models, steps, order, config["output"]):
            raise InputError(found)
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
        return user_path(self.config["out"]) if self.config["out"] else Path("runs") / self.name

    @property
    def store(self) -> Path:
        """Folder of intermediate results."""
        return user_path(self.config["store"]) if self.config["store"] else self.out / "store"

    @property
    def engine(self) -> dict[str, Any]:
        """See `ENGINE`, with the number of workers settled."""
        engine = {**plain_defaults(ENGINE), **self.config["engine"]}
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
    name, config, problems = read(arguments)
    try:
        recipe = Recipe.build(name, config)
    except InputError as e:
        problems += [p for p in e.problems if p not in problems]
    if problems:
        raise InputError(problems)
    return recipe


def _make_step(name: str, settings: Any, grouping: dict) -> Step:
    problems = _name_problems("step", name)
    if not isinstance(settings, Mapping):
        raise InputError([*problems, f"step {name}: expected {{op: NAME, settings...}}, found {shown(settings)}"])
    settings = dict(settings)
    op = settings.pop("op", None)
    if not isinstance(op, str):
        ops = ", ".join(components("op"))
        raise InputError(
            [*problems, f"step {name}: op is {shown(op)}, expected one of {ops}, or the path of a .py file"]
        )
    kind = _attempt(problems, _op, op, name)
    if kind is None:
        raise InputError(problems)
    if "grouping" in kind.defaults and isinstance(settings.get("grouping") or {}, Mapping):
        settings["grouping"] = {**grouping, **(settings.get("grouping") or {})}
    step = _attempt(problems, make, kind, settings, name)
    if problems:
        raise InputError(problems)
    return step


def _op(op: str, name: str) -> type[Step]:
    """The class of a step.

    Raises:
        InputError: there is none of that name, or what is wrong with its file.
    """
    try:
        return class_of("op", op)
    except InputError as e:
        raise InputError(f"step {name}: {p}" for p in e.problems) from None


def _name_problems(kind: str, name: str) -> list[str]:
    """A name that could not be part of a file's name."""
    if re.fullmatch(r"[A-Za-z0-9_.-]+", name) and len(name) <= LONGEST and name.strip("."):
        return []
    return [f"{kind} {shown(name)}: a name is made of at most {LONGEST} letters, digits, _ . and -"]


def _order(
    problems: list[str], steps: Mapping[str, Step], sources: Sequence[str], broken: Collection[str], output: Any
) -> tuple[list[str], list[str]]:
    """Steps in an order in which they can be computed, and the sources that are read.

    Args:
        problems: filled with inputs that do not exist, names used twice, a cycle.
        steps: those that could be made.
        sources: names of all.
        broken: names of steps that could not be made; their problems are already in the list.
        output: of the recipe.
    """
    problems += [f"`{name}` is both a source and a step: rename one" for name in steps if name in sources]
    known = [*sources, *steps, *broken]
    for name, step in steps.items():
        problems += [unknown_key(i, known, f"step {name}: input") for i in step.inputs if i not in known]
    if output not in known and isinstance(output, str):
        problems.append(unknown_key(output, known, "output"))
    order: list[str] = []
    read: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = f"steps run in a circle: {' -> '.join([*path[path.index(name) :], name])}"
            if not any(p.startswith("steps run in a circle") for p in problems):
                problems.append(circle)
        elif name in sources:
            read[name] = None
        elif name in steps and name not in order:
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
    if output in steps and steps[output].gives_votes:
        problems.append(f"output {output} is a vote map, no masks: give steps.{output}.threshold")
    if kinds[output] != "expressions":
        problems.append(f"output {output} gives masks of {kinds[output]}, expected expressions: `ground` them")
    return problems


def _merged(problems: list[str], defaults: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The given settings over the defaults; those that are wrong join the problems and count as not given."""
    _attempt(problems, merge_settings, defaults, given, where)
    return {
        key: given[key] if key in given and setting(default).problem(given[key]) is None else setting(default).default
        for key, default in defaults.items()
    }


def _attempt(problems: list[str], function: Callable, *arguments, **named):
    """The function's result; what it finds wrong joins the problems, so that all are told at once."""
    try:
        return function(*arguments, **named)
    except InputError as e:
        problems += e.problems
        return None
