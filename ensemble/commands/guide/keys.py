"""Which tables of keys a verb has; the arguments typed so far add those of the components that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import setting
from rvos_ensemble.ensemble.commands.guide import comments
from rvos_ensemble.ensemble.commands.guide.tables import KeyTable, of_component, of_module
from rvos_ensemble.ensemble.recipe import components, schema, team
from rvos_ensemble.ensemble.recipe.config.loading import read

BELOW = {"engine": (schema, "ENGINE"), "grouping": (schema.grouping, "SETTINGS"), "team": (team, "TEAM")}


def key_tables(verb: str, arguments: Sequence[str] = ()) -> list[KeyTable]:
    """The keys of a verb.

    Args:
        verb: one of `VERBS`.
        arguments: those that follow it; what cannot be read is ignored.
    """
    given = dict(a.split("=", 1) for a in arguments if "=" in a)
    makers = {
        "run": _of_recipe,
        "check": _of_recipe,
        "ablate": _of_ablate,
        "evaluate": _of_evaluate,
        "train": _of_train,
        "compare": _of_compare,
    }
    return makers[verb](given) if verb in makers else []


def components_of(given: Mapping[str, str]) -> list[KeyTable]:
    """The settings of every component of the recipe that is given, and of its data set."""
    tables = []
    for place, kind, name in named_components(given):
        try:
            cls = components.class_of(kind, name)
        except InputError:
            continue
        tables.append(of_component(cls, f"{place}.KEY, {kind} {name}", f"{place}."))
    return tables


def named_components(given: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(place, kind, name) of the components of the recipe that is given: ("steps.final", "op", "vote")."""
    try:
        _, config, _ = read([f"{key}={value}" for key, value in given.items()])
    except InputError:
        return []
    found = []
    for first, kind in schema.COMPONENTS.items():
        table = config.get(first) or {}
        entries = {first: table} if first == "data" else {f"{first}.{name}": below for name, below in table.items()}
        for place, settings in entries.items():
            fallback = place.rpartition(".")[2] if kind == "propagator" else None
            name = settings.get(kind, fallback) if isinstance(settings, Mapping) else fallback
            found += [(place, kind, name)] if isinstance(name, str) else []
    return found


def _of_recipe(given: Mapping[str, str]) -> list[KeyTable]:
    top = {"recipe": setting("???"), **schema.DEFAULTS}
    words = {"recipe": "the name of a recipe, or the path of a .yaml file; required"}
    tables = [KeyTable("keys of a recipe", top, lambda: words | comments.of_name(schema, "DEFAULTS"))]
    return tables + [of_module(*place, f"{key}.KEY", f"{key}.") for key, place in BELOW.items()]


def _of_ablate(given: Mapping[str, str]) -> list[KeyTable]:
    from rvos_ensemble.ensemble.ablation import settings
    from rvos_ensemble.ensemble.ablation.search.space import FORMS

    return [
        KeyTable("ablate=NAME, one or several of", settings.NAMED, lambda: settings.NAMED, "ablate=", optional=False),
        KeyTable("search.KEY=VALUES, for one or several keys", FORMS, lambda: FORMS, "search.KEY=", optional=False),
        of_module(settings, "OPTIONS", "options", "ablate."),
        *_of_recipe(given),
    ]


def _of_evaluate(given: Mapping[str, str]) -> list[KeyTable]:
    from rvos_ensemble.ensemble.commands import evaluate

    tables = [of_module(evaluate, "ARGUMENTS", "keys of evaluate")]
    if given.get("protocol"):
        try:
            protocol = find(given["protocol"], evaluate.Protocol, evaluate.protocols, evaluate.GROUP)
        except InputError:
            return tables
        tables.append(of_component(protocol, f"options of protocol {given['protocol']}"))
    return tables


def _of_train(given: Mapping[str, str]) -> list[KeyTable]:
    from rvos_ensemble.adapters.training.loop import settings as loop
    from rvos_ensemble.ensemble.commands import train

    try:
        request = train.parse([f"{key}={value}" for key, value in given.items()])
    except InputError:  # no network yet
        return [of_module(loop, "DEFAULTS", "keys of every training")]

    def explain() -> dict[str, str]:
        own = {k: text for k, text in comments.of_name(request.trainer, "DEFAULTS").items() if text}
        return comments.of_name(loop, "DEFAULTS") | own

    return [KeyTable(f"keys of {request.where}", train.settings_of(request.trainer), explain)]


def _of_compare(given: Mapping[str, str]) -> list[KeyTable]:
    from rvos_ensemble.ensemble.commands import compare

    return [of_module(compare, "ARGUMENTS", "keys of compare")]
