"""The command `list`: what recipes and `evaluate` can name."""

from __future__ import annotations

from collections.abc import Sequence

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.commands import evaluate
from rvos_ensemble.ensemble.recipe import components, loading


def run(arguments: Sequence[str]) -> int:
    """Prints every name with one line about it.

    Raises:
        InputError: arguments, of which it takes none.
    """
    if arguments:
        raise InputError(f"list takes no arguments, found {' '.join(arguments)}")
    names = {
        "recipes": loading.names(),
        "data": loading.tables(),
        "data sets": components.list_components("dataset"),
        "adapters": components.list_components("adapter"),
        "propagators": components.list_components("propagator"),
        "operations": components.list_components("op"),
        "protocols": evaluate.names(),
    }
    for title, entries in names.items():
        print(f"{title}:")
        for name, line in entries.items():
            print(f"  {name:18} {line}")
    return 0
