"""Tokenizers: loaded from a folder or the Hugging Face cache, never downloaded; expressions to token numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.networks.text import Language

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_tokenizer(language: Language, folder: str | None = None) -> Tokenizer:
    """The tokenizer in a folder, or in the Hugging Face cache; nothing is downloaded.

    Args:
        language: whose tokenizer it is.
        folder: of its files; None means the cache.

    Raises:
        InputError: its files are missing (which, and where to get them), damaged, or those of another model.
    """
    from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer, Tokenizer
    from tokenizers.processors import RobertaProcessing

    files = tokenizer_files(language, folder)
    try:
        if files[0].suffix == ".txt":
            tokenizer = BertWordPieceTokenizer(str(files[0]), lowercase=True)._tokenizer
        elif len(files) == 2:
            tokenizer = ByteLevelBPETokenizer(*map(str, files))._tokenizer
            tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
            ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
            tokenizer.post_processor = RobertaProcessing(*ends, add_prefix_space=False)
        else:
            tokenizer = Tokenizer.from_file(str(files[0]))
    except Exception as error:  # the tokenizers library raises bare Exception for files it cannot read
        raise InputError(f"{files[0]}: not a tokenizer, or a damaged one ({error})") from None
    token, number = language.padding
    if tokenizer.token_to_id(token) != number:
        raise InputError(
            f"{files[0]}: {token} is {tokenizer.token_to_id(token)}, expected {number}: not the tokenizer "
            f"of {language.name}"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def stored_tokenizer(content: str, where: str) -> Tokenizer:
    """The tokenizer that a checkpoint holds.

    Args:
        content: JSON of the library tokenizers.
        where: the checkpoint, for messages.

    Raises:
        InputError: not a tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(content)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise InputError(f"{where}: the tokenizer in it is damaged ({error})") from None


def tokenizer_files(language: Language, folder: str | None = None) -> list[Path]:
    """The files of a tokenizer, in a folder or in the Hugging Face cache.

    Raises:
        InputError: they are missing.
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
    """Token numbers of every sentence, the two special tokens around it included.

    Raises:
        InputError: a sentence without words, or longer than the model allows.
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


def unknown_words(tokenizer: Tokenizer, language: Language, sentences: Sequence[str]) -> dict[str, list[str]]:
    """{sentence: its words that are not in the vocabulary}, of a tokenizer of whole words."""
    unknown, result = tokenizer.token_to_id(language.unknown), {}
    for sentence in sentences:
        clean = language.clean(sentence)
        encoding = tokenizer.encode(clean)
        tokens = zip(encoding.ids, encoding.offsets, strict=True)
        result[sentence] = [clean[a:b] for token, (a, b) in tokens if token == unknown]
    return result


def known_words(tokenizer: Tokenizer) -> list[str]:
    """The vocabulary of a tokenizer of whole words, without special tokens such as <s> and [CLS]."""
    return sorted(word for word in tokenizer.get_vocab() if not re.fullmatch(r"<.*>|\[.*\]", word))


def _where(language: Language) -> str:
    """Where to download a tokenizer."""
    name = f"{language.owner}/{language.name}"
    return f"get it at https://huggingface.co/{name}, or, once online: hf download {name} tokenizer.json"
