"""Recipes without one of their parts, as resolved configs.

Without a source, every step keeps the inputs that are left and their weights; a step without any input is removed.
A key frame that was chosen by the scores of a removed source is chosen by those of the masks themselves, or by
agreement where these are not informative: the vote of a single model has the score 1 everywhere. See `Step.without`.

Without a step, its readers read `Step.replacement`: the input of a propagation, the propagated masks of
`replace_or_union`, the first input of every fusion, which is also the one that `leftover: first` trusts.
"""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.recipe.recipe import Recipe


def without_sources(recipe: Recipe, gone: Collection[str]) -> dict[str, Any]:
    """The recipe's config without some sources.

    Raises:
        InputError: nothing of the output is left.
    """
    config, dead = deepcopy(recipe.config), set(gone)
    changed = set(gone)  # names that are removed, or whose result differs
    for name, step in recipe.steps.items():  # in an order in which inputs come first
        if changed.isdisjoint(step.inputs):
            continue  # keeps its key: its results are in the store
        changed.add(name)
        changes = step.without(dead)
        if changes is None:
            dead.add(name)
        if changes is None or "op" in changes:
            config["steps"][name] = changes
        else:
            config["steps"][name] |= changes
    if recipe.output in dead:
        raise InputError(f"without {', '.join(gone)} nothing is left of {recipe.output}")
    config["sources"] = {name: settings for name, settings in config["sources"].items() if name not in dead}
    return config


def without_step(recipe: Recipe, gone: str) -> dict[str, Any]:
    """The recipe's config without one step."""
    config, step = deepcopy(recipe.config), recipe.steps[gone]
    instead = step.replacement
    config["steps"][gone] = None
    for name, other in recipe.steps.items():
        if name == gone:
            continue
        if gone in other.inputs:
            config["steps"][name] |= other.reading({gone: instead})
    if config["output"] == gone:
        config["output"] = instead
    return config
