"""Choosing one of several mask sequences of an expression: their agreement, the medoid, and areas that jump."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite

import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.overlap import EMPTY_IS_EQUAL, ratio
from rvos_ensemble.ensemble.fusion.arrays import common_shape
from rvos_ensemble.ensemble.fusion.tracklets import intersections

OVERLAPS = ("frame", "shown", "video")
ROUNDING = 1e-12  # of the agreements, which are means of quotients


def agreements(sequences: Sequence[MaskSequence], overlap: str = "frame") -> np.ndarray:
    """How much each pair of sequences agrees, 0..1.

    Every mask is read once and compared at one bit per pixel. Two empty masks agree (`EMPTY_IS_EQUAL`).

    Args:
        sequences: N sequences of equal length and size.
        overlap: `frame`, the mean over frames of the IoU of two masks; `shown`, the same over the frames where either
            mask is not empty; `video`, the sum of the intersections over the sum of the unions.

    Returns:
        float64 [N, N], symmetric, 1 on the diagonal.

    Raises:
        ValueError: no sequences, different lengths or sizes, or an unknown overlap.

    Source: "agreement-based" selection, 1st place of LSVOS 2026, audio track (arXiv 2608.09475).

    >>> a, b = np.zeros((2, 1, 4), bool), np.zeros((2, 1, 4), bool)
    >>> a[0, 0, :2] = b[0, 0, :3] = True  # both are empty in the second frame
    >>> pair = [MaskSequence.binary(a), MaskSequence.binary(b)]
    >>> [round(float(agreements(pair, overlap)[0, 1]), 3) for overlap in OVERLAPS]
    [0.833, 0.667, 0.667]
    """
    if overlap not in OVERLAPS:
        raise ValueError(f"overlap {overlap!r}: expected one of {', '.join(OVERLAPS)}")
    length, n = common_shape([s.masks for s in sequences])[0], len(sequences)
    common_of_all, union_of_all = np.zeros((2, n, n), np.int64)
    total, counted = np.zeros((n, n)), np.zeros((n, n), np.int64)
    for t in range(length):
        common = intersections([s.packed(t) for s in sequences])
        area = common.diagonal()
        union = area[:, None] + area - common
        common_of_all += common
        union_of_all += union
        counted += (union > 0) | (overlap == "frame")
        total += ratio(common, union, EMPTY_IS_EQUAL if overlap == "frame" else 0.0)
    if overlap == "video":
        return ratio(common_of_all, union_of_all, EMPTY_IS_EQUAL)
    return ratio(total, counted, EMPTY_IS_EQUAL)


def medoid(agreement: np.ndarray, weights: Sequence[float] | None = None) -> int:
    """The position of the sequence that agrees most with all: argmax_i sum_j w_j a_ij.

    A sequence agrees with itself (a_ii = 1), so that a weight of k has the effect of k copies. With equal weights this
    is the sequence with the highest mean agreement with the others. Among equal values the first wins; values that
    differ by rounding alone are equal, and sums are exact, so that the order of the sequences cannot matter otherwise.

    Args:
        agreement: of `agreements`, [N, N].
        weights: one number >= 0 per sequence, not all 0; equal weights when None.

    Raises:
        ValueError: a wrong number of weights, or wrong weights.

    >>> medoid(np.array([[1, 0.2, 0.1], [0.2, 1, 0.7], [0.1, 0.7, 1]]))
    1
    """
    weights = [Fraction(w) for w in check_shares(len(agreement), weights)]
    values = [sum(w * Fraction(float(a)) for w, a in zip(weights, row, strict=True)) for row in agreement]
    least = max(values) - sum(weights) * Fraction(ROUNDING)
    return next(i for i, value in enumerate(values) if value >= least)


def mean_agreement(agreement: np.ndarray, weights: Sequence[float] | None = None) -> list[float]:
    """The weighted mean agreement of each sequence with the others; 1 where no other has a weight.

    >>> mean_agreement(np.array([[1, 0.5, 0.25], [0.5, 1, 0], [0.25, 0, 1]]))
    [0.375, 0.25, 0.125]
    """
    weights = check_shares(len(agreement), weights)
    means = []
    for i, row in enumerate(agreement):
        others = [(w, float(a)) for j, (w, a) in enumerate(zip(weights, row, strict=True)) if j != i]
        total = sum(w for w, _ in others)
        means.append(sum(w * a for w, a in others) / total if total else 1.0)
    return means


def check_shares(count: int, weights: Sequence[float] | None) -> list[float]:
    """The weight of each of `count` sequences; 1 each when None.

    Raises:
        ValueError: another number of weights, a weight that is negative or not finite, or only zeros.
    """
    if weights is None:
        return [1.0] * count
    if len(weights) != count:
        raise ValueError(f"{len(weights)} weights for {count} inputs: give one weight per input")
    if min(weights) < 0 or not all(map(isfinite, weights)) or not sum(weights) > 0:
        raise ValueError(f"weights {list(weights)}: they must be >= 0 and not all 0")
    return [float(w) for w in weights]


def largest_jump(areas: Sequence[int]) -> float:
    """The largest factor between the areas of two successive masks that are both not empty; 1 if there are none.

    An object that enters or leaves the frame is no jump, hence masks beside an empty one are not compared.

    Args:
        areas: pixels of the mask of each frame, [T].

    >>> largest_jump([0, 10, 12, 3, 0, 40]), largest_jump([0, 5, 0])
    (4.0, 1.0)
    """
    areas = np.asarray(areas, np.float64)
    small, large = np.minimum(areas[1:], areas[:-1]), np.maximum(areas[1:], areas[:-1])
    return float(max((large[small > 0] / small[small > 0]).max(initial=1.0), 1.0))
