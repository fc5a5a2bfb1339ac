"""Recipes without one of their parts, as resolved configs.

Without a source, every step keeps the inputs that are left and their weights; a step without any input is removed.
A key frame that was chosen by the scores of a removed source is chosen by those of the masks themselves, or by
agreement where these are not informative: the vote of a single model has the score 1 everywhere. See `Step.without`.

Without a step, its readers read `Step.replacement`: the input of a propagation, the propagated masks of
`replace_or_union`, the first input of every fusion, which is also the one that `leftover: first` trusts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any

from rvos_ensemble.adapters.core.component import unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.steps.step import Step


def dropped(problems: list[str], drop: Any, sources: Collection[str], steps: Collection[str]) -> list[str]:
    """The sources that `drop` leaves out; names of anything else are added to the problems."""
    gone = listed(drop)
    for name in gone:
        if name in steps:
            problems.append(f"drop: {name} is a step, expected sources; steps.{name}=null removes a step")
        elif name not in sources:
            problems.append(unknown_key(name, sources, "drop"))
    return gone


def listed(names: Any) -> list[str]:
    """A setting of one name or several as a list; empty for null."""
    if names is None:
        return []
    return [str(names)] if isinstance(names, (str, int)) else [str(name) for name in names]


def without_sources(config: Mapping[str, Any], steps: Mapping[str, Step], gone: Collection[str]) -> dict[str, Any]:
    """A recipe's config without some sources, as `drop` and `ablate=sources` leave them out.

    Args:
        config: the resolved recipe; it stays as it is.
        steps: its steps, in an order in which they can be computed.
        gone: names of the sources.

    Raises:
        InputError: nothing of the output is left.
    """
    config, dead = deepcopy(dict(config)), set(gone)
    changed = set(gone)  # names that are removed, or whose result differs
    for name, step in steps.items():
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
    if config["output"] in dead:
        raise InputError(f"without {', '.join(gone)} nothing is left of {config['output']}")
    config["sources"] = {name: settings for name, settings in config["sources"].items() if name not in dead}
    return config


def without_step(config: Mapping[str, Any], steps: Mapping[str, Step], gone: str) -> dict[str, Any]:
    """A recipe's config without one step; for the arguments see `without_sources`."""
    config, instead = deepcopy(dict(config)), steps[gone].replacement
    config["steps"][gone] = None
    for name, other in steps.items():
        if name == gone:
            continue
        if gone in other.inputs:
            config["steps"][name] |= other.reading({gone: instead})
    if config["output"] == gone:
        config["output"] = instead
    return config
