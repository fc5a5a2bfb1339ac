"""`key=value` of the command line: which values are texts as they stand, and which are read as YAML.

Paths, names and sentences are texts: `out=exp #2`, `out=no`, `data.root=~` mean what they say. Numbers, switches, lists
and tables are read as in a file. What a key takes is said by its component, beside its default. `null` is no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import REQUIRED, Setting, setting, table, text
from rvos_ensemble.ensemble.recipe.parts import class_of

NAMED = {"sources": "adapter", "propagators": "propagator"}  # tables of components: the key that says which


def pairs(arguments: list[str] | tuple[str, ...], usage: str = "expected key=value") -> dict[str, str]:
    """{key: text behind it} of arguments.

    Raises:
        InputError: naming every one without a `=`.
    """
    if broken := [a for a in arguments if "=" not in a]:
        raise InputError(f"argument {a!r}: {usage}" for a in broken)
    return dict(a.split("=", 1) for a in arguments)


def plain(given: Mapping[str, str], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values of keys that are not nested.

    Args:
        given: {key: text}.
        known: {key: `Setting` or default}; other keys are texts, for whoever refuses them.
        where: for messages.

    Raises:
        InputError: naming every text that cannot be read.
    """
    values, problems = {}, []
    for key, written in given.items():
        try:
            values[key] = setting(known.get(key, text())).read(written)
        except InputError as e:
            problems += [f"{where}: {key}: {p}" for p in e.problems]
    if problems:
        raise InputError(problems)
    return values


def nested(given: Mapping[str, str], config: Any, top: Mapping[str, Any], problems: list[str]) -> Any:
    """The overrides of a recipe, as a config of their own.

    Args:
        given: {path of a key, with dots: text}.
        config: the recipe that they override, which says which components its keys belong to.
        top: {key of a recipe: its default or `Setting`; a dict of such for a table}.
        problems: filled with what cannot be read.
    """
    values = OmegaConf.create({})
    for path, written in given.items():
        try:
            value = _setting_of(path, given, config, top).read(written)
            OmegaConf.update(values, path, _literal(value), force_add=True)
        except InputError as e:
            problems += [f"{path}: {p}" for p in e.problems]
        except (OmegaConfBaseException, ValueError, TypeError, AttributeError) as e:
            problems.append(f"{path}={written}: cannot be set: {str(e).splitlines()[0]}")
    return values


def _literal(value: Any) -> Any:
    """The value with nothing in it that OmegaConf would take for a reference."""
    if isinstance(value, str):
        return value.replace("${", "\\${")
    if isinstance(value, dict):
        return {k: _literal(v) for k, v in value.items()}
    return [_literal(v) for v in value] if isinstance(value, list) else value


def _setting_of(path: str, given: Mapping[str, str], config: Any, top: Mapping[str, Any]) -> Setting:
    """What the key at a path takes; of keys that do not exist a text, for the recipe to refuse."""
    first, *rest = path.split(".")
    if not rest:
        return table() if isinstance(top.get(first), dict) else setting(top.get(first, text()))
    if first == "data":
        name = given.get("data.dataset", _at(config, "data", "dataset"))
        return text() if rest == ["dataset"] else _below(rest, _defaults("dataset", name))
    if first in NAMED:
        kind, (name, *keys) = NAMED[first], rest
        if keys in ([], [kind]):
            return text() if keys else table(None)
        called = given.get(f"{first}.{name}.{kind}", _at(config, first, name, kind))
        return _below(keys, _defaults(kind, called or (name if kind == "propagator" else None)))
    if first == "steps":
        name, *keys = rest
        if keys in ([], ["op"]):
            return text() if keys else table(None)
        op = given.get(f"steps.{name}.op", _at(config, "steps", name, "op"))
        return _below(keys, _defaults("op", op))
    return _below(rest, top[first] if isinstance(top.get(first), dict) else {})


def _defaults(kind: str, name: Any) -> Mapping[str, Any]:
    try:
        return class_of(kind, name).defaults if isinstance(name, str) else {}
    except InputError:  # told when the recipe is made
        return {}


def _below(keys: list[str], known: Mapping[str, Any]) -> Setting:
    """The setting at a path within a table; what is not known there is read as in a file."""
    first, *rest = keys
    if first not in known:
        return text()
    found = setting(known[first])
    if not rest:
        return found
    return _below(rest, found.below) if rest[0] in found.below else Setting(REQUIRED, "a value", lambda v: True)


def _at(config: Any, *keys: str) -> Any:
    for key in keys:
        config = config.get(key) if OmegaConf.is_dict(config) else None
    return config
