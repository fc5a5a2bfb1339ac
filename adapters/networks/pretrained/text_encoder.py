"""A text encoder of transformers: BERT, DeBERTa, BART's encoder, RoBERTa, DistilBERT, MiniLM and others."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.networks.pretrained.config import KIND, encoder_config, make_config
from rvos_ensemble.adapters.networks.text import Language

if TYPE_CHECKING:
    from transformers import PretrainedConfig

WHAT = "a text encoder"


@dataclass(frozen=True)
class TextEncoder:
    """Everything about a text encoder except its weights.

    Attributes:
        config: its configuration, JSON, see `plain`.
        tokenizer: its tokenizer, JSON of the library tokenizers.
        padding: number of the padding token.
        longest: maximum number of tokens of a sentence, special tokens included.
    """

    config: str
    tokenizer: str
    padding: int
    longest: int

    @property
    def language(self) -> Language:
        """What `tokenize` and `text.encode` need to know; sentences go to the tokenizer as they are."""
        name = json.loads(self.config)[KIND]
        return Language(name, "", (("tokenizer.json",),), ("", self.padding), "", self.longest, Path())

    def network(self) -> nn.Module:
        """The text encoder, whose weights have no values yet: drawing some takes seconds, and they are loaded."""
        from transformers.initialization import no_init_weights

        config = make_config(json.loads(self.config), WHAT)
        with no_init_weights():
            return encoder_of(class_of(config)._from_config(config, **without_pooler(config)))

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of word embeddings, and of channels."""
        return sizes_of(make_config(json.loads(self.config), WHAT), WHAT)


def kinds() -> set[str]:
    """The model types that may be text encoders."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return set(MODEL_MAPPING_NAMES)


def plain(content: Any, where: str) -> dict[str, Any]:
    """The entries of a config.json that describe such a network, see `encoder_config`."""
    return encoder_config(content, kinds(), WHAT, where)


def class_of(config: PretrainedConfig) -> Any:
    """The class of the network without task-specific parts."""
    from transformers import MODEL_MAPPING

    found = MODEL_MAPPING[type(config)]
    return found[0] if isinstance(found, (list, tuple)) else found


def sizes_of(config: PretrainedConfig, where: str) -> tuple[int, int]:
    """Number of word embeddings, and of channels.

    Raises:
        InputError: the network has no words, or none at its top level, as CLIP with its two encoders.
    """
    words, channels = (getattr(config, name, None) for name in ("vocab_size", "hidden_size"))
    if not isinstance(words, int) or not isinstance(channels, int):
        raise InputError(f"{where}: the network {config.model_type} has no vocabulary or width, so it is not {WHAT}")
    return words, channels


def without_pooler(config: PretrainedConfig) -> dict[str, bool]:
    """The arguments that leave out the layer above the first token, which only whole-sentence tasks use."""
    known: Callable = class_of(config).__init__
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(known).parameters else {}


def encoder_of(model: nn.Module) -> nn.Module:
    """The encoder of a network that may have a decoder."""
    return (model.get_encoder() if model.config.is_encoder_decoder else model).eval()
