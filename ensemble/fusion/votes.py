"""Votes and thresholds.

Source: Luo et al., 1st place of the 5th LSVOS challenge, RVOS track (arXiv 2401.00663), Eq. 3: M = [sum of the masks
>= threshold].
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, inf, lcm
from numbers import Integral, Rational, Real

import numpy as np

from rvos_ensemble.ensemble.fusion.arrays import as_mask, common_shape

MOST_VOTES = 2**16 - 1  # the largest number of votes per pixel that fits in uint16


def vote_map(masks: Sequence[np.ndarray], weights: Sequence[Real] | None = None) -> np.ndarray:
    """Sums binary masks: the number of votes of each pixel.

    Args:
        masks: arrays of one shape, bool or integers 0/1 or 0/255.
        weights: of each mask, numbers >= 0; one vote each when None. Decimals become whole numbers of votes, see
            `whole_votes`.

    Returns:
        uint8 counts; uint16 where the total is above 255.

    Raises:
        ValueError: no masks, different shapes, floats or integers that are not a mask, or weights that are wrong, see
            `whole_votes`.

    >>> a, b = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool)
    >>> vote_map([a, b]).tolist(), vote_map([a, b], weights=[2, 1]).tolist()
    ([[1, 2, 1, 0]], [[2, 3, 1, 0]])
    >>> vote_map([a, b], weights=[0.7, 0.3]).tolist()
    [[7, 10, 3, 0]]
    """
    weights, _ = whole_votes(len(masks), weights)
    votes = np.zeros(common_shape(masks), np.uint8 if sum(weights) <= 255 else np.uint16)
    for i, (mask, weight) in enumerate(zip(masks, weights, strict=True)):
        ones = as_mask(mask, i).view(np.uint8)
        np.add(votes, ones if weight == 1 else ones * votes.dtype.type(weight), out=votes)
    return votes


def whole_votes(masks: int, weights: Sequence[Real] | None) -> tuple[list[int], int]:
    """Weights as whole numbers of votes, so that sums and comparisons are exact.

    A decimal is read as the number that was written: 0.7 is 7/10. All weights are multiplied by their smallest common
    denominator; whole numbers stay as they are.

    Args:
        masks: the number of masks.
        weights: numbers >= 0, one per mask; one vote each when None.

    Returns:
        The number of votes of each mask, and the number of votes that stand for a weight of 1.

    Raises:
        ValueError: no masks, a number of weights that differs from the number of masks, a weight that is no number or
            is negative, only zeros, or more votes than uint16 can count.

    >>> whole_votes(2, [0.7, 0.3]), whole_votes(2, [2, 1]), whole_votes(2, [0.5, 1]), whole_votes(2, None)
    (([7, 3], 10), ([2, 1], 1), ([1, 2], 2), ([1, 1], 1))
    """
    if masks == 0:
        raise ValueError("nothing to fuse: no masks")
    if weights is None:
        return [1] * masks, 1
    if not isinstance(weights, Sequence) or isinstance(weights, str):
        raise ValueError(f"weights {weights!r}: expected a list with one weight for each of {masks} masks")
    if len(weights) != masks:
        raise ValueError(f"{len(weights)} weights for {masks} masks: give one weight per mask")
    if any(isinstance(w, bool) or not isinstance(w, Real) or not 0 <= w < inf for w in weights) or not any(weights):
        raise ValueError(f"weights {list(weights)}: weights are numbers >= 0 and not all 0")
    exact = [Fraction(int(w) if isinstance(w, Integral) else w if isinstance(w, Rational) else str(w)) for w in weights]
    scale = lcm(*(w.denominator for w in exact))
    votes = [int(w * scale) for w in exact]
    if sum(votes) > MOST_VOTES:
        count = f"{sum(votes)} votes" if sum(votes) < 10**9 else "more than a billion votes"
        how = "" if scale == 1 else ", and these decimals need so many to be exact; round the weights"
        raise ValueError(f"weights {list(weights)}: {count}, at most {MOST_VOTES} can be counted{how}")
    return votes, scale


def votes_needed(threshold: int | float, total: int, scale: int = 1) -> int:
    """The smallest number of votes that passes `votes >= threshold`.

    Args:
        threshold: a sum of weights (int, 1..total), which is a count of votes where all weigh 1; or a share of the
            total (float in (0, 1]). A share is read as the decimal that was written: 0.7 of 10 votes is exactly 7.
        total: the total number of votes.
        scale: number of votes that stand for a weight of 1, see `whole_votes`.

    Raises:
        ValueError: no number, or a threshold that no pixel, or every pixel, would pass.

    >>> votes_needed(3, 6), votes_needed(0.5, 6), votes_needed(0.5, 3), votes_needed(0.7, 10), votes_needed(1.0, 4)
    (3, 3, 2, 7, 4)
    >>> votes_needed(1, 10, scale=10), votes_needed(0.5, 10, scale=10)  # weights 0.7 and 0.3
    (10, 5)
    """
    if isinstance(threshold, (float, np.floating)):
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold {threshold}: a share of the votes lies in (0, 1]; a count is written as 3")
        return ceil(Fraction(str(threshold)) * total)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, np.integer)):
        raise ValueError(f"threshold {threshold!r}: expected a count of votes (int) or a share of them (float)")
    if not 1 <= threshold * scale <= total:
        votes = f"{total} votes" if scale == 1 else f"weights whose sum is {float(Fraction(total, scale)):g}"
        raise ValueError(f"threshold {threshold} of {votes}: a count lies in 1..{total // scale}")
    return threshold * scale


def vote(masks: Sequence[np.ndarray], threshold: int | float, weights: Sequence[Real] | None = None) -> np.ndarray:
    """Fuses binary masks by vote: a pixel is foreground where its votes reach the threshold (`>=`).

    Args:
        masks: arrays of one shape, bool or integers 0/1 or 0/255.
        threshold: a count (int) or a share of all votes (float); see `votes_needed`.
        weights: of each mask, whole numbers or decimals; see `vote_map`.

    Returns:
        bool array of that shape.

    Raises:
        ValueError: see `vote_map` and `votes_needed`.

    Source: arXiv 2401.00663, Eq. 3.

    >>> a, b = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool)
    >>> vote([a, b], 2).astype(int).tolist(), vote([a, b], 0.5).astype(int).tolist()
    ([[0, 1, 0, 0]], [[1, 1, 1, 0]])
    """
    votes, scale = whole_votes(len(masks), weights)
    return vote_map(masks, votes) >= votes_needed(threshold, sum(votes), scale)
