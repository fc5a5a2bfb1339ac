"""Finds network families: those of this package, installed ones, and files of the user's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from types import ModuleType

from torch import Tensor

from rvos_ensemble.adapters.core.component import available, find
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import did_you_mean, shown
from rvos_ensemble.adapters.inference.checkpoints.family import Family

GROUP = "rvos_ensemble.families"  # of entry points


def find_family(name: str, *packages: ModuleType) -> Family:
    """The family called `name`.

    Args:
        name: a file in one of the packages, an entry point, or the path of a .py file.
        packages: folders of families, searched in this order.

    Raises:
        InputError: no such family (those that exist are listed), or a file that cannot be used.
    """
    if name.endswith(".py"):
        return find(name, Family, packages[0], GROUP)()
    known = families(*packages)
    if name not in known:
        raise InputError(
            f"no family is called {shown(name)}{did_you_mean(name, known)} There are: {', '.join(known)}; or give the "
            "path of a .py file"
        )
    return known[name]


def families(*packages: ModuleType) -> dict[str, Family]:
    """All families by name, without those of installed packages that cannot be loaded."""
    made: dict[str, Family] = {}
    for package in packages:
        for name in available(Family, package, GROUP):
            with contextlib.suppress(InputError):  # a broken package must not hide the others
                made.setdefault(name, find(name, Family, package, GROUP)())
    return made


def recognise(weights: Mapping[str, Tensor], known: Iterable[Family]) -> Family | None:
    """The family that these weights belong to; None if no family recognises them."""
    for family in known:
        try:
            if family.recognises(weights):
                return family
        except Exception:  # of an installed package, whose code does not expect weights of other networks
            if family.is_ours:
                raise
    return None
