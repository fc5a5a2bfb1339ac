"""The step `refine`."""

from __future__ import annotations

from collections.abc import Mapping

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, whole
from rvos_ensemble.ensemble.steps.step import PropagatingStep
from rvos_ensemble.propagators.core.key_frame_settings import setting_of
from rvos_ensemble.propagators.core.propagate import Job
from rvos_ensemble.propagators.core.refine import Refinement


class Refine(PropagatingStep):
    """Propagates in rounds: each starts from the most confident frames of the one before (URVOS).

    Settings:
        rounds: how many at most; fewer where a round would repeat the one before.
        memory: frames that a round starts from, at most, the key frame among them.
        apart: frames between two of them at least.
        over: the pixels that the confidence of a frame is the mean of, `frame` or `mask`.
        input, with, key_frame, scores_from, empty_key: as of `propagate`.
    """

    version = 2  # 2: key frames stay however near to each other
    defaults = {
        **PropagatingStep.defaults,
        "key_frame": setting_of("confidence"),
        "rounds": whole(5, least=1),
        "memory": whole(4, least=1),
        "apart": whole(1, least=1),
        "over": choice("frame", "mask"),
    }

    def jobs(self, clip: Clip, inputs: Mapping[str, Prediction]) -> list[Job]:
        more = {key: getattr(self.settings, key) for key in ("rounds", "memory", "apart", "over")}
        return [Refinement(**vars(job), **more) for job in super().jobs(clip, inputs)]
