"""The memory of a sequence of URVOS: a few frames, of which the least confident is replaced.

Source: Seo et al., URVOS, ECCV 2020: at most T = 4 frames; Table 5 compares this with the anchor and the
previous frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rvos_ensemble.adapters.networks.urvos.attention import Memory


@dataclass(frozen=True)
class Remembered:
    """A frame with its mask, as tokens [N, K] and [N, V].

    Attributes:
        confidence: of the mask; the frame with the lowest one is replaced first.
        anchor: whether the caller provided its mask; such frames are kept.
    """

    key: Tensor
    value: Tensor
    confidence: float = 1.0
    anchor: bool = False


class FrameMemory:
    """At most `size` frames of one sequence.

    Args:
        size: maximum number of frames; with more anchors than that, the oldest anchor is dropped.
        keep: which frames are kept beside the anchors: the most "confident" ones, or only the "previous" one.

    >>> memory = FrameMemory(2)
    >>> for confidence, anchor in ((0.5, True), (0.9, False), (0.7, False)):
    ...     memory.add(Remembered(torch.zeros(1, 1), torch.zeros(1, 1), confidence, anchor))
    >>> [frame.confidence for frame in memory.frames]
    [0.5, 0.9]
    """

    def __init__(self, size: int = 4, keep: str = "confident"):
        self.size, self.keep = size, keep
        self.frames: list[Remembered] = []

    def add(self, frame: Remembered) -> None:
        """Adds a frame, and drops one if the memory is full."""
        if self.keep == "previous":
            self.frames = [f for f in self.frames if f.anchor]
        self.frames.append(frame)
        if len(self.frames) > self.size:
            free = [f for f in self.frames if not f.anchor]
            dropped = min(free, key=lambda f: f.confidence) if free else self.frames[0]
            self.frames = [f for f in self.frames if f is not dropped]


def together(memories: Sequence[FrameMemory]) -> Memory:
    """Batches the memories of E sequences, each of at least one frame; shorter ones are padded."""
    counts = [len(m.frames) for m in memories]
    cells, most = len(memories[0].frames[0].key), max(counts)
    first = memories[0].frames[0]
    key = first.key.new_zeros(len(memories), most, cells, first.key.shape[1])
    value = first.value.new_zeros(len(memories), most, cells, first.value.shape[1])
    for row, memory in enumerate(memories):
        for place, frame in enumerate(memory.frames):
            key[row, place], value[row, place] = frame.key, frame.value
    padding = torch.arange(most, device=key.device) >= torch.tensor(counts, device=key.device)[:, None]  # [E, most]
    padding = padding.repeat_interleave(cells, 1) if min(counts) < most else None
    return Memory(key.flatten(1, 2), value.flatten(1, 2), padding)
