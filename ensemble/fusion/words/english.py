"""Whether a sentence is English, as far as the known words can tell."""

from __future__ import annotations

from functools import cache

from rvos_ensemble.adapters.inference.image_classes.names import groups, names
from rvos_ensemble.ensemble.fusion.words import lexicon as lex
from rvos_ensemble.ensemble.fusion.words.colour import COLOURS


def is_english(words: list[str]) -> bool:
    """Whether enough words are English ones that the lexicon or the image classes know.

    Two words may both be unknown: "rubber duckling" is English as well.
    """
    known = [w in english() or lex.singular(w) in english() or w.isdigit() for w in words]
    return all(w.isascii() for w in words) if len(words) < 3 else 3 * sum(known) >= len(words)


@cache
def english() -> frozenset[str]:
    """The English words that are known to the lexicon, the colours and the image classes."""
    lists = [value for name, value in vars(lex).items() if name.isupper()]
    of_classes = {word for name in (*names(), *groups()) for word in name.split()}
    return frozenset({*of_classes, *COLOURS, *DIRECTIONS}.union(*lists))


DIRECTIONS = (
    *(
        "left",
        "right",
        "top",
        "bottom",
        "upper",
        "lower",
        "leftmost",
        "rightmost",
        "up",
        "down",
        "forward",
        "leftwards",
    ),
    *("rightwards", "looking", "facing", "wearing", "eating", "drinking", "playing", "other"),
)
