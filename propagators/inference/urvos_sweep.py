"""One pass of the propagator `urvos`, see `propagators/urvos.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.inference import device, preprocess
from rvos_ensemble.adapters.inference.logits import confidence, grow, probability
from rvos_ensemble.adapters.networks.urvos.memory import FrameMemory, Remembered, together
from rvos_ensemble.adapters.networks.urvos.urvos import URVOS
from rvos_ensemble.propagators.core.propagator import Frame


class URVOSSweep:
    """One pass with a memory per sequence. A sequence whose reference masks so far were all empty has no object.

    Args:
        settings: those of the propagator.
        network: on its device.
        size: (H, W) of the frames.
        length: the number of frames of the clip.
        sentences: the expression of each sequence.
    """

    def __init__(
        self, settings: SimpleNamespace, network: URVOS, size: tuple[int, int], length: int, sentences: Sequence[str]
    ):
        self.settings, self.network, self.length = settings, network, length
        self.size, self.input = size, network.input_size(size, settings.short_side)
        self.device = device.pick(settings.device)
        with torch.no_grad():
            self.text = network.read(sentences)
        self.memories: dict[int, FrameMemory] = {}
        self.started: set[int] = set()

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Processes the next frame; see `propagators.core.propagator.Sweep`."""
        self.started |= references.keys()
        running = [i for i in self.memories if i not in references]
        results = {i: np.zeros(self.size, np.uint8) for i in self.started if i not in self.memories}
        if running or any(mask.any() for mask in references.values()):
            with torch.no_grad(), device.autocast(self.device, self.settings.precision, self.network):
                maps = self._maps(frame)
                time = torch.tensor([float(frame.t)], device=self.device)
                for start in range(0, len(running), self.settings.batch):
                    results |= self._propagate(running[start : start + self.settings.batch], maps, time)
                for i, mask in references.items():
                    if mask.any():
                        small = torch.from_numpy(mask.astype(np.float32)).to(self.device)
                        small = F.interpolate(small[None, None], maps[0].shape[-2:], mode="area")
                        self._remember([i], maps, time, small, [1.0], anchor=True)
        return results | {i: mask.astype(np.uint8) * np.uint8(255) for i, mask in references.items()}

    def _propagate(self, running: list[int], maps: list[Tensor], time: Tensor) -> dict[int, np.ndarray]:
        """Computes the masks of some sequences on this frame and adds them to their memories."""
        memory = together([self.memories[i] for i in running])
        logits = self.network.answer(maps, self.text[running], memory, time, self.length).float()  # [E, 1, h, w]
        masks = [probability(grow(x[0], self.size)) for x in logits.cpu().numpy()]
        confidences = [confidence(mask, self.settings.over) for mask in masks]
        self._remember(running, maps, time, logits.sigmoid(), confidences)
        return dict(zip(running, masks, strict=True))

    def _remember(
        self,
        sequences: list[int],
        maps: list[Tensor],
        time: Tensor,
        masks: Tensor,
        confidences: list[float],
        anchor: bool = False,
    ) -> None:
        """Adds the frame to the memories of E sequences.

        Args:
            sequences: their E numbers.
            maps: feature maps of the frame.
            time: index of the frame, float32 [1].
            masks: of the sequences, [E, 1, h, w].
            confidences: of the masks.
            anchor: whether these are reference masks, which stay in the memory.
        """
        new = self.network.remember(maps, masks, time, self.length)
        for i, key, value, confident in zip(sequences, new.key, new.value, confidences, strict=True):
            memory = self.memories.setdefault(i, FrameMemory(self.settings.memory, self.settings.keep))
            memory.add(Remembered(key, value, confident, anchor))

    def _maps(self, frame: Frame) -> list[Tensor]:
        """Feature maps of the frame, computed once for all sequences and both sweeps."""
        key = "urvos", self.settings.weights, self.input
        if key not in frame.memo:
            image = preprocess.shrink(frame.image, self.input, "torchvision")[None]
            frame.memo[key] = FeatureMaps(self.network.encode(image.to(self.device)))
        return frame.memo[key].maps


class FeatureMaps:
    """Feature maps of a frame, and the memory they take, which `Frame.nbytes` reads."""

    def __init__(self, maps: list[Tensor]):
        self.maps, self.nbytes = maps, sum(m.nbytes for m in maps)
