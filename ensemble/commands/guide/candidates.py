"""The words that may stand at the end of a command, from the tables that define verbs, recipes and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import setting
from rvos_ensemble.ensemble.commands import verbs
from rvos_ensemble.ensemble.commands.guide.keys import components_of, key_tables
from rvos_ensemble.ensemble.commands.guide.tables import KeyTable
from rvos_ensemble.ensemble.recipe import components, schema
from rvos_ensemble.ensemble.recipe.config import loading

SHELLS = ("bash", "zsh", "fish")  # for each there is a script beside this file
WEIGHTS = ("verify", "export", "family=")


def candidates(typed: Sequence[str]) -> list[str]:
    """Words for the last place.

    Args:
        typed: the words after the name of the program; the last is incomplete.
    """
    *before, last = typed
    if not before:
        recipes = [] if "=" in last else [*loading.names(), *verbs.VERBS, "--help", "--version"]
        return [*recipes, *_pairs("run", last, {})]
    try:
        verb, rest = verbs.parse(before)
    except InputError:
        return []
    given = dict(a.split("=", 1) for a in rest if "=" in a)
    if verb == "help":
        return [*verbs.VERBS] if not rest else []
    if verb == "list":
        return _listed() if not rest else []
    if verb == "completion":
        return [*SHELLS] if not rest else []
    if verb == "weights":
        return [*WEIGHTS]
    recipes = [*loading.names()] if verb in verbs.OF_RECIPES and not rest else []
    return [*recipes, "--help", *_pairs(verb, last, given)]


def _pairs(verb: str, last: str, given: Mapping[str, str]) -> list[str]:
    """`key=` for every key, and `key=value` for keys whose values have names."""
    key, equals, _ = last.partition("=")
    if equals:
        return [f"{key}={name}" for name in _values(verb, key)]
    tables = key_tables(verb, [f"{k}={v}" for k, v in given.items()])
    if verb in verbs.OF_RECIPES and any(place.startswith(last.partition(".")[0]) for place in schema.COMPONENTS):
        tables += components_of(given)
    words = [f"{table.prefix}{key}=" for table in tables if table.optional for key in _keys(table)]
    if verb == "ablate":
        words.append("ablate=")
    if verb == "train":
        words += [f"{kind}=" for kind in _trainable()]
    below = {word.partition(".")[0] for word in words if "." in word} & {*schema.TABLES}
    done = below | {*given} - {"ablate"}  # one command may have several `ablate=`
    return [_to_next_dot(word, len(last)) for word in words if word.rstrip("=") not in done]


def _to_next_dot(word: str, typed: int) -> str:
    """A word up to the first dot behind what is typed, as a path up to the next folder.

    >>> _to_next_dot("steps.final.threshold=", 2), _to_next_dot("steps.final.threshold=", 6), _to_next_dot("out=", 0)
    ('steps.', 'steps.final.', 'out=')
    """
    dot = word.find(".", typed)
    return word if dot < 0 else word[: dot + 1]


def _keys(table: KeyTable) -> list[str]:
    """The keys of a table, and those below its tables."""
    below = [f"{key}.{k}" for key, value in table.settings.items() for k in setting(value).below if k != "*"]
    return [*table.settings, *below]


def _values(verb: str, key: str) -> list[str]:
    """The names that a key accepts; nothing for other keys."""
    last = key.rpartition(".")[2]
    if verb == "ablate" and key == "ablate":
        from rvos_ensemble.ensemble.ablation.settings import NAMED

        return [*NAMED]
    if key == "recipe":
        return [*loading.names()]
    if key == "data" and verb in verbs.OF_RECIPES:
        return [*loading.tables()]
    if key == "protocol" and verb == "evaluate":
        from rvos_ensemble.ensemble.commands import evaluate

        return [*evaluate.names()]
    if last in components.KINDS and verb in verbs.OF_RECIPES:
        return [*components.list_components(last)]
    return [*_trainable().get(key, ())] if verb == "train" else []


def _trainable() -> Mapping[str, Mapping]:
    from rvos_ensemble.ensemble.commands.families import trainable

    return trainable()


def _listed() -> list[str]:
    """Kinds, and the names of all lists."""
    from rvos_ensemble.ensemble.commands.list import KINDS

    return [*(kind.replace(" ", "-") for kind in KINDS), *(name for names, _ in KINDS.values() for name in names())]
