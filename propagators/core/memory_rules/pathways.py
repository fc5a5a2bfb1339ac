"""A tree of pathways: several hypotheses of one sequence, each with a memory of its own.

Every pathway proposes several candidate masks for the next frame. The candidates with the highest sums of log predicted
IoU become the pathways of that frame. In the end, the pathway with the highest sum is the result on all frames.

Source: Ding et al., "SAM2Long: Enhancing SAM 2 for Long Video Segmentation with a Training-Free Memory Tree", ICCV
2025, arXiv 2410.16268, from the paper. Its weights of 0.95 to 1.05 on memories by object score are left out. Where
there are fewer distinct candidates than pathways, the best of the others complete them, so that their number is fixed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

EPSILON = 1e-5  # the logarithm of a predicted IoU of 0 is finite


@dataclass(frozen=True)
class Branch:
    """A candidate mask of a pathway that becomes a pathway.

    Attributes:
        parent: index of the pathway.
        candidate: index of the candidate.
        score: the sum of log(IoU + 1e-5) from the start of the tree to this frame.
    """

    parent: int
    candidate: int
    score: float


def branches(
    scores: np.ndarray, ious: np.ndarray, object_scores: np.ndarray, count: int, uncertainty: float
) -> list[Branch]:
    """The pathways of the next frame, the best first; of equals, the first candidate of the first pathway.

    If the network is certain whether the object is visible (the object score of a pathway is farther than `uncertainty`
    from 0), these are the best candidates. Otherwise they shall differ: only the best of candidates with the same
    predicted IoU, rounded to two decimals, and the same sign of the object score is taken.

    Args:
        scores: of the pathways, float [P].
        ious: predicted IoU of their candidates, float [P, K].
        object_scores: logits of the pathways, float [P].
        count: number of pathways of the next frame; fewer if there are fewer candidates.
        uncertainty: see above.

    >>> branches(np.zeros(1), np.array([[0.9, 0.9, 0.5]]), np.array([9.0]), 2, uncertainty=2)[1].candidate
    1
    >>> branches(np.zeros(1), np.array([[0.9, 0.9, 0.5]]), np.array([1.0]), 2, uncertainty=2)[1].candidate
    2
    """
    parents, candidates = ious.shape
    options = [
        Branch(p, c, float(scores[p]) + math.log(max(float(ious[p, c]), 0.0) + EPSILON))
        for p in range(parents)
        for c in range(candidates)
    ]
    options.sort(key=lambda option: -option.score)  # stable
    if float(np.abs(object_scores).max()) <= uncertainty:
        kinds: dict[tuple[float, bool], Branch] = {}
        for option in options:
            iou = round(float(ious[option.parent, option.candidate]), 2)
            kinds.setdefault((iou, bool(object_scores[option.parent] > 0)), option)
        first = list(kinds.values())[:count]
        options = first + [option for option in options if option not in first][: count - len(first)]
        options.sort(key=lambda option: -option.score)
    return options[:count]


class Leaf:
    """The last frame of a pathway; its parents are the frames before. Frames of pathways that end are freed.

    Args:
        parent: the frame before; None for the first one.
        t: index of the frame.
        value: what the pathway yields for the frame.
    """

    __slots__ = ("parent", "t", "value")

    def __init__(self, parent: Leaf | None, t: int, value: Any):
        self.parent, self.t, self.value = parent, t, value

    def history(self) -> dict[int, Any]:
        """{t: value} of all frames of the pathway."""
        result, leaf = {}, self
        while leaf is not None:
            result[leaf.t] = leaf.value
            leaf = leaf.parent
        return result
