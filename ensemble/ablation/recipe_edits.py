"""Recipes with a part taken out, as resolved configs.

Without a source: every step goes on with the inputs that are left, and their weights; a step none of whose inputs is
left goes too. A key frame that went by the scores of what is gone goes by those of the masks themselves, or by
agreement where these say nothing: a single model's vote is sure everywhere.

Without a step: whoever read it reads what it was made from. Of a `propagate` that is its input; of `replace_or_union`
the propagated masks; of every fusion its first input, the one that `leftover: first` trusts as well.
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
    changed = set(gone)  # what is gone, or no longer what it was
    for name, step in recipe.steps.items():  # in an order in which inputs come first
        if changed.isdisjoint(step.inputs):
            continue  # unchanged to the letter: its results are in the store
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
        settings = config["steps"][name]
        for key in ("input", "inputs", "scores_from"):
            value = getattr(other.settings, key, None)
            if isinstance(value, list) and gone in value:
                settings[key] = [instead if v == gone else v for v in value]
            elif value == gone:
                settings[key] = instead
    if config["output"] == gone:
        config["output"] = instead
    return config
