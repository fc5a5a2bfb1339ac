"""The components that a recipe names: which kinds exist, and how one is made from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rvos_ensemble import adapters, propagators
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.component import Component, available, find, make
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.ensemble import steps
from rvos_ensemble.ensemble.steps.step import Step
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
