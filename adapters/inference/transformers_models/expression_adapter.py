"""The base of the adapters grounding_dino and sam3: masks of expressions on key frames, to be propagated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, number, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.transformers_models.adapter import DEFAULTS as SHARED
from rvos_ensemble.adapters.inference.transformers_models.adapter import KeyFrameAdapter
from rvos_ensemble.adapters.inference.transformers_models.outputs.answer import Answer
from rvos_ensemble.adapters.inference.transformers_models.outputs.few_masks import FewMasks

DEFAULTS: dict[str, Any] = {
    **SHARED,
    "threshold": number(0.3, least=0, most=1),  # lowest score of an instance
    "take": choice("best", "all"),  # best: one instance per frame; all: the union of those above the threshold
    "most": whole(20, least=1),  # instances in a union
}


class KeyFrameExpressionAdapter(KeyFrameAdapter):
    """Masks of expressions on key frames, empty in all others, with a score on each key frame.

    The note `key_frame` names the frame with the best score, from which `propagate` starts with `key_frame: argmax` or
    `given`.

    Attributes:
        states_presence: whether the network says how probable it is that an expression refers to anything.
        score: what the scores are, for the notes.
    """

    defaults: ClassVar[dict[str, Any]] = DEFAULTS
    states_presence: ClassVar[bool] = False
    score: ClassVar[str]

    def predict(self, clip: Clip) -> Prediction:
        """See `Adapter.predict`."""
        texts = list(dict.fromkeys(e.text for e in clip.expressions))  # a sentence that occurs twice is read once
        answers: dict[str, dict[int, Answer]] = {text: {} for text in texts}
        with self.running(clip) as model:
            for t in progress.counted(self.key_frames(clip)):
                for text, answer in zip(texts, model.answers(clip.read(t), texts), strict=True):
                    answers[text][t] = answer
        return {e.id: self._sequence(clip, answers[e.text]) for e in clip.expressions}

    def traits(self, clip: Clip) -> Traits:
        """Binary masks, each with a score and a key frame."""
        return Traits("binary", scores=True, key_frame=True, presence=self.states_presence)

    def _sequence(self, clip: Clip, answers: Mapping[int, Answer]) -> MaskSequence:
        """The masks of one expression from its answers on key frames."""
        scores = np.zeros(len(clip), np.float32)
        masks = {}
        for t, answer in answers.items():
            if answer.instances:
                masks[t] = union([i.mask for i in answer.instances[: 1 if self.settings.take == "best" else None]])
                scores[t] = answer.instances[0].score
        notes = {"model": self.name, "score_source": self.score, "key_frame": int(scores.argmax())}
        presences = [answer.presence for answer in answers.values() if answer.presence is not None]
        packed = FewMasks.pack(len(clip), tuple(clip.size), masks)
        return MaskSequence(packed, scores=scores, notes=notes, presence=max(presences, default=None))


def union(masks: Sequence[np.ndarray]) -> np.ndarray:
    """All pixels of some masks, bool [H, W].

    >>> union([np.array([[True, False]]), np.array([[False, False]])]).tolist()
    [[True, False]]
    """
    return np.logical_or.reduce(masks)
