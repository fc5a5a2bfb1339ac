"""A vocabulary of whole words, for networks that learn their word embeddings themselves.

The checkpoint contains it as the bytes of its words, so that no second file can get lost or mixed up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1  # ids before those of the words
LONGEST = 20  # maximum number of words of a sentence; further ones are cut off (URVOS)


def split(sentence: str) -> list[str]:
    """The words of a sentence, in lower case.

    >>> split("The left-most dog's tail, 2 times.")
    ['the', 'left', 'most', "dog's", 'tail', '2', 'times']
    """
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", sentence.lower())


class Vocabulary:
    """Words and their ids.

    Args:
        words: without the entries for padding and for unknown words.

    >>> words = Vocabulary(["red", "disc"])
    >>> ids, padding = words.encode(["the red disc", "disc"])
    >>> ids.tolist(), padding.tolist()
    ([[1, 2, 3], [3, 0, 0]], [[False, False, False], [False, True, True]])
    >>> Vocabulary.unpack(words.packed()).words == words.words
    True
    """

    def __init__(self, words: Iterable[str]):
        self.words = tuple(words)
        self.ids = {word: i + 2 for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        """Number of ids."""
        return len(self.words) + 2

    def encode(self, sentences: Sequence[str], longest: int = LONGEST) -> tuple[Tensor, Tensor]:
        """Ids int64 [E, L] of E sentences, and their padding, bool [E, L]; every row has at least one word."""
        rows = [[self.ids.get(w, UNKNOWN) for w in split(s)[:longest]] or [UNKNOWN] for s in sentences]
        ids = torch.full((len(rows), max(map(len, rows))), PADDING)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = torch.tensor(row)
        return ids, ids == PADDING

    def unknown(self, sentence: str) -> list[str]:
        """The words of a sentence that are not in the vocabulary."""
        return [w for w in split(sentence)[:LONGEST] if w not in self.ids]

    def packed(self) -> Tensor:
        """All words as bytes, uint8 [n], separated by newlines."""
        return torch.tensor(list("\n".join(self.words).encode()), dtype=torch.uint8)

    @classmethod
    def unpack(cls, packed: Tensor) -> Vocabulary:
        """The inverse of `packed`."""
        return cls(bytes(packed.tolist()).decode().split("\n"))
