"""URVOS's first stage: every frame on its own. The second stage is the propagator `urvos`, with the same weights.

Source: Seo et al., "URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark",
ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import path, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.core.unknown_words import unknown_word_problems
from rvos_ensemble.adapters.inference.logits import LogitMasks, confidence
from rvos_ensemble.adapters.inference.network_adapter import shipped_name
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION

if TYPE_CHECKING:
    from rvos_ensemble.adapters.networks.urvos.urvos import URVOS as Network

SETTINGS: dict[str, Any] = {
    # a file that `train segmenter=urvos` wrote, or the name of weights of this package: urvos_nano
    "weights": path(what="weights such as urvos_nano"),
    "short_side": whole(None, least=1, most=1 << 14),  # of the frames, pixels; None: as the network was trained
    "device": DEVICE,  # auto (CUDA if available), cpu, cuda, cuda:1, ...
    "precision": PRECISION,  # auto, fp32, or autocast to bf16 or fp16 (fp16 on CUDA only)
}


class URVOSAdapter(Adapter):
    """URVOS, every frame on its own: needs `weights`, ours (urvos_nano) or those of a training of your own."""

    # frames per forward pass: affects memory, not results
    defaults: ClassVar[dict[str, Any]] = {**SETTINGS, "frames_per_step": whole(8, least=1)}

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """Whether this machine can run the settings `device` and `precision`."""
        return device_problems(given)

    def predict(self, clip: Clip) -> Prediction:
        """P of a frame is the mean of its pixel-wise final scores."""
        import numpy as np
        import torch

        from rvos_ensemble.adapters.inference import device, preprocess

        network, s = self.network, self.settings
        where = device.pick(s.device)
        size = network.input_size(clip.size, s.short_side)
        logits = []
        with torch.no_grad(), device.autocast(where, s.precision, network):
            text = network.read([e.text for e in clip.expressions])
            for start in progress.counted(range(0, len(clip), s.frames_per_step)):
                span = range(start, min(start + s.frames_per_step, len(clip)))
                maps = network.encode(preprocess.read(clip, span, size, "torchvision").to(where))
                logits.append(network.answer(maps, text).half().cpu().numpy())
        masks = [LogitMasks(x, tuple(clip.size)) for x in np.concatenate(logits, 1)]  # [E, T, h4, w4]
        scores = [[confidence(m[t]) for t in range(len(clip))] for m in masks]
        notes = {"model": "urvos", "score_source": "mean of the pixel-wise final scores"}
        prediction = {}
        for e, m, p in zip(clip.expressions, masks, scores, strict=True):
            unknown = network.words.unknown(e.text)
            prediction[e.id] = MaskSequence.prob(m, p, **notes, **({"unknown_words": unknown} if unknown else {}))
        return prediction

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Weights that are missing or do not fit; expressions with words that our small weights do not know."""
        try:
            words = self.network.words
        except InputError as error:
            return error.problems
        if not str(self.settings.weights).endswith("_nano"):  # weights of your own have the words of your data
            return []
        advice = "Use these words, or train a network on your data: train segmenter=urvos, see docs/urvos.md"
        return [
            problem
            for clip in clips
            for problem in unknown_word_problems(
                clip.name,
                self.settings.weights,
                {e.text: words.unknown(e.text) for e in clip.expressions},
                words.words,
                advice,
            )
        ]

    def traits(self, clip: Clip) -> Traits:
        """Soft masks with scores."""
        return Traits("prob", scores=True, key_frame=False)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the weights."""
        return fingerprint(self.settings.weights)

    def label(self) -> str:
        """See `Adapter.label`."""
        return shipped_name(self.settings.weights)

    @cached_property
    def network(self) -> Network:
        """The network with its weights, on its device."""
        return loaded(vars(self.settings))

    @property
    def uses_gpu(self) -> bool:
        """Whether the setting `device` means a GPU."""
        from rvos_ensemble.adapters.inference import device

        return device.pick(self.settings.device).type == "cuda"

    def __getstate__(self) -> dict[str, Any]:
        """Is pickled as its settings."""
        return {"settings": self.settings}


def loaded(settings: dict[str, Any]) -> Network:
    """The network of the settings `weights` and `device`."""
    from rvos_ensemble.adapters.inference import device
    from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint

    return open_checkpoint(settings["weights"], "urvos").network().to(device.pick(settings["device"]))


def fingerprint(weights: str) -> str:
    """The hash of the weights."""
    from rvos_ensemble.adapters.inference.checkpoints.weights import weights_file

    return file_hash(file_stamp(weights_file(weights)))


def device_problems(given: dict[str, Any]) -> Iterable[str]:
    """Why this machine cannot run the settings `device` and `precision`, one sentence per problem."""
    from rvos_ensemble.adapters.inference import device

    return device.problems(given, "urvos")
