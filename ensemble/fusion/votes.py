"""Votes and thresholds.

Source: Luo et al., 1st place of the 5th LSVOS challenge, RVOS track (arXiv 2401.00663), Eq. 3: M = [sum of the masks
>= threshold].
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from numbers import Real

import numpy as np

from rvos_ensemble.ensemble.fusion.arrays import as_mask, common_shape

MOST_VOTES = 2**16 - 1  # the largest number of votes per pixel that fits in uint16


def vote_map(masks: Sequence[np.ndarray], weights: Sequence[int] | None = None) -> np.ndarray:
    """Sums binary masks: the number of votes of each pixel.

    Args:
        masks: arrays of one shape, bool or integers 0/1 or 0/255.
        weights: votes of each mask, integers >= 0; one vote each when None.

    Returns:
        uint8 counts; uint16 where the total is above 255.

    Raises:
        ValueError: no masks, different shapes, floats or integers that are not a mask, a number of weights that differs
            from the number of masks, or a weight that is negative or not a whole number.

    >>> a, b = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool)
    >>> vote_map([a, b]).tolist(), vote_map([a, b], weights=[2, 1]).tolist()
    ([[1, 2, 1, 0]], [[2, 3, 1, 0]])
    """
    weights = check_weights(len(masks), weights)
    votes = np.zeros(common_shape(masks), np.uint8 if sum(weights) <= 255 else np.uint16)
    for i, (mask, weight) in enumerate(zip(masks, weights, strict=True)):
        ones = as_mask(mask, i).view(np.uint8)
        np.add(votes, ones if weight == 1 else ones * votes.dtype.type(weight), out=votes)
    return votes


def check_weights(masks: int, weights: Sequence[int] | None) -> list[int]:
    """The number of votes of each mask.

    Args:
        masks: the number of masks.
        weights: integers >= 0, one per mask; one vote each when None.

    Raises:
        ValueError: see `vote_map`.
    """
    if masks == 0:
        raise ValueError("nothing to fuse: no masks")
    if weights is None:
        return [1] * masks
    if not isinstance(weights, Sequence) or isinstance(weights, str):
        raise ValueError(f"weights {weights!r}: expected a list with one weight for each of {masks} masks")
    if len(weights) != masks:
        raise ValueError(f"{len(weights)} weights for {masks} masks: give one weight per mask")
    if any(isinstance(w, bool) or not isinstance(w, Real) or w < 0 or w % 1 for w in weights) or not sum(weights):
        raise ValueError(f"weights {weights}: votes are whole numbers >= 0 and not all 0")
    if sum(weights) > MOST_VOTES:
        raise ValueError(f"weights {weights}: {sum(weights)} votes, at most {MOST_VOTES} can be counted")
    return [int(w) for w in weights]


def votes_needed(threshold: int | float, total: int) -> int:
    """The smallest number of votes that passes `votes >= threshold`.

    Args:
        threshold: a count of votes (int, 1..total), or a share of the total (float in (0, 1]). A share is read as the
            decimal number that was written: 0.7 of 10 votes is exactly 7.
        total: the total number of votes.

    Raises:
        ValueError: no number, or a threshold that no pixel, or every pixel, would pass.

    >>> votes_needed(3, 6), votes_needed(0.5, 6), votes_needed(0.5, 3), votes_needed(0.7, 10), votes_needed(1.0, 4)
    (3, 3, 2, 7, 4)
    """
    if isinstance(threshold, (float, np.floating)):
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold {threshold}: a share of the votes lies in (0, 1]; a count is written as 3")
        return ceil(Fraction(str(threshold)) * total)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, np.integer)):
        raise ValueError(f"threshold {threshold!r}: expected a count of votes (int) or a share of them (float)")
    if not 1 <= threshold <= total:
        raise ValueError(f"threshold {threshold} of {total} votes: a count lies in 1..{total}")
    return threshold


def vote(masks: Sequence[np.ndarray], threshold: int | float, weights: Sequence[int] | None = None) -> np.ndarray:
    """Fuses binary masks by vote: a pixel is foreground where its votes reach the threshold (`>=`).

    Args:
        masks: arrays of one shape, bool or integers 0/1 or 0/255.
        threshold: a count (int) or a share of all votes (float); see `votes_needed`.
        weights: votes of each mask; see `vote_map`.

    Returns:
        bool array of that shape.

    Raises:
        ValueError: see `vote_map` and `votes_needed`.

    Source: arXiv 2401.00663, Eq. 3.

    >>> a, b = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool)
    >>> vote([a, b], 2).astype(int).tolist(), vote([a, b], 0.5).astype(int).tolist()
    ([[0, 1, 0, 0]], [[1, 1, 1, 0]])
    """
    votes = vote_map(masks, weights)
    return votes >= votes_needed(threshold, sum(check_weights(len(masks), weights)))
