"""The settings that an ablation compares: resolved recipes, each with the source or step that is scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation.settings import Request, full_paths
from rvos_ensemble.ensemble.fusion import grouping
from rvos_ensemble.ensemble.recipe.config.loading import resolve
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.recipe.recipe_edits import without_sources, without_step
from rvos_ensemble.propagators.core import key_frame_settings

_MADE: dict[str, Component] = {}  # of this process


def build(name: str, config: dict[str, Any]) -> Recipe:
    """A recipe that shares components with the other recipes of this process, so that weights are loaded once."""
    return Recipe.build(name, config, _MADE)


@dataclass(frozen=True)
class Variant:
    """One setting.

    Attributes:
        label: a short name for tables.
        config: the resolved recipe.
        step: the source or step whose masks are scored.
        parameters: {path of a key: value} of the keys that are swept.
    """

    label: str
    config: dict[str, Any]
    step: str
    parameters: dict[str, Any] = field(default_factory=dict)


def of_lists(request: Request, reference: Recipe) -> tuple[list[Variant], list[str]]:
    """Every combination of the listed values, and notes for the reader.

    Raises:
        InputError: unknown keys, values that a recipe refuses, a grid above the limit.
    """
    number, limit = prod(len(v) for v in request.lists.values()), request.options["limit"]
    if number > limit:
        sizes = " x ".join(str(len(v)) for v in request.lists.values())
        raise InputError(f"ablate: {sizes} = {number} settings, at most {limit}; give ablate.limit={number} to insist")
    paths = full_paths(request.lists, reference.config)
    variants, notes, problems = [], [], []
    for values in product(*request.lists.values()):
        try:
            variant, more = of_values(request, dict(zip(paths.values(), values, strict=True)))
        except InputError as e:
            problems += e.problems
        else:
            variants.append(variant)
            notes += more
    if problems:
        raise InputError(dict.fromkeys(problems))
    return variants, list(dict.fromkeys(notes))


def of_values(request: Request, values: Mapping[str, Any]) -> tuple[Variant, list[str]]:
    """The recipe with the values of some keys, and notes for the reader.

    Args:
        request: names the recipe.
        values: {full path of a key: value}.

    Raises:
        InputError: the recipe refuses a value.
    """
    name, config = resolve(request.recipe, values)
    notes = [note for path in values for note in _reachable(config, path)]
    built = build(name, config)
    return Variant(label_of(values), built.config, built.output, dict(values)), notes


def label_of(values: Mapping[str, Any]) -> str:
    """A short name for the values of some keys.

    >>> label_of({"steps.smr.threshold": 2}), label_of({"steps.a.with": "aot", "steps.b.with": "deaot"})
    ('threshold=2', 'a.with=aot b.with=deaot')
    """
    last = [path.rpartition(".")[2] for path in values]
    names = last if len(set(last)) == len(last) else [path.removeprefix("steps.") for path in values]
    return " ".join(f"{name}={_short(value)}" for name, value in zip(names, values.values(), strict=True))


def of_sources(reference: Recipe) -> tuple[list[Variant], list[str]]:
    """The recipe without each source, with it only, and each source by itself, where it predicts expressions."""
    variants, notes, names = [], [], list(reference.sources)
    for what in ("without", "only"):
        for name in names if len(names) > 1 else ():
            gone = [name] if what == "without" else [n for n in names if n != name]
            try:
                config = without_sources(reference.config, reference.steps, gone)
                build(reference.name, config)
            except InputError as e:
                notes += [f"{what} {name}: {problem}" for problem in e.problems]
            else:
                variants.append(Variant(f"{what} {name}", config, reference.output))
    scored = [n for n, adapter in reference.sources.items() if not adapter.objects]
    return variants + [Variant(f"{n} as it is", reference.config, n) for n in scored], notes


def of_steps(reference: Recipe) -> tuple[list[Variant], list[str]]:
    """Every source and step by itself, then the recipe without each step that its output needs.

    Sources and steps that give masks of objects cannot be scored; a note names every step that cannot be left out.
    """
    alone, less, notes = [], [], []
    for name in [*reference.sources, *reference.steps]:
        try:
            build(reference.name, {**reference.config, "output": name})
        except InputError:
            continue
        alone.append(Variant(name, reference.config, name))
    needed = reference.needed()
    for name in reference.steps:
        if name in needed:
            config = without_step(reference.config, reference.steps, name)
            try:
                build(reference.name, config)
            except InputError as e:
                notes.append(f"without {name} the recipe does not hold: {e.problems[0]}")
            else:
                less.append(Variant(f"without {name}", config, config["output"]))
    return alone + less, notes


def of_key_frame(reference: Recipe) -> tuple[list[Variant], list[str]]:
    """Every key-frame rule with its default settings, in all propagating steps at once."""
    propagating = [n for n, s in reference.steps.items() if s.propagator]
    if not propagating:
        raise InputError(f"ablate=key_frame: recipe {reference.name} has no propagate step")
    variants, notes = [], ["where a source has no scores, agreement decides instead (without_scores: agreement)"]
    for rule, defaults in key_frame_settings.RULES.items():
        setting = {"rule": rule} | ({"without_scores": "agreement"} if "without_scores" in defaults else {})
        variant = changed(reference, f"key_frame={rule}", {f"steps.{n}.key_frame": setting for n in propagating})
        try:
            build(reference.name, variant.config)
        except InputError as e:
            notes.append(f"{variant.label} is left out: {e.problems[0]}")
        else:
            variants.append(variant)
    return variants, notes


def of_grouping(reference: Recipe) -> tuple[list[Variant], list[str]]:
    """Every grouping rule, in all votes across expressions."""
    voting = {n: s for n, s in reference.steps.items() if s.groups_expressions}
    if not voting:
        raise InputError(f"ablate=grouping: recipe {reference.name} has no vote with `across: expressions`")
    variants, notes = [], []
    for rule in grouping.RULES:
        if rule == "file" and not any(s.settings.grouping["file"] for s in voting.values()):
            notes.append("grouping=file is left out: no grouping.file is given")
            continue
        changes = {f"steps.{n}.grouping": {**s.settings.grouping, "rule": rule} for n, s in voting.items()}
        variants.append(changed(reference, f"rule={rule}", changes))
    return variants, notes


def of_weights(reference: Recipe, step: str, weights: tuple[int, ...]) -> Variant:
    """One choice of weights for the inputs of a vote step."""
    label = " ".join(f"{n}:{w}" for n, w in zip(reference.steps[step].inputs, weights, strict=True))
    return changed(reference, label, {f"steps.{step}.weights": list(weights)})


def changed(reference: Recipe, label: str, changes: dict[str, Any]) -> Variant:
    """The reference with some `steps.NAME.KEY` changed."""
    config = deepcopy(reference.config)
    for path, value in changes.items():
        step, _, key = path.removeprefix("steps.").rpartition(".")
        config["steps"][step][key] = value
    return Variant(label, config, reference.output, changes)


def _reachable(config: dict[str, Any], path: str) -> list[str]:
    """Sets `leftover` where a swept count is above the votes of an expression that is alone in its group.

    A run refuses such a count and asks for `leftover`; a sweep over the votes of a pair sets it in the config, so that
    the best setting can be run as it is. A `leftover` of the recipe is never changed.
    """
    top, _, rest = path.partition(".")
    name, _, key = rest.rpartition(".")
    if top != "steps" or key != "threshold":
        return []
    settings = config["steps"][name]
    count, inputs = settings["threshold"], settings.get("inputs") or []
    weights = settings.get("weights") or [1] * len(inputs)
    votes = sum(weights.values() if isinstance(weights, dict) else weights)
    alone = settings.get("across") == "expressions" and settings.get("leftover", "vote") == "vote"
    if type(count) is not int or not alone or count <= votes:
        return []
    settings["leftover"] = 1.0
    return [
        f"counts above {votes}: an expression alone in its group has {votes} votes in step {name} and needs all of "
        "them (leftover: 1.0); other groups need the count. A share, such as 0.5, means the same for every group"
    ]


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
