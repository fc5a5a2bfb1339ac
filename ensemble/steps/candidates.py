"""The step `candidates` of the top-down system.

Source: Liang et al., "Rethinking Cross-modal Interaction from a Top-down Perspective for Referring Video Object
Segmentation", arXiv 2106.01061.
"""

from __future__ import annotations

from collections.abc import Mapping

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import number, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.fusion import tracklets
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps


class Candidates(Step):
    """Object candidates: every mask of the segmenters in K uniformly sampled frames.

    `propagate` with `key_frame: given` turns each candidate into a tracklet. The masks of a detector that reads
    expressions are candidates, too; the step `words` then chooses among its answers to each expression.

    Settings:
        inputs: segmenters, which are sources of objects, or detectors, which are sources of masks of expressions;
            several of the same kind are pooled.
        k: number of frames; each moves to the nearest frame in which an object was detected.
        min_score: candidates with a lower score are removed.
        most: maximum number of candidates per frame and segmenter; the best ones are kept. All answers of a detector
            are kept.
    """

    takes, gives = None, "objects"
    defaults = {
        "inputs": INPUTS,
        "k": whole(tracklets.KEY_FRAMES, least=1),
        "min_score": number(0.0, least=0, most=1),
        "most": whole(20, least=1),
    }

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """Binary masks of objects, each with a score and a key frame."""
        return Traits("binary", scores=True, key_frame=True, objects=True, signals=())

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """The inputs must have masks."""
        return vote_maps(self, self.inputs, known)

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The candidates of the key frames."""
        s = self.settings
        sources = {name: inputs[name] for name in self.inputs}
        frames = tracklets.key_frames(sources, len(clip), s.k)
        return tracklets.candidates(sources, frames, s.min_score, s.most)
