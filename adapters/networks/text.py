"""Language models: RoBERTa for ReferFormer, MUTR and SOC, BERT for UNINEXT.

The checkpoint of a network holds the weights of its language model, so the model is built from its geometry and nothing
is downloaded. Only the tokenizer is a separate file, see `adapters/inference/tokenization.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.interface import Text

WEIGHTS = Path(__file__).parents[1] / "weights"  # those that are part of the package
WORDS = "embeddings.word_embeddings.weight"  # name of the word embeddings in a language model


@dataclass(frozen=True)
class Language:
    """A family of language models and its tokenizer.

    Attributes:
        name, owner: on the Hugging Face hub.
        files: alternative sets of tokenizer files, one of which is needed.
        padding: the padding token and its required number.
        unknown: the token of unknown words.
        longest: the maximum number of tokens, the two special ones around a sentence included.
        cuts: whether the official code truncates longer sentences (UNINEXT), or fails on them for lack of positions.
        small: folder of the word-level tokenizer in this package, for our own small weights.
        deletes, spaces: characters that the official code removes or replaces by a space, after lowercasing.
    """

    name: str
    owner: str
    files: tuple[tuple[str, ...], ...]
    padding: tuple[str, int]
    unknown: str
    longest: int
    small: Path
    cuts: bool = False
    deletes: str = ""
    spaces: str = ""

    def clean(self, sentence: str) -> str:
        """The sentence as the official code passes it to the tokenizer.

        >>> BERT.clean("The left-most dog, running.")
        'the left most dog running'
        >>> ROBERTA.clean("The left-most dog.")
        'The left-most dog.'
        """
        if not self.deletes:
            return sentence
        table = {ord(c): None for c in self.deletes} | {ord(c): " " for c in self.spaces}
        return " ".join(sentence.lower().translate(table).split())


ROBERTA = Language(
    "roberta-base",
    "FacebookAI",
    (("tokenizer.json",), ("vocab.json", "merges.txt")),
    ("<pad>", 1),
    "<unk>",
    longest=512,
    small=WEIGHTS / "roberta_nano",
)
BERT = Language(
    "bert-base-uncased",
    "google-bert",
    (("tokenizer.json",), ("vocab.txt",)),
    ("[PAD]", 0),
    "[UNK]",
    longest=256,
    small=WEIGHTS / "bert_nano",
    cuts=True,
    deletes=".,'!?\"()*#:;",
    spaces="-/",
)


def roberta(vocabulary: int = 50265, layers: int = 12, positions: int = 514, hidden: int = 768) -> nn.Module:
    """RoBERTa with its pooler, of the base geometry by default, with random weights."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        **_widths(hidden),
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        max_position_embeddings=positions,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    return RobertaModel(config, add_pooling_layer=True).eval()


def bert(vocabulary: int = 30522, layers: int = 12, positions: int = 512, hidden: int = 768) -> nn.Module:
    """BERT without pooler, of the base geometry by default, with random weights."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        **_widths(hidden), vocab_size=vocabulary, num_hidden_layers=layers, max_position_embeddings=positions
    )
    return BertModel(config, add_pooling_layer=False).eval()


def _widths(hidden: int) -> dict[str, int]:
    """Settings that follow from the width: 12 heads for 768 channels, 4 for our own narrow models."""
    return {
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_attention_heads": max(4, hidden // 64),
    }


def like(weights: Mapping[str, Tensor], prefix: str, language: Language) -> nn.Module:
    """A language model with the geometry of a checkpoint's weights.

    Args:
        weights: of the whole checkpoint.
        prefix: beginning of the names of the language model's weights, such as "text_encoder.".
        language: ROBERTA or BERT.
    """
    layers = {key.removeprefix(f"{prefix}encoder.layer.").partition(".")[0] for key in weights if ".layer." in key}
    geometry = {
        "vocabulary": len(weights[prefix + WORDS]),
        "hidden": len(weights[f"{prefix}embeddings.LayerNorm.weight"]),
        "positions": len(weights[f"{prefix}embeddings.position_embeddings.weight"]),
        "layers": sum(layer.isdecimal() for layer in layers),
    }
    return (roberta if language is ROBERTA else bert)(**geometry)


def fill_buffers(model: nn.Module) -> None:
    """Fills the buffers of a language model built on the meta device that no checkpoint holds."""
    embeddings = model.embeddings
    positions = embeddings.position_embeddings.num_embeddings
    for name, buffer in (("position_ids", torch.arange(positions)), ("token_type_ids", torch.zeros(positions).long())):
        if hasattr(embeddings, name):
            embeddings.register_buffer(name, buffer[None], persistent=False)


def encode(model: nn.Module, language: Language, rows: Sequence[Sequence[int]]) -> Text:
    """Runs a language model over tokenized sentences, padded to the longest; padding does not change the results.

    Gradients are kept if the model is in training mode.

    Args:
        model: RoBERTa, BERT, or another text encoder of transformers.
        language: of the same model.
        rows: token numbers, from `tokenize`.
    """
    device = next(model.parameters()).device
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), language.padding[1])
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    valid = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]  # [E, L]
    ids, valid = ids.to(device), valid.to(device)
    with torch.set_grad_enabled(model.training and torch.is_grad_enabled()):
        output = model(input_ids=ids, attention_mask=valid.long())
    return Text(output.last_hidden_state, ~valid, getattr(output, "pooler_output", None))
