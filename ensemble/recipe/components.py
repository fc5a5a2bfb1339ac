"""The components that a recipe names: which kinds exist, and how one is made from its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rvos_ensemble import adapters, propagators
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.component import Component, available, find, make, unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import default_of
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.ensemble import steps
from rvos_ensemble.ensemble.recipe.validation import attempt, name_problems
from rvos_ensemble.ensemble.steps.step import Step
from rvos_ensemble.propagators.core.key_frame_settings import with_default
from rvos_ensemble.propagators.core.propagator import Propagator

# the key of a recipe that names a component -> its base class, the package of the built-in ones, the entry point group
KINDS: dict[str, tuple[type[Component], Any, str]] = {
    "adapter": (Adapter, adapters, "rvos_ensemble.adapters"),
    "propagator": (Propagator, propagators, "rvos_ensemble.propagators"),
    "dataset": (Dataset, adapters.datasets, "rvos_ensemble.datasets"),
    "op": (Step, steps, "rvos_ensemble.steps"),
}


def class_of(kind: str, name: str) -> type[Component]:
    """The class of a component.

    Args:
        kind: a key of `KINDS`.
        name: of the component, or the path of a .py file.

    Raises:
        InputError: no component has that name (the message lists those that exist), or its file is broken.
    """
    return find(name, *KINDS[kind])


def make_component(kind: str, settings: Any, where: str) -> Component:
    """The component that `{kind: NAME, settings...}` describes.

    Raises:
        InputError: no such component, or settings that it does not accept.
    """
    if not isinstance(settings, Mapping) or kind not in settings:
        raise InputError(f"{where}: expected {{{kind}: NAME, settings...}}, found {shown(settings)}")
    if not isinstance(settings[kind], str):
        raise InputError(f"{where}: {kind} is {shown(settings[kind])}, expected a name or the path of a .py file")
    try:
        return make(class_of(kind, settings[kind]), {k: v for k, v in settings.items() if k != kind})
    except InputError as e:
        raise InputError(f"{where}: {p}" for p in e.problems) from None


def list_components(kind: str) -> dict[str, str]:
    """{name: its description in one line} of all components of a kind."""
    return available(*KINDS[kind])


@dataclass
class Parts:
    """Makes sources and propagators, each only once.

    Attributes:
        problems: extended with what is wrong with them.
        made: {settings: component}, read and extended.
    """

    problems: list[str]
    made: dict[str, Component]

    def make(self, kind: str, settings: Any, where: str) -> Component | None:
        """The component, None if it cannot be made."""
        key = json.dumps([kind, settings])
        if key not in self.made:
            component = attempt(self.problems, make_component, kind, settings, where)
            if component is None:
                return None
            self.made[key] = component
        return self.made[key]


def make_propagators(parts: Parts, steps: Mapping[str, Step], written: Mapping[str, Any]) -> dict[str, Any]:
    """The propagators that the steps use, by name.

    Args:
        parts: makes them, and collects their problems.
        steps: the steps that could be made.
        written: the table `propagators` of the recipe.
    """
    made = {}
    for name in sorted({s.propagator for s in steps.values() if s.propagator}):
        if name not in written:
            parts.problems.append(unknown_key(name, written, "propagators"))
            continue
        settings = {} if written[name] is None else written[name]
        where = f"propagator {name}"
        if not isinstance(settings, Mapping):
            parts.problems.append(f"{where}: expected {{propagator: NAME, settings...}}, found {shown(settings)}")
            continue
        made[name] = parts.make("propagator", {"propagator": name, **settings}, where)
    return made


def make_step(name: str, settings: Any, inherited: Mapping[str, Any]) -> Step:
    """The step of that name, with the grouping and the key-frame rule `without_scores` that it inherits of the recipe.

    Raises:
        InputError: naming everything that is wrong with its name, op and settings.
    """
    problems = name_problems("step", name)
    if not isinstance(settings, Mapping):
        raise InputError([*problems, f"step {name}: expected {{op: NAME, settings...}}, found {shown(settings)}"])
    settings = dict(settings)
    op = settings.pop("op", None)
    if not isinstance(op, str):
        ops = ", ".join(list_components("op"))
        raise InputError(
            [*problems, f"step {name}: op is {shown(op)}, expected one of {ops}, or the path of a .py file"]
        )
    kind = attempt(problems, _op, op, name)
    if kind is None:
        raise InputError(problems)
    if "grouping" in kind.defaults and isinstance(settings.get("grouping") or {}, Mapping):
        settings["grouping"] = {**inherited["grouping"], **(settings.get("grouping") or {})}
    if "key_frame" in kind.defaults and inherited["without_scores"]:
        rule = settings.get("key_frame", default_of(kind.defaults["key_frame"]))
        settings["key_frame"] = with_default(rule, inherited["without_scores"])
    step = attempt(problems, make, kind, settings, name)
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
