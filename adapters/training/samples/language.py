"""Small language models that nobody has pre-trained, ready to be trained with the network that asks them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.networks.text import Language
from rvos_ensemble.adapters.training.samples.folder import FolderClips

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SLOWLY = 0.1  # learning rate of a small language model, relative: at the full one all sentences become the same


def word_tokenizer(words: Iterable[str]) -> Tokenizer:
    """A tokenizer with a number per word, in lower case, as RoBERTa's is laid out: what `roberta_nano` is made by."""
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
    """That the tokenizer knows the words of a data set; the one that comes with the package has those of `shapes`.

    Raises:
        InputError: naming words that it does not know.
    """
    unknown, strange = tokenizer.token_to_id(language.unknown), {}
    for sentence in dict.fromkeys(clips.sentences):
        found = tokenizer.encode(sentence)
        pairs = zip(found.ids, found.offsets, strict=True)
        strange |= {sentence[a:b]: None for number, (a, b) in pairs if number == unknown}
    if strange:
        raise InputError(
            f"{clips.root}: its sentences have {len(strange)} words that the tokenizer does not know: "
            f"{first_few(strange, 3)}; give `tokenizer=FOLDER`, such as that of {language.name}, here and in recipes"
        )


def spread_words(model: nn.Module) -> nn.Module:
    """Draws the weights of BERT or RoBERTa so that from the first step on its states tell which words there are: the
    published deviation of 0.02 is made for 768 channels."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    for embedding, deviation in ((model.embeddings.word_embeddings, 1.0), (model.embeddings.position_embeddings, 0.2)):
        nn.init.normal_(embedding.weight, std=deviation)
    return model
