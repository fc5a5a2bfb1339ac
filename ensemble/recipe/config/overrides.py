"""`key=value` of the command line: which values are texts as written, and which are read as YAML.

Paths, names and sentences are texts: `out=exp #2`, `out=no` and `data.root=~` are taken literally. Numbers, switches,
lists and tables are read as in a file. The component declares what a key accepts, beside its default. `null` means no
value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import setting, text
from rvos_ensemble.ensemble.recipe.schema import Schema


def pairs(arguments: list[str] | tuple[str, ...], usage: str = "expected key=value") -> dict[str, str]:
    """{key: the text after `=`} of arguments.

    Raises:
        InputError: naming every argument without a `=`.
    """
    if broken := [a for a in arguments if "=" not in a]:
        raise InputError(f"argument {a!r}: {usage}{', without dashes' * a.startswith('-')}" for a in broken)
    return dict(a.split("=", 1) for a in arguments)


def plain(given: Mapping[str, str], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of keys that are not nested.

    Args:
        given: {key: text}.
        known: {key: `Setting` or default}; other keys stay texts, so that the caller can refuse them.
        where: prefix of messages.

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


def nested(given: Mapping[str, str], config: Any, problems: list[str]) -> Any:
    """The overrides of a recipe, as a config of their own.

    Args:
        given: {path of a key, with dots: text}.
        config: the recipe that they override, which says to which components the keys belong.
        problems: extended with what cannot be read.
    """
    values = OmegaConf.create({})

    def value_at(*keys: str) -> Any:
        return given.get(".".join(keys), lookup(config, *keys))

    schema = Schema(value_at)
    for path, written in given.items():
        try:
            value = schema.at(path.split(".")).read(written)
            OmegaConf.update(values, path, literal(value), force_add=True)
        except InputError as e:
            problems += [f"{path}: {p}" for p in e.problems]
        except (OmegaConfBaseException, ValueError, TypeError, AttributeError) as e:
            problems.append(f"{path}={written}: cannot be set: {str(e).splitlines()[0]}")
    return values


def lookup(config: Any, *keys: str) -> Any:
    """The value at a place of a config, None if it is empty."""
    for key in keys:
        config = config.get(key) if OmegaConf.is_dict(config) else None
    return config


def literal(value: Any) -> Any:
    """The value with `${` escaped, so that OmegaConf does not interpolate it."""
    if isinstance(value, str):
        return value.replace("${", "\\${")
    if isinstance(value, dict):
        return {k: literal(v) for k, v in value.items()}
    return [literal(v) for v in value] if isinstance(value, list) else value
