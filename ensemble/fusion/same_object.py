"""Which neighbouring expressions refer to the same object, judged by the masks that models predict for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.overlap import EMPTY_IS_NO_EVIDENCE, ratio
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.ensemble.fusion.bits import count_ones

EVEN_START = (
    0.05  # prior for a pair that starts at an even position: data sets list the expressions of an object in pairs
)


def neighbour_ious(models: Sequence[Prediction], ids: Sequence[str]) -> np.ndarray:
    """IoU over the whole video of the masks of neighbouring expressions (i, i + 1).

    Args:
        models: predictions of one clip.
        ids: expression ids in order.

    Returns:
        float64 [models, expressions - 1].
    """
    if len(ids) < 2:
        return np.zeros((len(models), 0))
    return np.array([_neighbour_ious([model[i] for i in ids]) for model in models])


def _neighbour_ious(sequences: Sequence[MaskSequence]) -> np.ndarray:
    """IoU over the whole video of neighbouring sequences: sum of the intersections over sum of the unions.

    Two sequences that are empty everywhere are no evidence of the same object, hence `EMPTY_IS_NO_EVIDENCE`. Every
    mask is read once.
    """
    areas, common = np.zeros(len(sequences), np.int64), np.zeros(len(sequences) - 1, np.int64)
    for t in range(len(sequences[0])):
        masks = [sequence.packed(t) for sequence in sequences]
        areas += [count_ones(mask) for mask in masks]
        common += [count_ones(a & b) for a, b in pairwise(masks)]
    return ratio(common, areas[1:] + areas[:-1] - common, EMPTY_IS_NO_EVIDENCE)


def runs_of_masks(ious: np.ndarray, ids: Sequence[str], min_iou: float) -> list[list[str]]:
    """Splits the ordered expressions into runs of one or two whose masks show the same object.

    A dynamic programme over neighbours. The value of a pair is the mean IoU of its two mask sequences over the models,
    minus `min_iou`, plus a small prior if the pair starts at an even position; the value of a single expression is 0.
    A pair that does not reach `min_iou` in at least half of the models is never formed.

    Args:
        ious: see `neighbour_ious`.
        ids: expression ids in order.
        min_iou: below this, two expressions do not refer to the same object.

    Returns:
        Groups in order.
    """
    n = len(ids)
    value = np.full(n, -np.inf)  # value[i]: of the pair (i, i + 1)
    for i in range(n - 1):
        if np.mean(ious[:, i] >= min_iou) >= 0.5:
            value[i] = ious[:, i].mean() - min_iou + (EVEN_START if i % 2 == 0 else 0)
    best = np.zeros(n + 1)  # best[i]: of the expressions from i to the end
    paired = [False] * n
    for i in reversed(range(n)):
        best[i] = best[i + 1]
        if i + 1 < n and value[i] + best[i + 2] > best[i]:
            best[i], paired[i] = value[i] + best[i + 2], True
    groups, i = [], 0
    while i < n:
        size = 2 if paired[i] else 1
        groups.append(list(ids[i : i + size]))
        i += size
    return groups


def pairs_in_order(ious: np.ndarray, ids: Sequence[str], least: float) -> list[list[str]]:
    """Pairs (0, 1), (2, 3), ...; of an odd number, one expression is left alone so that the pairs overlap most.

    A pair is kept even where the models misunderstand one of its two expressions, as long as other pairs overlap: they
    show that the expressions of the clip come in pairs.

    Args:
        ious: see `neighbour_ious`.
        ids: expression ids in order.
        least: the smallest mean IoU over pairs and models for which pairs are accepted.

    Returns:
        Groups in order; no groups if the masks contradict the pairs.
    """
    n = len(ids)
    if n < 2:
        return []
    overlap = ious.mean(0)  # of neighbours
    alone = max(range(0, n, 2), key=lambda k: overlap[:k:2].sum() + overlap[k + 1 :: 2].sum()) if n % 2 else n
    starts = [*range(0, alone, 2), *range(alone + 1, n, 2)]
    if overlap[starts].mean() < least:
        return []
    return [list(ids[i:j]) for i, j in pairwise(sorted({*starts, alone, n}))]
