"""The setting `weights` of steps that fuse inputs: a list in the order of the inputs, or a table by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rvos_ensemble.adapters.core.component import unknown_key
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.setting import ANY_KEY, Setting
from rvos_ensemble.adapters.core.settings import either, listed, table


def weights_of(weight: Setting) -> Setting:
    """A setting with one weight per input; null for equal weights.

    Args:
        weight: what each of them may be.
    """
    by_name = table(below={ANY_KEY: weight}, what="{input: weight}")
    of_valid = replace(
        by_name, fits=lambda v: isinstance(v, Mapping) and all(weight.problem(w) is None for w in v.values())
    )
    return either(None, listed(weight, least=1), of_valid)


def in_order(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The settings of a step with its weights in the order of its inputs, and what is wrong with their names.

    >>> in_order({"inputs": ["a", "b"], "weights": {"b": 0.3, "a": 0.7}})
    ({'inputs': ['a', 'b'], 'weights': [0.7, 0.3]}, [])
    """
    weights, inputs = values.get("weights"), values.get("inputs")
    if not isinstance(weights, Mapping) or not isinstance(inputs, list):
        return values, []
    problems = [unknown_key(name, inputs, "weights") for name in weights if name not in inputs]
    if absent := [name for name in inputs if name not in weights]:
        problems.append(f"weights: none for {first_few(absent)}; give one for each input, 0 if it has no vote")
    if problems:
        return {key: value for key, value in values.items() if key != "weights"}, problems
    return {**values, "weights": [weights[name] for name in inputs]}, []
