"""The step `average`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import number
from rvos_ensemble.adapters.core.traits import Traits, any_presence
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.steps.parts.weights import weights_of
from rvos_ensemble.ensemble.steps.step import INPUTS, Step


class Average(Step):
    """Weighted mean of soft masks, which preserves the confidence of each model.

    Settings:
        inputs: predictions; binary masks count as 0 and 1.
        weights: positive numbers, [2, 1] or {soc: 2, mutr: 1}; null for equal weights.
    """

    defaults = {"inputs": INPUTS, "weights": weights_of(number(least=0, most=1e6))}

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """The number of weights must be that of the inputs."""
        if {"inputs", "weights"} <= values.keys():
            try:
                fusion.soft_average([np.zeros(1, np.uint8)] * len(values["inputs"]), values["weights"])
            except ValueError as error:
                yield str(error)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Soft masks with scores, without a key frame."""
        presence = any_presence(known[name] for name in self.inputs)
        return Traits("prob", scores=True, key_frame=False, presence=presence, signals=())

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The mean of the inputs' probabilities; the score of a frame is the mean probability inside its mask."""
        result = {}
        for e in clip.expressions:
            maps = [inputs[name][e.id] for name in self.inputs]
            probs = np.empty((len(clip), *clip.size), np.uint8)
            for t in range(len(clip)):
                probs[t] = fusion.soft_average([m.prob_at(t) for m in maps], self.settings.weights)
            scores = [fusion.mean_inside(p, p > 127) / 255 for p in probs]
            fused = MaskSequence.prob(probs, scores, score_source="mean probability inside the mask")
            presence = fusion.mean_presence([m.presence for m in maps], self.settings.weights)
            result[e.id] = fused.with_(presence=presence)
        return result
