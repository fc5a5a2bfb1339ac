"""Nouns by image classes: how well the class probabilities of a picture fit a noun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.inference.image_classes.names import ANIMALS, PEOPLE_SIGNS, by_name, members, names

SIMILAR, SAME = 0.65, 0.85  # cosine of two words of the encoder: below the first unrelated, from the second on the same
KIN = 0.04  # weight of any animal for the name of an animal: classes are often confused with similar ones
SURE = 0.4  # weighted sum of probabilities from which a noun fits fully: it is spread over 1000 classes
SURE_PERSON = 0.25


@dataclass(frozen=True)
class Noun:
    """A noun as a weighting of the image classes.

    Attributes:
        meaning: what it was read as, for a reader.
        weights: of the classes, float64 [1000] in 0..1.
        sure: the weighted sum from which it fits fully.
    """

    meaning: str
    weights: np.ndarray
    sure: float = SURE

    def fit(self, probabilities: np.ndarray) -> np.ndarray:
        """How well class probabilities [..., 1000] fit, float64 [...] in 0..1."""
        return np.minimum(1, np.asarray(probabilities, np.float64) @ self.weights / self.sure)


def read_noun(noun: str, is_person: bool, similarity: Callable[[str], np.ndarray] | None) -> Noun | None:
    """A noun by the names of the classes and their hypernyms, else by the similarity of words.

    Args:
        noun: in the singular and in lower case, with the words before it.
        is_person: whether it names a person. No class does; clothes and sports are the evidence.
        similarity: a noun to its cosines with the names of the classes, float [1000]; None without an encoder.

    Returns:
        None if no class is similar.
    """
    if is_person:
        return Noun("a person, by clothes and sports", members(PEOPLE_SIGNS), SURE_PERSON)
    named = by_name(noun)
    if named is not None:
        phrase, weights = named
        return Noun(f"the image classes of {phrase}", _with_kin(weights))
    if similarity is None:
        return None
    cosines = np.where(_modified_by(noun), 0, np.asarray(similarity(noun), np.float64))
    best = int(cosines.argmax())
    if cosines[best] < SIMILAR:
        return None
    weights = np.clip((cosines - SIMILAR) / (SAME - SIMILAR), 0, 1)
    weights[best] = 1
    return Noun(f"similar to {names()[best]} ({cosines[best]:.2f})", _with_kin(weights))


def _modified_by(noun: str) -> np.ndarray:
    """Classes whose name has the noun's last word as a modifier, bool [1000]: a "tree frog" is no tree."""
    last = noun.split()[-1]
    return np.array([any(word.startswith(last) for word in name.replace("-", " ").split()) for name in names()])


def _with_kin(weights: np.ndarray) -> np.ndarray:
    """The weights, with a little for all animals if most of them are animals'."""
    animals = members(ANIMALS)
    return np.maximum(weights, KIN * animals) if weights @ animals > 0.5 * weights.sum() else weights
