"""Names of objects by the labels of a detector, where the candidates have any (the note `label`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rvos_ensemble.adapters.inference.image_classes.names import by_name
from rvos_ensemble.ensemble.fusion.words.lexicon import PEOPLE, singular

SHARED = 0.5  # share of the smaller set of image classes that two names of one thing have in common


def label_fits(noun: str, labels: Sequence[str | None]) -> np.ndarray:
    """Whether a noun names the same as each label, float64 [P] of 0 and 1; 0 without a label.

    Args:
        noun: in the singular and in lower case, with the words before it.
        labels: of the tracklets.

    >>> label_fits("black puppy", ["Dog", "cat", "person", None]).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """
    return np.array([float(isinstance(label, str) and _same(noun, label.lower())) for label in labels])


def _same(noun: str, label: str) -> bool:
    """Whether two names can name one thing."""
    last, other = noun.split()[-1], singular((label.split() or [""])[-1])
    if last == other or (last in PEOPLE and other in PEOPLE):
        return True
    first, second = by_name(noun), by_name(label)
    if first is None or second is None:
        return False
    return first[1] @ second[1] > SHARED * min(first[1].sum(), second[1].sum())
