"""YAML of a `key=value` argument, read as recipes are read by OmegaConf."""

from __future__ import annotations

import re
from typing import Any

import yaml

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown


def read_yaml(text: str, names: bool = False) -> Any:
    """The value of a YAML text.

    Args:
        text: the YAML.
        names: keeps scalars as strings: 0123 and no are ids of videos.

    Raises:
        InputError: not YAML.

    >>> read_yaml("2e-4"), read_yaml("[a, 1]"), read_yaml("[no, 0123]", names=True)
    (0.0002, ['a', 1], ['no', '0123'])
    """
    try:
        return yaml.load(text, _Names if names else _Values)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{shown(text)} cannot be read: {str(error).splitlines()[0]}") from None


class _Names(yaml.BaseLoader):
    """YAML whose scalars are strings."""


class _Values(yaml.SafeLoader):
    """YAML with the scalars of OmegaConf: 1e-4 is a number, 2024-01-01 a string."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Values.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?)$"
        r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
