"""Tokenizers of small language models that are trained together with a segmentation network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.networks.text import Language
from rvos_ensemble.adapters.training.samples.folder import FolderClips

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Relative learning rate of a small language model: at the full rate the features of all sentences become the same.
SMALL_TEXT_LR = 0.1


def word_tokenizer(words: Iterable[str]) -> Tokenizer:
    """A lower-case word-level tokenizer with the special tokens of RoBERTa, as in `weights/roberta_nano`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from tokenizers.processors import RobertaProcessing

    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    numbers = {word: i for i, word in enumerate(dict.fromkeys((*special, *words)))}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def check_words(tokenizer: Tokenizer, language: Language, clips: FolderClips) -> None:
    """Checks that a tokenizer knows the words of a data set; the one of the package knows those of `shapes` only.

    Raises:
        InputError: naming unknown words.
    """
    unknown_id, unknown_words = tokenizer.token_to_id(language.unknown), {}
    for sentence in dict.fromkeys(clips.sentences):
        encoding = tokenizer.encode(sentence)
        tokens = zip(encoding.ids, encoding.offsets, strict=True)
        unknown_words |= {sentence[a:b]: None for token, (a, b) in tokens if token == unknown_id}
    if unknown_words:
        raise InputError(
            f"{clips.root}: its expressions have {len(unknown_words)} words that the tokenizer does not know: "
            f"{first_few(list(unknown_words), 3)}; set `tokenizer=FOLDER`, for example that of {language.name}, here "
            "and in recipes"
        )
