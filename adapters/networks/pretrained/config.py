"""Configs of transformers as data: the sizes of a network, from files that need not be trusted.

A config can name code: of a hub (`auto_map`, kernels as `attn_implementation`) or of another package
(`timm_backbone`). Such entries are dropped or refused, and what remains are the sizes of the network. All configs of
transformers, of whole networks, encoders and trackers, are read by these functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.files.torch_file import reason

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

KIND = "model_type"
FOREIGN = ("timm_backbone", "timm_wrapper")  # networks of another package, which may download their weights
MOST_LAYERS, MOST = 1000, 1 << 24  # larger numbers are mistakes, and would take hours or all memory
COUNTS = re.compile(r"(.*_)?(n?layers?|depths?|blocks|stages)")  # names of entries that count parts of a network
NO_LIMIT = re.compile(r".*theta")  # bases of frequencies, which take no memory
LABELS = ("id2label", "label2id")  # their keys are arbitrary
DEEPEST = 8  # nested objects
# which code runs (of a hub, kernels), in which precision, and where the file comes from
NO_SIZES = re.compile(
    r"_.*|auto_map|architectures|.*attn_implementation|experts_implementation|custom_pipelines|quantization_config"
    r"|(torch_)?dtype|transformers_version|tokenizer_class"
)

# what is wrong with an entry, given its dotted name ("" for the whole config) and its value; None if nothing is
Rule = Callable[[str, Any], "str | None"]


def of_transformers(name: str, value: Any) -> str | None:
    """Refuses parts that are networks of the package timm."""
    if isinstance(value, Mapping) and (value.get(KIND) in FOREIGN or value.get("use_timm_backbone")):
        return f"`{name}` is a network of the package timm, expected one of transformers"
    return None


def not_quantised(name: str, value: Any) -> str | None:
    """Refuses quantised weights."""
    if isinstance(value, Mapping) and value.get("quantization_config") is not None:
        return "describes quantised weights; take the original ones of the model"
    return None


def numbers_up_to(most: int) -> Rule:
    """Refuses larger numbers, and more than `MOST_LAYERS` layers."""

    def rule(name: str, value: Any) -> str | None:
        key = name.rpartition(".")[2]
        limit = min(most, MOST_LAYERS) if COUNTS.fullmatch(key) else most
        large = type(value) in (int, float) and not abs(value) <= limit and not NO_LIMIT.fullmatch(key)  # NaN, too
        return f"`{name}` is {shown(value)}, expected a number of at most {limit}" if large else None

    return rule


RULES = (of_transformers, not_quantised, numbers_up_to(MOST))


def kind_of(content: Any, kinds: Collection[str], where: str, other: Callable[[str], str]) -> str:
    """The `model_type` of a config.

    Args:
        content: of config.json.
        kinds: the accepted values.
        where: the file, for messages.
        other: from any other value to the sentence about it.

    Raises:
        InputError: it is not a config, or is one of another kind of network.
    """
    kind = content.get(KIND) if isinstance(content, Mapping) else None
    if not isinstance(kind, str):
        raise InputError(f"{where}: has no `{KIND}`, expected the config of a network of transformers")
    if kind not in kinds:
        raise InputError(f"{where}: {other(kind)}")
    return kind


def plain_config(content: Mapping[str, Any], where: str, rules: Sequence[Rule] = RULES) -> dict[str, Any]:
    """The entries of a config that describe a network, and its `model_type`.

    Args:
        content: of config.json, or a part of it.
        where: the file, for messages.
        rules: for each entry at any depth.

    Raises:
        InputError: everything that the rules refuse.
    """
    if problems := list(_problems(content, rules)):
        raise InputError(f"{where}: {problem}" for problem in dict.fromkeys(problems))
    return sizes_only(content)


def encoder_config(content: Any, kinds: Collection[str], what: str, where: str) -> dict[str, Any]:
    """The entries of the config of an encoder, see `kind_of` and `plain_config`.

    Args:
        content: of config.json.
        kinds: the accepted values of `model_type`.
        what: what a network of these is called in messages, "a text encoder".
        where: the file, for messages.
    """
    kind_of(
        content,
        kinds,
        where,
        lambda kind: f"describes the network {shown(kind)}, which transformers does not have as {what}",
    )
    return plain_config(content, where)


def make_config(
    values: Mapping[str, Any],
    where: str,
    kind: str | None = None,
    complaint: str = "not the configuration of a network",
) -> PreTrainedConfig:
    """The config of transformers with some values.

    Args:
        values: as `plain_config` returns them, or a part of them.
        where: the file, for messages.
        kind: the `model_type` of the network; None for that of the values.
        complaint: what the message says about values that transformers does not accept.

    Raises:
        InputError: such values.
    """
    from transformers import CONFIG_MAPPING  # here, because it takes a second

    try:
        return CONFIG_MAPPING[kind or values[KIND]].from_dict({k: v for k, v in values.items() if k != KIND})
    except Exception as error:  # each class checks its entries in its own way
        raise InputError(f"{where}: {complaint}: {reason(error)}") from error


def sizes_only(value: Any) -> Any:
    """A part of a config without the entries, at any depth, that do not describe the network itself.

    >>> sizes_only({"hidden_size": 8, "auto_map": {"AutoModel": "code.Net"}, "parts": [{"torch_dtype": "bfloat16"}]})
    {'hidden_size': 8, 'parts': [{}]}
    """
    if isinstance(value, Mapping):
        return {key: sizes_only(part) for key, part in value.items() if not NO_SIZES.fullmatch(key)}
    return [sizes_only(part) for part in value] if isinstance(value, list) else value


def _problems(value: Any, rules: Sequence[Rule], name: str = "", depth: int = 0) -> Iterator[str]:
    """What no such config holds, one sentence each."""
    if depth > DEEPEST:
        yield f"`{name}` is nested more than {DEEPEST} deep"
        return
    yield from filter(None, (rule(name, value) for rule in rules))
    if isinstance(value, Mapping):
        for key, part in value.items():
            if key not in LABELS:
                yield from _problems(part, rules, f"{name}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _problems(part, rules, name, depth + 1)
