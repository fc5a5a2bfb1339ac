"""Tokenizers in the folders of networks of transformers: CLIP's for OneFormer and SAM 3, BERT's for GroundingDINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.torch_file import reason

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Kind = Literal["clip", "bert"]
WHOLE = "tokenizer.json"
PARTS = {"clip": ("vocab.json", "merges.txt"), "bert": ("vocab.txt",)}
SPECIAL = {"clip": ("<|startoftext|>", "<|endoftext|>"), "bert": ("[PAD]", "[CLS]", "[SEP]")}
# how CLIP splits a sentence before the byte pairs: special tokens, English endings, words, single digits, other signs
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def tokenizer_files(folder: Path, kind: Kind) -> tuple[Path, ...]:
    """The files of the tokenizer beside the weights.

    Raises:
        InputError: they are missing.
    """
    for names in ((WHOLE,), PARTS[kind]):
        if all((folder / name).is_file() for name in names):
            return tuple(folder / name for name in names)
    raise InputError(f"{folder}: has no tokenizer, expected {WHOLE}, or {' and '.join(PARTS[kind])}; copy it, too")


def open_tokenizer(folder: Path, kind: Kind, words: int) -> Tokenizer:
    """The tokenizer beside the weights. It neither pads nor truncates.

    Args:
        folder: of the network.
        kind: of the tokenizer.
        words: number of word embeddings of the network.

    Raises:
        InputError: it is missing, damaged or that of another network.
    """
    files = tokenizer_files(folder, kind)
    try:
        tokenizer = _read(files, kind)
    except Exception as error:  # the tokenizers library raises bare Exception for files it cannot read
        raise InputError(f"{files[0]}: not a tokenizer, or a damaged one ({reason(error)})") from error
    if missing := [token for token in SPECIAL[kind] if tokenizer.token_to_id(token) is None]:
        raise InputError(
            f"{files[0]}: has no token {missing[0]}, expected the tokenizer of this network, {kind.upper()}"
        )
    numbers = tokenizer.get_vocab(with_added_tokens=True).values()
    if max(numbers) >= words:
        raise InputError(
            f"{files[0]}: has tokens up to number {max(numbers)}, but the network beside it has {words} words; take "
            "the tokenizer of the same repository"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def padded(ids: list[int], length: int, padding: int) -> list[int]:
    """Token numbers with padding after them.

    >>> padded([5, 6], 4, 0)
    [5, 6, 0, 0]
    """
    return ids + [padding] * (length - len(ids))


def problems_of(sentence: str, ids: list[int], specials: int, longest: int, network: str) -> list[str]:
    """Why a network cannot read a sentence: it has no words, or too many.

    Args:
        sentence: of the expression.
        ids: its tokens.
        specials: the number of tokens that every sentence has.
        longest: the largest number of tokens.
        network: its name.
    """
    if len(ids) <= specials:
        return [f"the expression {sentence!r} has no words: a model needs something to look for"]
    if len(ids) > longest:
        return [
            f"the expression {sentence[:40]!r}... has {len(ids)} tokens, expected at most {longest}, which is all that "
            f"{network} reads; shorten it"
        ]
    return []


def _read(files: tuple[Path, ...], kind: Kind) -> Tokenizer:
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    if files[0].name == WHOLE:
        return Tokenizer.from_file(str(files[0]))
    build: dict[str, Callable[..., Tokenizer]] = {
        "clip": _clip,
        "bert": lambda vocabulary: BertWordPieceTokenizer(vocabulary, lowercase=True)._tokenizer,
    }
    return build[kind](*map(str, files))


def _clip(vocabulary: str, merges: str) -> Tokenizer:
    """CLIP's tokenizer: lower case, words of `CLIP_WORDS`, byte pairs with an end mark, a special token at both ends.

    Source: https://github.com/openai/CLIP (simple_tokenizer.py).
    """
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.processors import RobertaProcessing

    start, end = SPECIAL["clip"]
    tokenizer = Tokenizer(BPE.from_file(vocabulary, merges, unk_token=end, end_of_word_suffix="</w>"))
    tokenizer.add_special_tokens([start, end])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    ends = [(token, tokenizer.token_to_id(token)) for token in (end, start)]
    tokenizer.post_processor = RobertaProcessing(*ends, add_prefix_space=False, trim_offsets=False)
    return tokenizer
