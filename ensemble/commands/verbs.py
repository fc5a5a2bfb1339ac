"""The verbs of the command line, and what the first words of a command mean."""

from __future__ import annotations

from collections.abc import Sequence

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import did_you_mean, shown
from rvos_ensemble.ensemble.recipe.config.loading import SUFFIXES, names

VERBS = (  # each is a file beside this one
    "run",
    "check",
    "ablate",
    "evaluate",
    "compare",
    "train",
    "list",
    "weights",
    "completion",
    "help",
)
OF_RECIPES = ("run", "check", "ablate")  # verbs that take a recipe
HELP = ("-h", "--help")


def parse(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The verb and its arguments. `stage2` is short for `run recipe=stage2`, `check stage2` for `check recipe=stage2`.

    >>> parse(["stage2", "out=x"]), parse(["ablate", "mine.yaml"]), parse(["train", "--help", "segmenter=soc"])
    (('run', ['recipe=stage2', 'out=x']), ('ablate', ['recipe=mine.yaml']), ('help', ['train', 'segmenter=soc']))

    Args:
        arguments: as typed, at least one.

    Raises:
        InputError: the first one is no verb, no recipe and no `key=value`.
    """
    verb, *rest = arguments
    if verb in HELP:
        return "help", rest
    if verb not in VERBS:
        if "=" not in verb and not verb.endswith(SUFFIXES) and verb not in names():
            raise unknown(verb)
        verb, rest = "run", [*arguments]
    if verb in OF_RECIPES and rest and not any(a.startswith("recipe=") for a in rest):
        first = rest[0]
        if "=" not in first and not first.startswith("-"):
            rest[0] = f"recipe={first}"
    if any(a in HELP for a in rest):
        return "help", [verb, *(a for a in rest if a not in HELP)]
    return verb, rest


def unknown(verb: str) -> InputError:
    """The error for a word that is neither a verb nor a recipe."""
    return InputError(
        f"no command {shown(verb)}{did_you_mean(verb, [*VERBS, *names()])} There are: {', '.join(VERBS)}; the name of "
        "a recipe or key=value alone runs a recipe; --help explains them"
    )
