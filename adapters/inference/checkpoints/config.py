"""Configs of transformers as data: the sizes of a network from config.json, without anything that names code."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.checkpoints.folder import MOST_JSON
from rvos_ensemble.adapters.networks.pretrained.entries import sizes_only

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

KIND = "model_type"
FOREIGN = ("timm_backbone", "timm_wrapper")  # networks of another package, which may download their weights
MOST = 1 << 24  # of any number: no network has more channels, words or layers
DEEPEST = 8  # nested objects


def read_config(file: Path, kinds: Collection[str]) -> dict[str, Any]:
    """The entries of a config.json that describe a network, and its `model_type`.

    Args:
        file: config.json.
        kinds: the accepted values of `model_type`.

    Raises:
        InputError: it is not a config, is one of another network, needs another package, or has impossible sizes.
    """
    content = read_json(file, MOST_JSON)
    kind = content.get(KIND) if isinstance(content, dict) else None
    if not isinstance(kind, str):
        raise InputError(f"{file}: has no `{KIND}`, expected the config of a network of transformers")
    if kind not in kinds:
        raise InputError(
            f"{file}: describes a network of the kind {shown(kind)}, expected {' or '.join(sorted(kinds))}"
        )
    if problems := list(_problems(content)):
        raise InputError(f"{file}: {problem}" for problem in problems)
    return sizes_only(content)


def make_config(values: Mapping[str, Any], network: str, file: Path) -> PreTrainedConfig:
    """The config of transformers with some values.

    Args:
        values: as `read_config` returns them, or a part of them.
        network: the name of the class in transformers that they describe.
        file: for messages.

    Raises:
        InputError: values that it does not accept.
    """
    import transformers  # here, because it takes a second

    try:
        return getattr(transformers, network).config_class.from_dict({k: v for k, v in values.items() if k != KIND})
    except Exception as error:  # each class checks its values in its own way
        raise InputError(f"{file}: describes no {network}: {reason(error)}") from error


def _problems(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """What no such config holds, one sentence each."""
    if depth > DEEPEST:
        yield f"`{name}` is nested more than {DEEPEST} deep"
    elif isinstance(value, Mapping):
        if value.get("quantization_config") is not None:
            yield "describes quantised weights; take the original ones of the model"
        if value.get(KIND) in FOREIGN or value.get("use_timm_backbone"):
            yield f"`{name}` is a network of the package timm, expected one of transformers"
        for key, part in value.items():
            yield from _problems(part, f"{name}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _problems(part, name, depth + 1)
    elif isinstance(value, (int, float)) and abs(value) > MOST:
        yield f"`{name}` is {shown(value)}, expected a number of at most {MOST}"
