"""The step `tracklets` of the top-down system (arXiv 2106.01061, eq. 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.prediction import Objects, Prediction
from rvos_ensemble.adapters.core.settings import number, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.fusion import tracklets
from rvos_ensemble.ensemble.steps.step import INPUT, INPUTS, Step


class Tracklets(Step):
    """Keeps the best propagated candidates and removes duplicates: tracklet-NMS (eq. 3).

    Duplicates need not be lost: with `fuse`, a kept tracklet becomes the majority, weighted by scores, of all tracklets
    that overlap it, as the masks of several models become one.

    Settings:
        input: the propagated candidates.
        scores_from: the candidates before propagation; the score of a tracklet is the confidence of its candidate
            times the mean probability of its propagation.
        max_iou: two tracklets with a higher IoU over the whole video are duplicates; 1 disables NMS.
        keep: maximum number of tracklets; null for all.
        fuse: IoU over the whole video from which a tracklet votes on the masks of a kept one; null: none does.
    """

    takes = gives = "objects"
    defaults = {
        "input": INPUT,
        "scores_from": INPUTS,
        "max_iou": number(0.5, least=0, most=1),
        "keep": whole(tracklets.MOST, least=1, null=True),
        "fuse": number(None, above=0, most=1),
    }

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """`scores_from` must be one step."""
        if len(values.get("scores_from", [1])) != 1:
            yield f"scores_from is {shown(values['scores_from'])}, expected the candidates"

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """The traits of the propagated candidates."""
        return known[self.settings.input]

    @property
    def inputs(self) -> list[str]:
        """The propagated candidates, and the candidates before propagation."""
        return [self.settings.input, *self.settings.scores_from]

    @property
    def masks_from(self) -> list[str]:
        """The propagated candidates."""
        return [self.settings.input]

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The tracklets that NMS keeps, with their scores in the notes."""
        s = self.settings
        tracks, candidates = (inputs[name] for name in self.inputs)
        if set(tracks) != set(candidates):
            tracks, candidates = self.inputs
            raise InputError(f"step {self.name}: {tracks} was not computed from the candidates of {candidates}")
        names, sequences = list(tracks), list(tracks.values())
        scores = [tracklets.tracklet_score(candidates[name], tracks[name]) for name in names]
        compared = s.max_iou < 1 or s.fuse is not None
        iou = tracklets.tracklet_iou(sequences) if compared else np.zeros((len(names),) * 2)
        kept = tracklets.nms(iou, scores, s.max_iou, s.keep or len(names))
        answers = tracklets.with_answers(kept, iou, [s.notes.get("answers", {}) for s in sequences])
        result = Objects()
        for i, own in zip(kept, answers, strict=True):
            notes = {**sequences[i].notes, "tracklet_score": round(scores[i], 6)} | ({"answers": own} if own else {})
            result[names[i]] = self._fused(i, sequences, scores, iou[i]).with_(notes=notes)
        return result

    def _fused(
        self, i: int, sequences: Sequence[MaskSequence], scores: Sequence[float], iou: np.ndarray
    ) -> MaskSequence:
        """Tracklet i, or the majority of those that overlap it; `iou` is [N]."""
        if self.settings.fuse is None:
            return sequences[i]
        voters = [i, *(j for j in np.flatnonzero(iou >= self.settings.fuse).tolist() if j != i)]
        return tracklets.fused([sequences[j] for j in voters], [scores[j] for j in voters])

    def describe(self) -> str:
        """The input, the number of tracklets and the IoU threshold."""
        s = self.settings
        votes = "" if s.fuse is None else f", duplicates vote from IoU {s.fuse}"
        return f"tracklets of {s.input}, at most {s.keep or 'all'}, IoU <= {s.max_iou}{votes}"
