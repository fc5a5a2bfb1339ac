"""The step `gated_average`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import number
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps
from rvos_ensemble.propagators.core.key_frame_quality import forecast
from rvos_ensemble.propagators.core.key_frame_settings import rule_problems, setting_of
from rvos_ensemble.propagators.core.key_frames import choose
from rvos_ensemble.propagators.core.memory_rules.scene_cut import ClipShots


class GatedAverage(Step):
    """On the key frame only: averages the first input with the inputs that agree with it (2022 winners).

    All other frames are copied from the first input. The key frame is the one that `propagate` chooses with the same
    rule.

    Settings:
        inputs: predictions, the best model first.
        min_iou: minimum IoU with the mask of the first input for a mask to be averaged.
        key_frame: the rule; by default the product of the scores of all models, as in the paper.
    """

    defaults = {"inputs": INPUTS, "min_iou": number(0.9, least=0, most=1), "key_frame": setting_of("product")}

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """The key-frame rule must fit the number of inputs."""
        return rule_problems(values.get("key_frame"), [*dict.fromkeys(values.get("inputs", ()))], "inputs")

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """The first input must have masks, and the key-frame rule must fit the inputs."""
        return [
            *vote_maps(self, self.inputs[:1], known),
            *forecast(self.settings.key_frame, self.inputs[0], self.inputs, known, clip),
        ]

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Soft masks with a key frame, with scores if the first input has them."""
        first = known[self.inputs[0]].all()
        return Traits("prob", scores=first.scores, key_frame=True, presence=first.presence, signals=())

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """Averages on the key frame of each expression; all other frames are those of the first input."""
        result, shots = {}, ClipShots(clip)
        for e in clip.expressions:
            models = {name: inputs[name][e.id] for name in self.inputs}
            first = models[self.inputs[0]]
            key = choose(self.settings.key_frame, first, models, clip=clip.name, expression=e.id, shots=shots)
            fused = {
                t: fusion.gated_average([m.prob_at(t) for m in models.values()], self.settings.min_iou)
                for t in key.frames
            }
            masks = LazyMasks(
                first.masks.shape,
                np.dtype(np.uint8),
                lambda t, fused=fused, first=first: fused.get(t, first.prob_at(t)),
            )
            notes = {**first.notes, "key_frame": list(key.frames), "key_frame_rule": key.rule}
            result[e.id] = MaskSequence(masks, "prob", scores=first.scores, notes=notes, presence=first.presence)
        return result
