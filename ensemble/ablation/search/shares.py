"""The score of a setting as a sum over clips, so that settings can be compared clip by clip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rvos_ensemble.ensemble.metrics.existence import ExpressionScore


@dataclass(frozen=True)
class Shares:
    """How much a clip contributes to J&F, or to Final where expressions refer to nothing.

    Attributes:
        expressions: number of expressions of all clips.
        no_target, target: number of those that refer to nothing, and to something, where the ground truth states it.
    """

    expressions: int
    no_target: int
    target: int

    @classmethod
    def of(cls, clips: Iterable[Mapping[str, ExpressionScore]]) -> Shares:
        """Counts the expressions of clips.

        Args:
            clips: {expression: its scores} of each.
        """
        every = [score for clip in clips for score in clip.values()]
        return cls(len(every), sum(s.no_target is True for s in every), sum(s.no_target is False for s in every))

    def __call__(self, clip: Mapping[str, ExpressionScore]) -> float:
        """The contribution of a clip; those of all clips add up to the score.

        >>> shares = Shares(expressions=4, no_target=0, target=0)
        >>> shares({"0": ExpressionScore(1.0, 0.5), "1": ExpressionScore(0.5, 0.0)})
        0.25
        """
        jf = sum(s.JF for s in clip.values()) / self.expressions
        if not self.no_target:
            return jf
        n = sum(s.is_right for s in clip.values() if s.no_target is True) / self.no_target
        t = sum(s.is_right for s in clip.values() if s.no_target is False) / max(self.target, 1)
        return (jf + n + t) / 3
