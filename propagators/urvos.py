"""URVOS's second stage: from the anchor on, the network goes by the sentence and by the frames it is surest of.

Source: Seo et al., "URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark",
ECCV 2020.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from rvos_ensemble.adapters.core.settings import choice, whole
from rvos_ensemble.adapters.inference import device, preprocess
from rvos_ensemble.adapters.inference.logits import confidence, grow, probability
from rvos_ensemble.adapters.networks.urvos.memory import FrameMemory, Remembered, together
from rvos_ensemble.adapters.networks.urvos.urvos import URVOS as Network
from rvos_ensemble.adapters.urvos import SETTINGS, device_problems, fingerprint, loaded
from rvos_ensemble.propagators.core.propagator import Frame, Propagator


class URVOS(Propagator):
    """URVOS with its memory of the most confident frames; reads the sentence too. Needs `weights` (urvos_nano)."""

    reads_text: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {
        **SETTINGS,
        "memory": whole(4, least=1),  # frames remembered at most, key frames among them (T of the paper)
        # beside the key frames: the most confident frames, or the `previous` one alone
        "keep": choice("confident", "previous"),
        "over": choice("frame", "mask"),  # the pixels that confidence is the mean of: frame or mask
        "batch": whole(8, least=1),  # sequences at once in the network: memory, not numbers
    }

    def __init__(self, /, **settings):
        super().__init__(**settings)
        self.length, self.sentences = 1, []
        self.network  # noqa: B018  weights that do not fit are found before the hours begin

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        return device_problems(given)

    @cached_property
    def network(self) -> Network:
        """Loaded, on its device."""
        return loaded(vars(self.settings))

    @property
    def uses_gpu(self) -> bool:
        return device.pick(self.settings.device).type == "cuda"

    def for_clip(self, length: int, sentences: Sequence[str]) -> URVOS:
        told = copy.copy(self)
        told.__dict__["network"] = self.network
        told.length, told.sentences = length, list(sentences)
        return told

    def sweep(self, size: tuple[int, int], sequences: int) -> URVOSSweep:
        return URVOSSweep(self, size, sequences)

    def fingerprint(self) -> str:
        return fingerprint(self.settings.weights)

    def __getstate__(self) -> dict[str, Any]:
        """Travels to other processes as its settings."""
        return {"settings": self.settings, "length": self.length, "sentences": self.sentences}


class URVOSSweep:
    """One pass: a memory per sequence. A sequence whose masks so far were all empty has no object."""

    def __init__(self, propagator: URVOS, size: tuple[int, int], sequences: int):
        self.settings, self.network, self.length = propagator.settings, propagator.network, propagator.length
        self.size, self.input = size, self.network.input_size(size, self.settings.short_side)
        self.device = device.pick(self.settings.device)
        with torch.no_grad():
            self.text = self.network.read(propagator.sentences or [""] * sequences)
        self.memories: dict[int, FrameMemory] = {}
        self.started: set[int] = set()

    def step(self, frame: Frame, given: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Goes to the next frame; see `propagators.propagator.Sweep`."""
        self.started |= given.keys()
        running = [i for i in self.memories if i not in given]
        results = {i: np.zeros(self.size, np.uint8) for i in self.started if i not in self.memories}
        if running or any(mask.any() for mask in given.values()):
            with torch.no_grad(), device.autocast(self.device, self.settings.precision):
                maps = self._maps(frame)
                time = torch.tensor([float(frame.t)], device=self.device)
                for start in range(0, len(running), self.settings.batch):
                    results |= self._carry(running[start : start + self.settings.batch], maps, time)
                for i, mask in given.items():
                    if mask.any():
                        small = torch.from_numpy(mask.astype(np.float32)).to(self.device)
                        small = F.interpolate(small[None, None], maps[0].shape[-2:], mode="area")
                        self._remember([i], maps, time, small, [1.0], anchor=True)
        return results | {i: mask.astype(np.uint8) * np.uint8(255) for i, mask in given.items()}

    def _carry(self, running: list[int], maps: list[torch.Tensor], time: torch.Tensor) -> dict[int, np.ndarray]:
        """The masks of some sequences at this frame, which they remember from now on."""
        memory = together([self.memories[i] for i in running])
        logits = self.network.answer(maps, self.text[running], memory, time, self.length).float()  # [E, 1, h, w]
        masks = [probability(grow(x[0], self.size)) for x in logits.cpu().numpy()]
        sure = [confidence(mask, self.settings.over) for mask in masks]
        self._remember(running, maps, time, logits.sigmoid(), sure)
        return dict(zip(running, masks, strict=True))

    def _remember(self, sequences, maps, time, masks: torch.Tensor, sure: list[float], anchor: bool = False) -> None:
        """Takes the frame under masks [E, 1, h, w] into the memories of E sequences."""
        new = self.network.remember(maps, masks, time, self.length)
        for i, key, value, confident in zip(sequences, new.key, new.value, sure, strict=True):
            memory = self.memories.setdefault(i, FrameMemory(self.settings.memory, self.settings.keep))
            memory.add(Remembered(key, value, confident, anchor))

    def _maps(self, frame: Frame) -> list[torch.Tensor]:
        """What the network makes of the frame, once for all sequences and both sweeps."""
        key = "urvos", self.settings.weights, self.input
        if key not in frame.memo:
            image = preprocess.shrink(frame.image, self.input, "torchvision")[None]
            frame.memo[key] = Maps(self.network.encode(image.to(self.device)))
        return frame.memo[key].maps


class Maps:
    """Feature maps of a frame, and the memory they take."""

    def __init__(self, maps: list[torch.Tensor]):
        self.maps, self.nbytes = maps, sum(m.nbytes for m in maps)
