"""The 1000 classes of ImageNet by English words.

`names.txt` lists short names in the order of the classes (from
github.com/anishathalye/imagenet-simple-labels, public domain).
The classes are in the order of WordNet, so that most hypernyms are a few ranges of numbers.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

CLASSES = 1000
ANIMALS = "0-397"
# clothes, sports and what people ride or hold: no class is a person, but pictures of people get these classes
PEOPLE_SIGNS = (
    "399-400 411 416 422 433 439 443 445 451-452 457 459 461 465 474 490 501 514-515 518 529 543 552 560 568 578 "
    "601-602 608 610 614-615 617 638-639 643 652 655 658 667 678-679 683 689 697 701-702 735 747 752 768 770 775 "
    "787 793 795-796 806 808 834 836-837 841-842 869 887 890 903 906 981-983"
)


@cache
def groups() -> dict[str, np.ndarray]:
    """{noun: its classes as weights 0 or 1} of hypernyms and synonyms, from `groups.txt`: "dog, puppy: 151-268"."""
    lines = (Path(__file__).parent / "groups.txt").read_text(encoding="utf-8").splitlines()
    parts = [line.split(": ") for line in lines]
    return {noun: members(ranges) for nouns, ranges in parts for noun in nouns.split(", ")}


@cache
def names() -> tuple[str, ...]:
    """The names in lower case, in the order of the classes."""
    lines = (Path(__file__).parent / "names.txt").read_text(encoding="utf-8").lower().splitlines()
    return tuple(re.sub(r" \(.*\)", "", line) for line in lines)


def members(ranges: str) -> np.ndarray:
    """The classes in ranges as weights 0 or 1, float64 [1000].

    >>> np.flatnonzero(members("0-2 7")).tolist()
    [0, 1, 2, 7]
    """
    weights = np.zeros(CLASSES)
    for part in ranges.split():
        first, _, last = part.partition("-")
        weights[int(first) : int(last or first) + 1] = 1
    return weights


def by_name(noun: str) -> tuple[str, np.ndarray] | None:
    """The classes that a noun names, by its last words: "toy poodle", else "poodle".

    Args:
        noun: in the singular and in lower case, with the words before it: "polar bear".

    Returns:
        The words that were found and weights 0 or 1, float64 [1000]; None if no class has such a name.

    >>> by_name("huge polar bear")[0], np.flatnonzero(by_name("huge polar bear")[1]).tolist()
    ('polar bear', [296])
    >>> by_name("tricorder") is None
    True
    """
    words = noun.split()
    for start in range(len(words)):
        phrase = " ".join(words[start:])
        if phrase in groups():
            return phrase, groups()[phrase]
        found = np.array([name == phrase or name.endswith(" " + phrase) for name in names()], np.float64)
        if found.any():
            return phrase, found
    return None
