"""The command `help`: what a verb does, its keys with their defaults, and examples.

    run_ensemble.py help evaluate                              the same as `evaluate --help`
    run_ensemble.py evaluate protocol=mevis --help             with the options of a protocol
    run_ensemble.py train segmenter=soc --help                 with the settings of a training
    run_ensemble.py stage2 --help                              with the sources and steps of a recipe

`run_ensemble.py --help` lists the verbs.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module

from rvos_ensemble.ensemble.commands.guide.keys import key_tables, named_components
from rvos_ensemble.ensemble.commands.verbs import OF_RECIPES, VERBS, unknown


def run(arguments: Sequence[str]) -> int:
    """Prints the help of a verb.

    Raises:
        InputError: no such verb.
    """
    verb, *rest = arguments or ["help"]
    if verb not in VERBS:
        raise unknown(verb)
    print(text(verb, rest))
    return 0


def text(verb: str, arguments: Sequence[str] = ()) -> str:
    """The help of a verb.

    Args:
        verb: one of `VERBS`.
        arguments: those that follow it; they add the keys of what they name.
    """
    parts = [inspect.getdoc(import_module(f"rvos_ensemble.ensemble.commands.{verb}"))]
    tables = key_tables(verb, arguments)
    if verb in OF_RECIPES and verb != "run":
        shared = [table.title for table in key_tables("run")]
        tables = [table for table in tables if table.title not in shared]
    parts += [table.text() for table in tables]
    if verb in OF_RECIPES:
        given = dict(a.split("=", 1) for a in arguments if "=" in a)
        lines = [f"  {place}.KEY: `list {name}`" for place, _, name in named_components(given)]
        parts += [] if verb == "run" else ["Keys of a recipe: `run_ensemble.py help run`."]
        parts += ["\n".join(["settings of the recipe's components:", *lines])] if lines else [COMPONENTS]
    return "\n\n".join(parts)


COMPONENTS = (
    "Each source, propagator and step has settings of its own, such as sources.soc.weights or steps.final.threshold:\n"
    "`run_ensemble.py stage2 --help` names those of a recipe, `run_ensemble.py list vote` shows those of one operation."
)
