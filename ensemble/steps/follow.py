"""The step `follow`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.steps.step import PropagatingStep
from rvos_ensemble.propagators.core.key_frame_settings import setting_of
from rvos_ensemble.propagators.core.key_frames import KeyFrames
from rvos_ensemble.propagators.core.propagate import PropagationTask


class Follow(PropagatingStep):
    """Propagates many candidates, of which few are chosen later: `propagate` with hard masks, in a tenth of its memory.

    The masks are those of `propagate` at a probability of one half, and the scores are the same.

    Settings:
        input, with, key_frame, scores_from, empty_key: as for `propagate`; the key frame is `given` by the candidates.
    """

    defaults = {**PropagatingStep.defaults, "key_frame": setting_of("given")}

    def task(self, once: PropagationTask, key: KeyFrames, scorers: Sequence[MaskSequence]) -> PropagationTask:
        """The task with hard masks."""
        return replace(once, hard=True)
