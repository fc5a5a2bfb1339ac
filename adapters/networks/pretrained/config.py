"""Configurations of transformers as plain JSON, from files that need not be trusted.

A configuration can name code: of a hub (`auto_map`, kernels as `attn_implementation`) or of another package
(`timm_backbone`). Such entries are dropped or refused, and what remains are the sizes of the network.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.networks.pretrained.entries import sizes_only

if TYPE_CHECKING:
    from transformers import PretrainedConfig

KIND = "model_type"
MOST_LAYERS, MOST = 1000, 1 << 24  # larger numbers are mistakes, and would take hours or all memory
COUNTS = re.compile(r"(layers?|depths?|blocks|stages)$")  # ends of the names of entries that count parts of a network


def plain_config(content: Any, kinds: Collection[str], what: str, where: str) -> dict[str, Any]:
    """The entries of a configuration that describe a network.

    Args:
        content: of config.json.
        kinds: the accepted model types.
        what: what a network of these is called in messages, "a text encoder".
        where: the file, for messages.

    Raises:
        InputError: it is not a configuration, is of another kind of network, or has impossible sizes.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get(KIND), str):
        raise InputError(f"{where}: has no `{KIND}`, expected the configuration of a network of transformers")
    if content[KIND] not in kinds:
        raise InputError(
            f"{where}: describes the network {shown(content[KIND])}, which transformers does not have as {what}"
        )
    result = sizes_only(content)
    if wrong := _impossible(result):
        raise InputError(f"{where}: {wrong}")
    return result


def configuration(content: Mapping[str, Any], where: str) -> PretrainedConfig:
    """The configuration with the entries of `plain_config`.

    Raises:
        InputError: transformers cannot make sense of them.
    """
    from transformers import CONFIG_MAPPING

    content = dict(content)
    try:
        return CONFIG_MAPPING[content.pop(KIND)].from_dict(content)
    except Exception as error:  # each class checks its entries in its own way
        raise InputError(f"{where}: not the configuration of a network ({shown(str(error))})") from error


def _impossible(value: Any, name: str = "") -> str | None:
    """The sentence about a number in a value that no network has; None if there is none."""
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list):
        parts = [(name, v) for v in value]
    else:
        most = MOST_LAYERS if COUNTS.search(name) else MOST
        large = isinstance(value, int) and abs(value) > most
        return f"`{name}` is {value}, expected at most {most}" if large else None
    return next((wrong for key, part in parts if (wrong := _impossible(part, key))), None)
