"""Whether a prediction is right about existence: N-acc, T-acc and Final, the score by which MeViSv2 ranks.

An expression may refer to nothing. The answer "nothing" is a prediction whose masks are empty in all frames. N-acc is
the share of the expressions without a target that are answered "nothing", T-acc the share of the expressions with a
target that are not, and Final = (J&F + N-acc + T-acc) / 3.

Source: Liu et al., GRES: Generalized Referring Expression Segmentation, CVPR 2023, for N-acc and T-acc; Ding et al.,
MeViS: A Multi-Modal Dataset for Referring Motion Expression Video Segmentation, TPAMI 2025 (arXiv 2512.10945), for
Final.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

MEASURES = ("N-acc", "T-acc", "Final")


class ExpressionScore(NamedTuple):
    """The scores of one prediction of one expression.

    Attributes:
        J, F: means over frames.
        no_target: whether the expression refers to nothing; None if the ground truth does not state it.
        empty: whether the masks of all frames are empty; None if that is unknown, as of a missing prediction.
    """

    J: float
    F: float
    no_target: bool | None = None
    empty: bool | None = None

    @property
    def JF(self) -> float:
        """J&F, the mean of both."""
        return (self.J + self.F) / 2

    @property
    def is_right(self) -> bool:
        """Whether the prediction is right about existence; an unknown one is not."""
        return self.empty is not None and self.empty == bool(self.no_target)


class Existence(NamedTuple):
    """N-acc, T-acc and Final, in 0..1; NaN where there is no expression of that kind."""

    N: float
    T: float
    Final: float

    def named(self) -> dict[str, float]:
        """The values under the names in `MEASURES`."""
        return dict(zip(MEASURES, self, strict=True))


def existence(scores: Iterable[ExpressionScore], jf: float) -> Existence | None:
    """N-acc, T-acc and Final of one source or step.

    Args:
        scores: of every expression; those whose ground truth does not state whether there is a target do not count.
        jf: its J&F, over all expressions or over those with a target.

    Returns:
        None if no expression refers to nothing: then Final is not defined, and J&F is the score.

    >>> existence([ExpressionScore(1, 1, True, True), ExpressionScore(0, 0, False, True)], jf=0.5)
    Existence(N=1.0, T=0.0, Final=0.5)
    >>> existence([ExpressionScore(1, 1, False, False)], jf=1.0) is None
    True
    """
    right: dict[bool, list[bool]] = {True: [], False: []}
    for score in scores:
        if score.no_target is not None:
            right[bool(score.no_target)].append(score.is_right)
    if not right[True]:
        return None
    n, t = (sum(of) / len(of) if of else math.nan for of in (right[True], right[False]))
    return Existence(n, t, (jf + n + t) / 3)
