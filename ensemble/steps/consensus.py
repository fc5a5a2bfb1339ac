"""The step `consensus`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, either, number
from rvos_ensemble.adapters.core.traits import Traits, any_presence
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.fusion import selection
from rvos_ensemble.ensemble.steps.parts.weights import weights_of
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps
from rvos_ensemble.ensemble.steps.vote import COUNT, thresholded


class Consensus(Step):
    """A vote among the inputs that agree with their medoid, so that outliers do not vote.

    Settings:
        inputs: the predictions.
        min_iou: the medoid votes, and every input whose agreement with it is at least this; 1 leaves the medoid and
            equal inputs, 0 is a `vote` of all.
        threshold: a count of votes (int) or a share of the votes of those who vote (float in (0, 1]); see `vote`. If
            they have fewer votes than the count, a pixel needs all of them.
        weights: of each input, see `vote`; the medoid is chosen with them, too.
        overlap: how agreement is measured, see `select`.
    """

    version = 2  # agreements that differ by rounding alone are equal
    defaults = {
        "inputs": INPUTS,
        "min_iou": number(0.5, least=0, most=1),
        "threshold": either(0.5, *COUNT, what="a count (3) or a share (0.5)"),
        "weights": weights_of(number(above=0, most=1000)),
        "overlap": choice(*selection.OVERLAPS),
    }

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """The number of weights must be that of the inputs, and the inputs must have as many votes as a count asks."""
        if not {"inputs", "weights"} <= values.keys():
            return
        try:
            votes, scale = fusion.whole_votes(len(values["inputs"]), values["weights"])
            fusion.votes_needed(values.get("threshold", 1.0), sum(votes), scale)
        except ValueError as error:
            yield str(error)

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """All inputs must have masks."""
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Binary masks with scores."""
        presence = any_presence(known[name] for name in self.inputs)
        return Traits("binary", scores=True, key_frame=False, presence=presence, signals=())

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The vote of each expression; the notes name the medoid, the inputs that voted, and their agreement."""
        return {e.id: self._vote([inputs[name][e.id] for name in self.inputs]) for e in clip.expressions}

    def describe(self) -> str:
        """The inputs and the two thresholds."""
        s = self.settings
        return f"vote of those of {', '.join(self.inputs)} with IoU >= {s.min_iou} to the medoid, >= {s.threshold}"

    def fingerprint(self, clip: Clip) -> str:
        """Changes with the names of the inputs, which are in the notes."""
        return repr(self.inputs)

    def _vote(self, candidates: Sequence[MaskSequence]) -> MaskSequence:
        s = self.settings
        weights, scale = fusion.whole_votes(len(candidates), s.weights)
        matrix = selection.agreements(candidates, s.overlap)
        medoid = selection.medoid(matrix, weights)
        voters = [i for i in range(len(candidates)) if i == medoid or matrix[medoid, i] >= s.min_iou]
        votes = [weights[i] for i in voters]
        counted = isinstance(s.threshold, int)
        needed = min(s.threshold * scale, sum(votes)) if counted else fusion.votes_needed(s.threshold, sum(votes))
        fused = thresholded([candidates[i] for i in voters], votes, needed)
        notes = {
            "medoid": self.inputs[medoid],
            "voters": [self.inputs[i] for i in voters],
            "agreement": {name: round(float(a), 6) for name, a in zip(self.inputs, matrix[medoid], strict=True)},
        }
        return fused.with_(notes={**fused.notes, **notes})
