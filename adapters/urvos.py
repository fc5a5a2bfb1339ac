"""URVOS's first stage: every frame by itself. The second is the propagator of the same name, with the same weights.

Source: Seo et al., "URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark",
ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from adapters.adapter import Adapter
from adapters.component import REQUIRED
from adapters.datasets.frames import few
from adapters.files.side_files import file_hash, file_stamp
from adapters.logits import LogitMasks, confidence
from adapters.sequence import Clip, InputError, MaskSequence, Prediction

if TYPE_CHECKING:
    from adapters.networks.urvos import URVOS as Network

SETTINGS: dict[str, Any] = {
    "weights": REQUIRED,  # a file that `train segmenter=urvos` wrote, or the name of shipped ones: urvos_nano
    "short_side": None,  # of the frames, pixels; None: as the network was trained
    "device": "auto",  # auto (CUDA where there is one), cpu, cuda, cuda:1, ...
    "precision": "fp32",  # fp32, or autocast to bf16 or fp16 (fp16 on CUDA only)
}


class URVOS(Adapter):
    """URVOS, every frame by itself: needs `weights`, ours (urvos_nano) or those of a training of your own."""

    defaults: ClassVar[dict[str, Any]] = {**SETTINGS, "frames_per_step": 8}  # frames at once: memory, not numbers

    def __init__(self, **settings):
        super().__init__(**settings)
        if problems := [*problems_of(vars(self.settings), "urvos", ("short_side", "frames_per_step"))]:
            raise InputError(problems)

    def predict(self, clip: Clip) -> Prediction:
        """P of a frame is the mean of its pixel-wise final scores."""
        import numpy as np
        import torch

        from adapters.networks import device, frames

        network, s = self.network, self.settings
        where = device.pick(s.device)
        size = network.input_size(clip.size, s.short_side)
        logits = []
        with torch.no_grad(), device.autocast(where, s.precision):
            text = network.read([e.text for e in clip.expressions])
            for start in range(0, len(clip), s.frames_per_step):
                span = range(start, min(start + s.frames_per_step, len(clip)))
                maps = network.encode(frames.read(clip, span, size, "torchvision").to(where))
                logits.append(network.answer(maps, text).half().cpu().numpy())
        masks = [LogitMasks(x, tuple(clip.size)) for x in np.concatenate(logits, 1)]
        scores = [[confidence(m[t]) for t in range(len(clip))] for m in masks]
        notes = {"model": "urvos", "score_source": "mean of the pixel-wise final scores"}
        found = {}
        for e, m, p in zip(clip.expressions, masks, scores, strict=True):
            unknown = network.words.unknown(e.text)
            found[e.id] = MaskSequence.prob(m, p, **notes, **({"unknown_words": unknown} if unknown else {}))
        return found

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Weights that are missing or do not fit; sentences that our small ones cannot read."""
        try:
            words = self.network.words
        except InputError as error:
            return error.problems
        if not str(self.settings.weights).endswith("_nano"):  # one's own has the words of its own data
            return []
        strange = {c.name: [e.text for e in c.expressions if words.unknown(e.text)] for c in clips}
        return [
            f"clip {name!r}: {self.settings.weights} knows only the words of `shapes`, not all of these: {few(texts)}"
            for name, texts in strange.items()
            if texts
        ]

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the weights."""
        return fingerprint(self.settings.weights)

    @cached_property
    def network(self) -> Network:
        """Loaded, on its device."""
        return loaded(vars(self.settings))

    @property
    def uses_gpu(self) -> bool:
        from adapters.networks import device

        return device.pick(self.settings.device).type == "cuda"

    def __getstate__(self) -> dict[str, Any]:
        """Travels to other processes as its settings."""
        return {"settings": self.settings}


def loaded(settings: dict[str, Any]) -> Network:
    """The network of the settings `weights` and `device`."""
    from adapters.networks import device, urvos

    return urvos.load(settings["weights"]).to(device.pick(settings["device"]))


def fingerprint(weights: str) -> str:
    """Changes with the file."""
    from adapters.networks.weights import weights_file

    return file_hash(file_stamp(weights_file(weights)))


def problems_of(settings: dict[str, Any], where: str, counts: Sequence[str]) -> list[str]:
    """Settings that make no sense, one sentence each.

    Args:
        settings, where: of an adapter or propagator, and its name.
        counts: settings that are whole numbers of at least 1.
    """
    from adapters.networks import device

    found = list(device.problems(settings, where))
    if not settings["weights"]:
        found.append(f"{where}: setting `weights` must be given, such as urvos_nano")
    for key in counts:
        value = settings[key]
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            found.append(f"{where}: setting `{key}` is {value!r}, expected a whole number of at least 1")
    return found
