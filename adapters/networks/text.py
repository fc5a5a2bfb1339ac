"""Expressions as language models see them: RoBERTa for ReferFormer, MUTR and SOC, BERT for UNINEXT.

The weights of the language model lie in the checkpoint of the network, so it is built from its geometry and nothing is
downloaded. Only the tokenizer is a file of its own: a folder, or what the cache of Hugging Face already holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.networks.interface import Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer


WEIGHTS = Path(__file__).parents[1] / "weights"  # those that are part of the package
WORDS = "embeddings.word_embeddings.weight"  # name of the word embeddings in a language model


@dataclass(frozen=True)
class Language:
    """A family of language models and its tokenizer.

    Attributes:
        name: as the Hugging Face hub calls it, without and with its owner.
        files: of the tokenizer, any one set of which will do.
        padding: the padding token and the number it must have.
        unknown: the token of words that are in no list.
        longest: tokens the model takes, the two around the sentence included.
        cuts: whether the official code cuts what is longer (UNINEXT), or fails on it (RoBERTa has no such positions).
        small: folder of the tokenizer that comes with the package, a number per word, for our own small weights.
        deletes, spaces: characters that the official code takes out, or reads as a space, in lower case.
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
        """The sentence as the official code hands it to the tokenizer.

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
    """RoBERTa with its pooler, base geometry unless said otherwise, weights to be loaded."""
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
    """BERT without pooler, base geometry unless said otherwise, weights to be loaded."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        **_widths(hidden), vocab_size=vocabulary, num_hidden_layers=layers, max_position_embeddings=positions
    )
    return BertModel(config, add_pooling_layer=False).eval()


def _widths(hidden: int) -> dict[str, int]:
    """What follows from the width of a language model: 12 heads for 768 channels, 4 for narrow ones of our own."""
    return {
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_attention_heads": max(4, hidden // 64),
    }


def like(weights: Mapping[str, Tensor], prefix: str, language: Language) -> nn.Module:
    """A language model of the geometry that a checkpoint's weights have.

    Args:
        weights: of the whole checkpoint.
        prefix: of the language model's names in it, "text_encoder.".
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
    """Gives a language model built without memory the buffers that no checkpoint holds."""
    embeddings = model.embeddings
    positions = embeddings.position_embeddings.num_embeddings
    for name, buffer in (("position_ids", torch.arange(positions)), ("token_type_ids", torch.zeros(positions).long())):
        if hasattr(embeddings, name):
            embeddings.register_buffer(name, buffer[None], persistent=False)


def load_tokenizer(language: Language, folder: str | None = None) -> Tokenizer:
    """The tokenizer in a folder, or in the cache of Hugging Face; nothing is downloaded.

    Raises:
        InputError: its files are not there (which, and where to get them), are damaged, or another model's.
    """
    from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, Tokenizer
    from tokenizers.processors import RobertaProcessing

    found = tokenizer_files(language, folder)
    try:
        if found[0].suffix == ".txt":
            tokenizer = BertWordPieceTokenizer(str(found[0]), lowercase=True)._tokenizer
        elif len(found) == 2:
            tokenizer = ByteLevelBPETokenizer(*map(str, found))._tokenizer
            tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
            ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
            tokenizer.post_processor = RobertaProcessing(*ends, add_prefix_space=False)
        else:
            tokenizer = Tokenizer.from_file(str(found[0]))
    except Exception as error:  # the tokenizers library raises bare Exception for files it cannot read
        raise InputError(f"{found[0]}: not a tokenizer, or a damaged one ({error})") from None
    token, number = language.padding
    if tokenizer.token_to_id(token) != number:
        raise InputError(
            f"{found[0]}: {token} is {tokenizer.token_to_id(token)}, expected {number}: not the tokenizer "
            f"of {language.name}"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenizer_files(language: Language, folder: str | None = None) -> list[Path]:
    """The files of a tokenizer, in a folder or in the cache.

    Raises:
        InputError: they are not there.
    """
    wanted = " or ".join(" + ".join(files) for files in language.files)
    if folder is not None:
        place = Path(folder).expanduser()
        for files in language.files:
            if all((place / name).is_file() for name in files):
                return [place / name for name in files]
        raise InputError(f"{place}: no tokenizer there, expected {wanted} of {language.name}; {_where(language)}")
    from huggingface_hub import try_to_load_from_cache

    for repository in (language.name, f"{language.owner}/{language.name}"):
        for files in language.files:
            paths = [try_to_load_from_cache(repository, name) for name in files]
            if all(isinstance(path, str) for path in paths):
                return [Path(path) for path in paths]
    raise InputError(
        f"no tokenizer of {language.name} in the cache of Hugging Face: give `tokenizer: FOLDER` with {wanted}; "
        f"{_where(language)}"
    )


def tokenize(tokenizer: Tokenizer, language: Language, sentences: Sequence[str]) -> list[list[int]]:
    """Token numbers of every sentence, the two around it included.

    Raises:
        InputError: a sentence without words, or longer than the model takes.
    """
    problems, rows = [], []
    for sentence in sentences:
        clean = language.clean(sentence)
        ids = tokenizer.encode(clean).ids
        if not clean.strip():
            problems.append(f"the expression {sentence!r} has no words: a model needs something to look for")
        elif len(ids) > language.longest and not language.cuts:
            problems.append(
                f"the expression {sentence[:40]!r}... has {len(ids)} tokens, expected at most {language.longest}, "
                f"which is all that {language.name} has positions for; shorten it"
            )
        rows.append([*ids[: language.longest - 1], ids[-1]] if len(ids) > language.longest else ids)
    if problems:
        raise InputError(problems)
    return rows


def encode(model: nn.Module, language: Language, rows: Sequence[Sequence[int]]) -> Text:
    """Runs a language model over tokenized sentences, padded to the longest: padding changes nothing.

    Gradients are kept where the model is in training.

    Args:
        model: RoBERTa or BERT.
        rows: token numbers, from `tokenize`.
    """
    device = model.embeddings.word_embeddings.weight.device
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), language.padding[1])
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    there = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
    ids, there = ids.to(device), there.to(device)
    with torch.set_grad_enabled(model.training and torch.is_grad_enabled()):
        found = model(input_ids=ids, attention_mask=there.long())
    return Text(found.last_hidden_state, ~there, getattr(found, "pooler_output", None))


def _where(language: Language) -> str:
    name = f"{language.owner}/{language.name}"
    return f"get it at https://huggingface.co/{name}, or, once online: hf download {name} tokenizer.json"
