"""The step `track`."""

from __future__ import annotations

from collections.abc import Sequence

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.settings import number, whole
from rvos_ensemble.ensemble.steps.step import PropagatingStep
from rvos_ensemble.propagators.core.key_frames import KeyFrames
from rvos_ensemble.propagators.core.mask_quality import agreement
from rvos_ensemble.propagators.core.propagate import PropagationTask
from rvos_ensemble.propagators.core.rounds.collapse import Limits
from rvos_ensemble.propagators.core.rounds.track import Tracking

LIMITS = ("object_score", "predicted_iou", "confidence", "area")


class Track(PropagatingStep):
    """Propagates; where the propagation collapses, again, with the source's next best frame as a further key frame.

    A sequence that does not collapse is that of `propagate`. The manifest names for each round the frames that
    collapsed, by limit, and the added key frames, and says why the tracking ended.

    Settings:
        rounds: maximum number of rounds; 1 propagates once and notes what collapsed.
        object_score, predicted_iou: a mask collapses if the propagator states a signal below this, in 0..1; null for
            no limit. SAM 2 says with an object score below 0.5 that the object is not visible.
        confidence: if the propagator states no signals, as `flow` and AOT do, a mask collapses if the mean probability
            inside it is below this; it is in 0.5..1, and 0 for an empty mask. null for no limit.
        area: a mask collapses if its area is more than this factor larger or smaller than the median of the last 10
            that are not zero; null for no limit.
        apart: minimum distance between an added key frame and every other one.
        trust: minimum quality of an added key frame, as a share of that of the best key frame. The rule `key_frame`
            measures it, such as `argmax` by scores; for rules that do not compare frames (`first`, `uniform`,
            `given`), it is the agreement of the source with its own masks on neighbouring frames.
        max_iou: a frame is added only if the IoU of the source's mask and the propagated one is at most this: a tracker
            that agrees with the source has not lost the object.
        input, with, key_frame, scores_from, empty_key: as for `propagate`.
    """

    defaults = {
        **PropagatingStep.defaults,
        "rounds": whole(3, least=1),
        "object_score": number(Limits.object_score, least=0, most=1, null=True),
        "predicted_iou": number(Limits.predicted_iou, least=0, most=1, null=True),
        "confidence": number(Limits.confidence, least=0, most=1, null=True),
        "area": number(Limits.area, above=1, null=True),
        "apart": whole(Tracking.apart, least=1),
        "trust": number(Tracking.trust, least=0, most=1),
        "max_iou": number(Tracking.max_iou, least=0, most=1),
    }

    def task(self, once: PropagationTask, key: KeyFrames, scorers: Sequence[MaskSequence]) -> PropagationTask:
        """The task with the settings of the rounds, and the quality of the source's masks."""
        s = self.settings
        return Tracking(
            **vars(once),
            rounds=s.rounds,
            limits=Limits(**{name: getattr(s, name) for name in LIMITS}),
            apart=s.apart,
            trust=s.trust,
            max_iou=s.max_iou,
            quality=agreement(scorers) if key.quality is None else key.quality,
        )
