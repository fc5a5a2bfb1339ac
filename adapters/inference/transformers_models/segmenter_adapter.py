"""The base of the adapters mask2former, oneformer and eomt: the objects of a clip on its key frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.instances import seed
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import choice, names, number, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.transformers_models.adapter import DEFAULTS as SHARED
from rvos_ensemble.adapters.inference.transformers_models.adapter import KeyFrameAdapter

if TYPE_CHECKING:
    from rvos_ensemble.adapters.inference.transformers_models.segmenter import InstanceSegmenter

DEFAULTS: dict[str, Any] = {
    **SHARED,
    # lowest score, which is class probability times mask quality; lower than in demos, because a candidate that is
    # missing is lost, while a poor one loses against better tracklets
    "threshold": number(0.3, least=0, most=1),
    "most": whole(20, least=1),  # instances per frame; the best are kept
    "min_area": number(0.0005, least=0, below=1),  # of a mask, as a share of the frame
    "labels": names(None),  # class names of the checkpoint that count; None: all
}
# bilinear: of the logits, as in the official code; nearest: of masks of 384 x 384 pixels, as in transformers
UPSAMPLE = choice("bilinear", "nearest")


class InstanceSegmenterAdapter(KeyFrameAdapter):
    """An instance segmenter; each instance is an object with its class label in the note `label`."""

    objects = True
    defaults: ClassVar[dict[str, Any]] = DEFAULTS

    def open(self) -> InstanceSegmenter:
        """See `KeyFrameAdapter.open`."""
        from rvos_ensemble.adapters.inference.transformers_models.segmenter import InstanceSegmenter

        return InstanceSegmenter(self.name, vars(self.settings))

    def predict(self, clip: Clip) -> Objects:
        """{"FRAME.RANK": an instance in one frame}, its score in that frame; rank 0 is the best of the frame."""
        objects = Objects()
        with self.running(clip) as model:
            for t in progress.counted(self.key_frames(clip)):
                for rank, found in enumerate(model.instances(clip.read(t))):
                    sequence = seed(len(clip), t, found.mask, found.score)
                    notes = {**sequence.notes, "label": model.labels[found.label]}
                    objects[f"{t}.{rank}"] = sequence.with_(notes=notes)
        return objects

    def traits(self, clip: Clip) -> Traits:
        """Binary masks of objects, each with a score and a key frame."""
        return Traits("binary", scores=True, key_frame=True, objects=True)
