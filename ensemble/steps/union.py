"""The step `union`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.traits import Traits, any_presence
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps


class Union(Step):
    """Union: foreground where any input has foreground."""

    defaults = {"inputs": INPUTS}

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """All inputs must have masks."""
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Binary masks without scores and key frame."""
        presence = any_presence(known[name] for name in self.inputs)
        return Traits("binary", scores=False, key_frame=False, presence=presence, signals=())

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The union of each expression."""
        return {e.id: unite([inputs[name][e.id] for name in self.inputs]) for e in clip.expressions}


def unite(maps: Sequence[MaskSequence]) -> MaskSequence:
    """Foreground where any of the sequences has foreground; present where any of them is."""
    united = MaskSequence.binary(np.logical_or.reduce([m.mask(t) for m in maps]) for t in range(len(maps[0])))
    return united.with_(presence=fusion.largest_presence([m.presence for m in maps]))
