"""One pass of Cutie through a clip: one network for all sequences, in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.networks.layers import to_map
from rvos_ensemble.propagators.core.memory_rules.scene_cut import CutDetector
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.cutie.model import CutieModel
from rvos_ensemble.propagators.inference.cutie.pixel_memory import PixelMemory
from rvos_ensemble.propagators.inference.host_copy import AsyncHostCopy, HostMask
from rvos_ensemble.propagators.networks.cutie.affinity import Candidates, FrameKeys, most_similar, query_side
from rvos_ensemble.propagators.networks.cutie.blocks import in_float32
from rvos_ensemble.propagators.networks.cutie.network import CutieFeatures, against_background


@dataclass
class SequenceState:
    """What a sequence remembers.

    Attributes:
        pixels: its pixel memory.
        mask: its probability on the latest frame, float32 [1, H, W] at the size of the input.
        sensory: its sensory memory, [S, h, w]; None before the first memory frame.
        objects: its object memory, [Q, E + 1]; None before the first memory frame.
        since: the number of frames since the latest memory frame.
        due: whether the latest frame is to be memorised: as "reference", which stays, or as "recent".
        at_key: mask and sensory memory right after the latest key frame was memorised.
        key_objects: its object memory of key frames alone.
    """

    pixels: PixelMemory
    mask: Tensor
    sensory: Tensor | None = None
    objects: Tensor | None = None
    since: int = 0
    due: str | None = None
    at_key: tuple[Tensor, Tensor] | None = None
    key_objects: Tensor | None = None

    def memorised_key_frame(self, summary: Tensor) -> None:
        """Keeps what `forget_shot` returns to, once a key frame with this summary [Q, E + 1] is memorised."""
        self.at_key = self.mask, self.sensory
        self.key_objects = summary if self.key_objects is None else self.key_objects + summary

    def forget_shot(self) -> None:
        """Keeps only key frames in the memories, as if the next frame followed the latest of them."""
        self.pixels.keep_permanent()
        self.mask, self.sensory = self.at_key
        self.objects = self.key_objects


class CutieSweep:
    """One pass; each sequence is what a run of the official `InferenceCore` with one object is.

    A frame is memorised when the next step begins, so that `correct` comes first and the last frame costs nothing. A
    sequence whose reference masks so far were all empty has no object: its probability is 0.

    Args:
        model: the network, already on its device.
        size: (H, W) of the frames.
    """

    def __init__(self, model: CutieModel, size: tuple[int, int]):
        self.model, self.size, self.layout = model, size, model.layout(size)
        self.cuts = CutDetector(model.settings["scene_cut"])
        self.states: dict[int, SequenceState] = {}
        self.absent: set[int] = set()  # sequences that have had empty masks only
        self.features: CutieFeatures | None = None  # of the latest frame

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, Any]:
        """Processes the next frame; see `propagators.core.propagator.Sweep`."""
        with torch.no_grad(), self.model.autocast():
            self._memorise()
            if self.cuts.is_cut(frame):  # the next frame belongs to another shot
                for state in self.states.values():
                    state.forget_shot()
            self.features = self.model.features(frame, self.layout)
            for state in self.states.values():
                state.since += 1
                if self.model.gap is not None and state.since >= self.model.gap:
                    state.due = "recent"
            results = self._propagate([i for i in self.states if i not in references])
            for i, mask in references.items():
                self._refer(i, mask)
        empty = np.zeros(self.size, np.uint8)
        results |= {i: empty for i in self.absent}
        return results | {i: np.where(mask, np.uint8(255), np.uint8(0)) for i, mask in references.items()}

    def correct(self, masks: Mapping[int, np.ndarray]) -> None:
        """Sequences continue from these masks; see `propagators.core.propagator.Propagator.corrects`."""
        for i in masks.keys() & self.states.keys():
            self.states[i].mask = self.layout.replaced(self.states[i].mask, masks[i])

    def _refer(self, i: int, mask: np.ndarray) -> None:
        """A sequence starts from a mask, or continues from it."""
        if i not in self.states and not mask.any():
            self.absent.add(i)
            return
        self.absent.discard(i)
        p = against_background(self.layout.mask(mask, self.model.device)).sigmoid()
        state = self.states.setdefault(i, SequenceState(PixelMemory(self.model.limits), p))
        state.mask, state.due = p, "reference"

    def _propagate(self, sequences: list[int]) -> dict[int, HostMask]:
        """Propagates sequences to the frame."""
        matcher, results = _Matcher(self.features.keys, self.model.limits.top_k), {}
        for part in self._batches(sequences):
            states = [self.states[i] for i in part]
            with in_float32(matcher.query):
                readout = torch.stack([s.pixels.read(matcher, matcher.query) for s in states])  # [B, N, V]
            update = [self.model.updates is None or state.since in self.model.updates for state in states]
            p, sensory = self.model.network.segment(
                self.features,
                to_map(readout, self.features.size),
                _stacked([state.sensory for state in states]),
                torch.stack([state.mask for state in states]),
                torch.stack([state.objects for state in states]),
                update,
            )
            for n, state in enumerate(states):
                state.mask, state.sensory = p[n], sensory[n]
            p = self.layout.frame_sized(p)
            batch = AsyncHostCopy(torch.ceil(p * 255 - 0.5).to(torch.uint8))  # rounds as `masks.quantise` does
            results |= {i: HostMask(batch, row, 0) for row, i in enumerate(part)}
        return results

    def _memorise(self) -> None:
        """Adds the latest frame to the memories of the sequences for which it is due."""
        for part in self._batches([i for i, state in self.states.items() if state.due]):
            states = [self.states[i] for i in part]
            masks = torch.stack([state.mask for state in states])
            sensory = _stacked([self._sensory(state) for state in states])
            values, sensory, summaries = self.model.network.memorise(self.features, masks, sensory)
            for n, state in enumerate(states):
                with in_float32(values):
                    state.pixels.add(self.features.keys, values[n], permanent=state.due == "reference")
                state.objects = summaries[n] if state.objects is None else state.objects + summaries[n]
                state.sensory, state.since = sensory[n], 0
                if state.due == "reference":
                    state.memorised_key_frame(summaries[n])
                state.due = None

    def _sensory(self, state: SequenceState) -> Tensor:
        """The sensory memory of a sequence, zeros at the start."""
        if state.sensory is not None:
            return state.sensory
        return torch.zeros(self.model.network.sizes.sensory, *self.features.size, device=self.model.device)

    def _batches(self, sequences: Sequence[int]) -> Iterator[Sequence[int]]:
        for start in range(0, len(sequences), self.model.batch):
            yield sequences[start : start + self.model.batch]


class _Matcher:
    """The candidates of each memory frame for the pixels of one frame, computed once for all sequences."""

    def __init__(self, keys: FrameKeys, top_k: int):
        self.query, self.top_k = query_side(keys.key, keys.selection), top_k
        self.known: dict[FrameKeys, Candidates] = {}

    def __call__(self, memory: FrameKeys) -> Candidates:
        if memory not in self.known:
            self.known[memory] = most_similar(self.query, memory.as_memory, self.top_k)
        return self.known[memory]


def _stacked(maps: list[Tensor]) -> Tensor:
    """Maps [C, h, w] as a channels-last batch [B, C, h, w]."""
    return torch.stack([x.permute(1, 2, 0) for x in maps]).permute(0, 3, 1, 2)
