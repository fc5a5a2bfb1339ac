"""The base of the adapters that run a segmentation network: settings, and inputs that are checked before a run starts.

Torch is imported once something about the weights is needed, not before, so that recipes that read masks from files
start without it. What happens to a clip is in `segmenter.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, number, switch, text, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION, TOKENIZER, WEIGHTS
from rvos_ensemble.adapters.inference.procedure import Procedure

if TYPE_CHECKING:
    from rvos_ensemble.adapters.inference.segmenter import Segmenter

DEFAULTS: dict[str, Any] = {
    "weights": WEIGHTS,  # a checkpoint of the official code, or the name of one of ours, such as soc_nano
    # folder with the tokenizer's files; None: the Hugging Face cache, or that of this package for our own weights
    "tokenizer": TOKENIZER,
    "backbone": text(None),  # the expected one, such as video_swin_b_p4w7; None accepts any
    "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # auto, fp32, or autocast to bf16 or fp16 (fp16 on CUDA only)
    "frames_per_step": whole(8, least=1),  # frames per forward pass: affects memory, not results
    "expressions_per_step": whole(None, least=1),  # expressions per forward pass; None: all of the clip
    # a pixel belongs to the object from this probability on; soft masks are shifted accordingly
    "threshold": number(0.5, above=0, below=1),
    "compile": switch(False),  # torch.compile: the first clip takes minutes, later ones are faster
}
WINDOWED: dict[str, Any] = {  # for models that process many frames of a clip together
    # frames per window: whole, a number, or auto: whole up to 64 frames, else as for Ref-DAVIS
    "window": whole("auto", least=1, words=("auto", "whole")),
    # one query per window, as the official code does for Ref-DAVIS, or one per video
    "query": choice("window", "video"),
}
SHORT_SIDE = whole("auto", least=1, most=1 << 14, words=("auto",))  # of the input, pixels
LONG_SIDE = whole(None, least=1, most=1 << 14)  # of the input at most, pixels
LAYER = choice("auto", "official", "last")  # the decoder layer whose masks are taken


class NetworkAdapter(Procedure, Adapter):
    """An adapter that runs a segmentation network; its attributes are those of `Procedure`."""

    def predict(self, clip: Clip) -> Prediction:
        """See `Adapter.predict`."""
        return self.segmenter.predict(clip)

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Weights and a tokenizer that are missing or do not fit; expressions that are empty or too long."""
        return self._problems or [problem for clip in clips for problem in self.segmenter.problems(clip)]

    def traits(self, clip: Clip) -> Traits:
        """Soft masks, with scores if the model has any."""
        return Traits("prob", scores=self.score is not None, key_frame=False)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the weights and of the tokenizer."""
        return " ".join(file_hash(file_stamp(path)) for path in self.segmenter.files)

    def label(self) -> str:
        """See `Adapter.label`."""
        return shipped_name(self.settings.weights)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The checked weights and the tokenizer; the network itself is built for the first clip."""
        from rvos_ensemble.adapters.inference.segmenter import Segmenter

        return Segmenter(self)

    @cached_property
    def _problems(self) -> list[str]:
        """Problems of the weights and the tokenizer, which are the same for all clips."""
        try:
            self.segmenter  # noqa: B018  opens both
        except InputError as error:
            return error.problems
        return []

    @property
    def uses_gpu(self) -> bool:
        """Whether the setting `device` means a GPU."""
        from rvos_ensemble.adapters.inference import device

        if problems := list(device.problems(vars(self.settings), self.name)):
            raise InputError(problems)
        return device.pick(self.settings.device).type == "cuda"

    def __getstate__(self) -> dict[str, Any]:
        """Is pickled as its settings."""
        return {"settings": self.settings}


def shipped_name(weights: str) -> str:
    """The name of weights of this package, as a remark beside a source; empty for any other file."""
    from rvos_ensemble.adapters.inference.checkpoints.weights import shipped  # imported here, because it imports torch

    return weights if weights in shipped() else ""
