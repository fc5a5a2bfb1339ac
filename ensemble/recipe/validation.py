"""Checks of a recipe as a whole: names, inputs that exist, steps without a circle, and what kind of masks flows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.component import merge_settings, unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import setting
from rvos_ensemble.ensemble.steps.step import Step

LONGEST = 120  # characters of a name, which becomes part of file names


def attempt(problems: list[str], function: Callable, *arguments: Any) -> Any:
    """The function's result, or None if it raises: then its problems are added to the list, and checking continues."""
    try:
        return function(*arguments)
    except InputError as e:
        problems += e.problems
        return None


def merged(problems: list[str], defaults: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings merged over the defaults. Wrong values are added to the problems and replaced by their defaults."""
    attempt(problems, merge_settings, defaults, given, where)
    return {
        key: given[key] if key in given and setting(default).problem(given[key]) is None else setting(default).default
        for key, default in defaults.items()
    }


def name_problems(kind: str, name: str) -> list[str]:
    """Why a name cannot be part of a file name; empty if it can."""
    if re.fullmatch(r"[A-Za-z0-9_.-]+", name) and len(name) <= LONGEST and name.strip("."):
        return []
    return [f"{kind} {shown(name)}: a name is made of at most {LONGEST} letters, digits, _ . and -"]


def order(
    problems: list[str], steps: Mapping[str, Step], sources: Sequence[str], broken: Collection[str], output: Any
) -> tuple[list[str], list[str]]:
    """An order in which the steps can be computed, and the sources that they read.

    Args:
        problems: extended with inputs that do not exist, names that are used twice, and a circle.
        steps: the steps that could be made.
        sources: names of all sources.
        broken: names of steps that could not be made, whose problems are already in the list.
        output: the setting `output` of the recipe.
    """
    problems += [f"`{name}` is both a source and a step: rename one" for name in steps if name in sources]
    known = [*sources, *steps, *broken]
    for name, step in steps.items():
        problems += [unknown_key(i, known, f"step {name}: input") for i in step.inputs if i not in known]
    if output not in known and isinstance(output, str):
        problems.append(unknown_key(output, known, "output"))
    ordered: list[str] = []
    read: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            if not any(p.startswith("steps run in a circle") for p in problems):
                problems.append(f"steps run in a circle: {' -> '.join([*path[path.index(name) :], name])}")
        elif name in sources:
            read.add(name)
        elif name in steps and name not in ordered:
            for i in steps[name].inputs:
                visit(i, (*path, name))
            ordered.append(name)

    for name in [*steps, output]:
        visit(name, ())
    return ordered, [s for s in sources if s in read]


def kind_problems(
    sources: Mapping[str, Adapter], steps: Mapping[str, Step], order: Sequence[str], output: str
) -> list[str]:
    """Steps that would read masks of objects as masks of expressions, or the other way round; an output of votes."""
    problems = []
    kinds = {name: "objects" if adapter.objects else "expressions" for name, adapter in sources.items()}
    for name in order:
        step = steps[name]
        inputs = {i: kinds[i] for i in step.inputs}
        wanted = step.takes or next(iter(inputs.values()))
        problems += [
            f"step {name}: input {i} gives masks of {kind}, expected {wanted}"
            for i, kind in inputs.items()
            if kind != wanted
        ]
        kinds[name] = step.gives or wanted
    if output in steps and steps[output].gives_votes:
        problems.append(f"output {output} is a vote map, no masks: give steps.{output}.threshold")
    if kinds[output] != "expressions":
        kind = kinds[output]
        problems.append(f"output {output} gives masks of {kind}, expected expressions: `ground` or `unite` them")
    return problems
