"""The step `ground` of the top-down system: chooses the object of an expression (arXiv 2106.01061, eq. 4-6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects, Prediction
from rvos_ensemble.adapters.core.settings import paths, switch, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION, TOKENIZER
from rvos_ensemble.ensemble.steps.step import INPUT, Step

if TYPE_CHECKING:
    from rvos_ensemble.ensemble.steps.parts.grounder import Grounder


OPTIONS = ("tokenizer", "short_side", "device", "precision", "frames_per_step")  # `Grounder`'s arguments, in order


class Ground(Step):
    """Chooses one object for each expression by a network that sees the objects and reads the words.

    Settings:
        input: tracklets, or with `each_frame` the objects of a segmenter.
        weights: checkpoint of the grounding network, or several, whose probabilities are averaged. They may have
            different encoders, and each sees the frames at its own size.
        each_frame: True: each frame chooses among its own objects, as image-level methods do. False: the object with
            the highest probability, averaged over frames, is used for the whole clip.
        frames: number of uniformly sampled frames that the network sees; null for all.
        short_side: short side of the network's input in pixels; null for the size of the training.
        tokenizer: folder with the tokenizer's files, for networks whose checkpoint does not hold their tokenizer; null
            for the included one or the Hugging Face cache.
        device, precision: as for the models, see docs/models.md.
        frames_per_step: frames per forward pass; affects memory, not results.
    """

    reads_pictures = True
    takes, gives = "objects", "expressions"
    defaults = {
        "input": INPUT,
        "weights": paths(what="one or several checkpoints"),
        "each_frame": switch(False),
        "frames": whole(None, least=1),
        "short_side": whole(None, least=1, most=1 << 14),
        "tokenizer": TOKENIZER,
        "device": DEVICE,
        "precision": PRECISION,
        "frames_per_step": whole(8, least=1),
    }

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """Also opens the files, so that their problems are reported before anything is computed."""
        if not {"weights", *OPTIONS} <= values.keys():
            return []
        try:
            self.__dict__["grounder"] = _opened(values)
        except InputError as error:
            return error.problems
        return []

    @property
    def inputs(self) -> list[str]:
        """The tracklets or objects."""
        return [self.settings.input]

    @cached_property
    def grounder(self) -> Grounder:
        """The networks."""
        return _opened(vars(self.settings))

    @property
    def uses_gpu(self) -> bool:
        """Whether the networks run on a GPU."""
        return self.grounder.device.type == "cuda"

    def problems(self, clip: Clip) -> list[str]:
        """The tokenizer of the small networks knows only the words of `shapes`."""
        return self.grounder.word_problems(
            clip,
            f"{self.settings.weights}",
            "Use these words, or weights of a network that knows others, see docs/topdown.md",
        )

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """The traits of the chosen masks."""
        if self.settings.each_frame:
            return Traits("binary", scores=True, key_frame=False, signals=())
        return replace(known[self.settings.input], objects=False)

    def fingerprint(self, clip: Clip) -> str:
        """Changes with the weights, the tokenizer and the frames."""
        return f"{self.grounder.fingerprint} {clip.fingerprint}"

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The most probable object of each expression; empty masks if there are no objects."""
        objects = inputs[self.settings.input]
        if not objects:
            nothing = LazyMasks((len(clip), *clip.size), np.dtype(bool), _Nothing(tuple(clip.size)))
            empty = MaskSequence(nothing, scores=np.zeros(len(clip), np.float32), notes={"object": None})
            return {e.id: empty for e in clip.expressions}
        if self.settings.each_frame:
            return self._each_frame(clip, objects)
        probabilities = self.grounder.probabilities(clip, objects, self.settings.frames).mean(1)  # [E, P]
        names = list(objects)
        prediction = {}
        for e, probability in zip(clip.expressions, probabilities, strict=True):
            best = int(probability.argmax())
            chosen = objects[names[best]]
            notes = {**chosen.notes, "object": names[best], "probability": round(float(probability[best]), 4)}
            prediction[e.id] = chosen.with_(notes=notes)
        return prediction

    def _each_frame(self, clip: Clip, objects: Objects) -> Prediction:
        """The most probable of the objects visible in each frame; its score P is this probability."""
        names = list(objects)
        visible = np.array([[s.mask(t).any() for s in objects.values()] for t in range(len(clip))])  # [T, P]
        probabilities = self.grounder.probabilities(clip, objects, None, visible)
        prediction = {}
        for e, probability in zip(clip.expressions, probabilities, strict=True):  # [T, P]
            best = [names[i] for i in probability.argmax(1)]
            masks = (objects[name].mask(t) for t, name in enumerate(best))
            scores = probability.max(1) * visible.any(1)
            prediction[e.id] = MaskSequence.binary(masks, scores, score_source="probability of the object in the frame")
        return prediction

    def describe(self) -> str:
        """The input and the checkpoints."""
        s = self.settings
        weights = [s.weights] if isinstance(s.weights, str) else s.weights
        by = " and ".join(str(w).rpartition("/")[2] for w in weights)
        return f"{s.input} grounded{', frame by frame,' if s.each_frame else ''} by {by}"


class _Nothing:
    """Empty masks of one size."""

    def __init__(self, size: tuple[int, int]):
        self.size = size

    def __call__(self, t: int) -> np.ndarray:
        return np.zeros(self.size, bool)


def _opened(settings: Mapping[str, Any]) -> Grounder:
    """The networks of the settings."""
    from rvos_ensemble.ensemble.steps.parts.grounder import Grounder  # imported here because loading torch is slow

    weights = settings["weights"]
    return Grounder([weights] if isinstance(weights, str) else weights, *(settings[k] for k in OPTIONS))
