"""The distinct ground truths of a clip: expressions of one object share theirs, so it is prepared and scored once."""

from __future__ import annotations

from dataclasses import dataclass, field

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore
from rvos_ensemble.ensemble.metrics.scores import Scores


@dataclass(frozen=True)
class TruthOfMany:
    """A ground truth in memory, and the expressions that it belongs to.

    Attributes:
        masks: T masks.
        presence: 0 if the expressions refer to nothing, 1 if not, None if the data set does not state it.
        expressions: their ids.
    """

    masks: MaskSequence
    presence: float | None
    expressions: list[str] = field(default_factory=list)

    @property
    def states_presence(self) -> bool:
        """Whether the data set states if the expressions refer to anything."""
        return self.presence is not None

    def empty(self, prediction: MaskSequence) -> bool | None:
        """Whether a prediction is empty; None, without reading it, if the data set does not state its presence."""
        return prediction.is_empty() if self.states_presence else None

    def score(self, scores: Scores, empty: bool | None) -> ExpressionScore:
        """The scores of a prediction of one of the expressions.

        Args:
            scores: J and F of every frame.
            empty: whether the prediction is empty; not used if the data set does not state its presence.
        """
        j, f, _ = scores.mean()
        return ExpressionScore(j, f, self.presence == 0, empty) if self.states_presence else ExpressionScore(j, f)


def truths_of(clip: Clip) -> list[TruthOfMany]:
    """The distinct ground truths of a clip."""
    distinct: dict[tuple[bytes, float | None], TruthOfMany] = {}
    for e in clip.expressions:
        truth = clip.truth.read(e.id)
        if truth is not None:
            masks = PackedMasks.pack(truth.mask(t) for t in range(len(truth)))
            key = masks.bits.tobytes(), truth.presence
            distinct.setdefault(key, TruthOfMany(MaskSequence(masks), truth.presence)).expressions.append(e.id)
    return list(distinct.values())
