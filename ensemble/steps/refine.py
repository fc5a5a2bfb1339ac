"""The step `refine`."""

from __future__ import annotations

from collections.abc import Sequence

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.settings import choice, whole
from rvos_ensemble.ensemble.steps.step import PropagatingStep
from rvos_ensemble.propagators.core.key_frame_settings import setting_of
from rvos_ensemble.propagators.core.key_frames import KeyFrames
from rvos_ensemble.propagators.core.propagate import PropagationTask
from rvos_ensemble.propagators.core.rounds.refine import Refinement

ROUNDS = ("rounds", "memory", "apart", "over")


class Refine(PropagatingStep):
    """Propagates in rounds: each starts from the most confident frames of the previous one (URVOS).

    Settings:
        rounds: maximum number of rounds; refinement ends early if a round would repeat the previous one.
        memory: maximum number of frames from which a round starts, including the key frame.
        apart: minimum distance between two of these frames.
        over: the pixels over which the confidence of a frame is averaged, `frame` or `mask`.
        input, with, key_frame, scores_from, empty_key: as for `propagate`.
    """

    version = 2  # 2: key frames are kept even if they are close to each other
    defaults = {
        **PropagatingStep.defaults,
        "key_frame": setting_of("confidence"),
        "rounds": whole(5, least=1),
        "memory": whole(4, least=1),
        "apart": whole(1, least=1),
        "over": choice("frame", "mask"),
    }

    def task(self, once: PropagationTask, key: KeyFrames, scorers: Sequence[MaskSequence]) -> PropagationTask:
        """The task with the settings of the rounds."""
        return Refinement(**vars(once), **{name: getattr(self.settings, name) for name in ROUNDS})
