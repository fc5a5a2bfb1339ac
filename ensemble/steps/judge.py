"""The step `judge`: decides by a network whether each expression refers to anything in the clip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import number, text, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION, TOKENIZER
from rvos_ensemble.ensemble.fusion import tracklets
from rvos_ensemble.ensemble.fusion.existence import NO_TARGET_SHARE
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps

if TYPE_CHECKING:
    from rvos_ensemble.ensemble.steps.parts.presence_judge import PresenceJudge

OPTIONS = (
    "no_target_share",
    "tokenizer",
    "short_side",
    "device",
    "precision",
    "frames",
)  # `PresenceJudge`'s arguments, in order


class Judge(Step):
    """Sets the presence of each expression, from the tracklets of the clip and the words; the masks stay as they are.

    The network compares each expression with every tracklet of the clip, so that a source that segments the wrong
    object does not make the right one absent. `gate` then empties the masks of expressions that refer to nothing.

    Settings:
        inputs: the masks to judge, and further sources or steps whose masks are tracklets, too; of objects or of
            expressions.
        weights: checkpoint of the judge.
        no_target_share: share of the expressions of the data that refer to nothing; by default that of MeViSv2.
        max_iou: of two tracklets with a higher IoU over the whole video, one is enough.
        keep: maximum number of tracklets.
        frames: number of uniformly sampled frames in which the network sees the tracklets; their paths use all frames.
        short_side: short side of the network's input in pixels; null for the size of the training.
        tokenizer: folder with the tokenizer's files; null for the included one or the Hugging Face cache.
        device, precision: as for the models, see docs/models.md.
    """

    reads_pictures = True
    takes = None
    defaults = {
        "inputs": INPUTS,
        "weights": text(what="a checkpoint"),
        "no_target_share": number(NO_TARGET_SHARE, above=0, below=1),
        "max_iou": number(0.7, least=0, most=1),
        "keep": whole(20, least=1),
        "frames": whole(6, least=1),
        "short_side": whole(None, least=1, most=1 << 14),
        "tokenizer": TOKENIZER,
        "device": DEVICE,
        "precision": PRECISION,
    }

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """Also opens the checkpoint, so that its problems are reported before anything is computed."""
        if not {"weights", *OPTIONS} <= values.keys():
            return []
        try:
            self.__dict__["network"] = _opened(values)
        except InputError as error:
            return error.problems
        return []

    @cached_property
    def network(self) -> PresenceJudge:
        """The network."""
        return _opened(vars(self.settings))

    @property
    def masks_from(self) -> list[str]:
        """The first input."""
        return self.inputs[:1]

    @property
    def uses_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self.network.device.type == "cuda"

    def problems(self, clip: Clip) -> list[str]:
        """The tokenizer of the small network knows only the words of `shapes`."""
        return self.network.word_problems(
            clip,
            f"{self.settings.weights}",
            "Use these words, or weights of a network that knows others, see docs/training.md",
        )

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """All inputs must have masks, and the first must be masks of expressions."""
        first = self.inputs[0]
        if known[first].objects:
            return [f"input {first} gives masks of objects, expected expressions; name it after the masks to judge"]
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """The traits of the judged masks."""
        return known[self.inputs[0]]

    def fingerprint(self, clip: Clip) -> str:
        """Changes with the weights, the tokenizer and the frames."""
        return f"{self.network.fingerprint} {clip.fingerprint}"

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The masks of the first input with the judge's presence; 0 for all if no input has any mask."""
        masks = inputs[self.inputs[0]]
        shown = self._tracklets(inputs)
        presences = self.network.presences(clip, shown) if shown else [0.0] * len(clip.expressions)
        return {
            e.id: masks[e.id].with_(
                presence=p, notes={**masks[e.id].notes, "judge": round(p, 4), "judged_tracklets": len(shown)}
            )
            for e, p in zip(clip.expressions, presences, strict=True)
        }

    def _tracklets(self, inputs: Mapping[str, Prediction]) -> list[MaskSequence]:
        """The masks of all inputs that are not empty, without duplicates; those of the first input come first."""
        s = self.settings
        every = {id(m.masks): m for name in self.inputs for m in inputs[name].values()}
        sequences = [m for m in every.values() if not m.is_empty()]
        if not sequences:
            return []
        kept = tracklets.nms(tracklets.tracklet_iou(sequences), [1.0] * len(sequences), s.max_iou, s.keep)
        return [sequences[i] for i in kept]

    def describe(self) -> str:
        """The judged masks and the checkpoint."""
        return f"{self.inputs[0]} judged by {str(self.settings.weights).rpartition('/')[2]}"


def _opened(settings: Mapping[str, Any]) -> PresenceJudge:
    """The network of the settings."""
    from rvos_ensemble.ensemble.steps.parts.presence_judge import PresenceJudge  # imported here: loading torch is slow

    return PresenceJudge(settings["weights"], *(settings[k] for k in OPTIONS))
