"""Which entries of a config.json of transformers describe a network, and which name code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# which code runs (of a hub, kernels), in which precision, and where the file comes from
NO_SIZES = re.compile(
    r"_.*|auto_map|architectures|.*attn_implementation|experts_implementation|custom_pipelines|quantization_config"
    r"|(torch_)?dtype|transformers_version|tokenizer_class"
)


def sizes_only(value: Any) -> Any:
    """A part of a config without the entries, at any depth, that do not describe the network itself.

    >>> sizes_only({"hidden_size": 8, "auto_map": {"AutoModel": "code.Net"}, "parts": [{"torch_dtype": "bfloat16"}]})
    {'hidden_size': 8, 'parts': [{}]}
    """
    if isinstance(value, Mapping):
        return {key: sizes_only(part) for key, part in value.items() if not NO_SIZES.fullmatch(key)}
    return [sizes_only(part) for part in value] if isinstance(value, list) else value
