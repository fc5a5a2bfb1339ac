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
from rvos_ensemble.ensemble.steps.ops import Propagate
from rvos_ensemble.propagators.core.key_frames import settings_of


def without_sources(recipe: Recipe, gone: Collection[str]) -> dict[str, Any]:
    """The recipe's config without some sources.

    Raises:
        InputError: nothing of the output is left.
    """
    config, dead = deepcopy(recipe.config), set(gone)
    other = set(gone)  # what is gone or not what it was
    steps = config["steps"]
    for name, step in recipe.steps.items():  # in an order in which inputs come first
        settings = steps[name]
        if other.isdisjoint(step.inputs):
            continue  # as it was, to the letter: its results are in the store
        other.add(name)
        if isinstance(step, Propagate):
            settings["scores_from"] = [s for s in step.settings["scores_from"] or [] if s not in dead] or None
            settings["key_frame"] = _without_scores(step.settings["key_frame"])
        if "input" in step.settings:
            left = [i for i in [step.settings["input"]] if i not in dead]
        else:
            left = [i for i in step.inputs if i not in dead]
            if isinstance(settings.get("weights"), list):  # of votes, not of a network
                settings["weights"] = [
                    w for i, w in zip(step.inputs, settings["weights"], strict=True) if i not in dead
                ]
            settings["inputs"] = left
            if step.op == "replace_or_union" and len(left) == 1:
                steps[name] = {"op": "union", "inputs": left}  # a union of one is that one
        if not left:
            dead.add(name)
            steps[name] = None
    if recipe.output in dead:
        raise InputError(f"without {', '.join(gone)} nothing is left of {recipe.output}")
    config["sources"] = {name: settings for name, settings in config["sources"].items() if name not in dead}
    return config


def _without_scores(key_frame) -> dict[str, Any]:
    """The rule, with agreement where there are no scores to go by."""
    rule = settings_of(key_frame)
    return rule | {"without_scores": "agreement"} if "without_scores" in rule else rule


def without_step(recipe: Recipe, gone: str) -> dict[str, Any]:
    """The recipe's config without one step."""
    config, step = deepcopy(recipe.config), recipe.steps[gone]
    instead = step.inputs[1] if step.op == "replace_or_union" else step.inputs[0]
    config["steps"][gone] = None
    for name, other in recipe.steps.items():
        if name == gone:
            continue
        settings = config["steps"][name]
        for key in ("input", "inputs", "scores_from"):
            value = other.settings.get(key)
            if isinstance(value, list) and gone in value:
                settings[key] = [instead if v == gone else v for v in value]
            elif value == gone:
                settings[key] = instead
    if config["output"] == gone:
        config["output"] = instead
    return config
