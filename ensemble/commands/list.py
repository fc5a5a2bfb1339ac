"""The command `list`: what recipes and `evaluate` can name."""

from __future__ import annotations

from collections.abc import Sequence

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.commands import evaluate
from rvos_ensemble.ensemble.recipe import parts, recipe_files


def run(arguments: Sequence[str]) -> int:
    """Prints every name with one line about it.

    Raises:
        InputError: arguments, of which it takes none.
    """
    if arguments:
        raise InputError(f"list takes no arguments, found {' '.join(arguments)}")
    names = {
        "recipes": recipe_files.names(),
        "data": recipe_files.tables(),
        "adapters": parts.components("adapter"),
        "propagators": parts.components("propagator"),
        "operations": parts.components("op"),
        "protocols": evaluate.names(),
    }
    for title, entries in names.items():
        print(f"{title}:")
        for name, line in entries.items():
            print(f"  {name:18} {line}")
    return 0
