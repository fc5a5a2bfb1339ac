"""Votes on masks of one bit per pixel: the same results as `votes`, with an eighth of the memory traffic.

Counts are kept as bit planes: plane k holds bit k of the count of every pixel. A mask is added as in a ripple-carry
adder, and counts are compared with a number from the highest bit down, with `&`, `|`, `^` on whole bytes of 8 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rvos_ensemble.ensemble.fusion.bits import count_ones


def packed_vote(masks: Sequence[np.ndarray], weights: Sequence[int], needed: int) -> tuple[np.ndarray, float]:
    """Fuses packed masks by vote, and says how sure the votes are.

    Args:
        masks: uint8 [H, ceil(W / 8)], of one shape, in `np.packbits` order.
        weights: the number of votes of each, at least 0; see `whole_votes`.
        needed: the number of votes that makes a pixel foreground, at least 1; see `votes_needed`.

    Returns:
        The packed mask of the pixels with at least `needed` votes, and the mean number of votes in it, 0 where it is
        empty: exactly `vote_map(masks, weights) >= needed` and `mean_inside` of both.

    >>> masks = [np.packbits([[1, 1, 0, 0]], axis=1), np.packbits([[0, 1, 1, 0]], axis=1)]
    >>> packed, votes = packed_vote(masks, [2, 1], 2)
    >>> np.unpackbits(packed, axis=1, count=4).tolist(), votes
    ([[1, 1, 0, 0]], 2.5)
    """
    x, y, width, height = cv2.boundingRect(np.bitwise_or.reduce(masks))
    result = np.zeros(masks[0].shape, np.uint8)
    if not height:
        return result, 0.0
    crops = [mask[y : y + height, x : x + width] for mask in masks]
    planes = _count(crops, weights)
    inside = _at_least(planes, needed)
    area = count_ones(inside)
    votes = sum(count_ones(plane & inside) << k for k, plane in enumerate(planes))
    result[y : y + height, x : x + width] = inside
    return result, votes / area if area else 0.0


def _count(masks: Sequence[np.ndarray], weights: Sequence[int]) -> list[np.ndarray]:
    """The bit planes of the weighted sum of masks, the lowest first; as many as the total of the weights needs."""
    planes = [np.zeros_like(masks[0]) for _ in range(sum(weights).bit_length())]
    most = 0  # votes that a pixel can have so far
    for mask, weight in zip(masks, weights, strict=True):
        most += weight
        for k in range(weight.bit_length()):
            if not weight >> k & 1:
                continue
            carry = mask
            for plane in planes[k : most.bit_length()]:
                over = plane & carry
                plane ^= carry
                carry = over
    return planes


def _at_least(planes: Sequence[np.ndarray], needed: int) -> np.ndarray:
    """The pixels whose count reaches a number that is at most the largest count."""
    missing = needed - 1  # count >= needed is count > missing
    above, equal = np.zeros_like(planes[0]), np.full_like(planes[0], 255)
    for k in reversed(range(len(planes))):
        if missing >> k & 1:
            equal &= planes[k]
        else:
            above |= equal & planes[k]
            equal &= ~planes[k]
    return above
