"""The memory of sequences: keys and values of frames, in buffers of limited size."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rvos_ensemble.propagators.networks.attention import Values, attend


class Tokens(NamedTuple):
    """The key and values of one layer.

    Attributes:
        key: [1, N, D] if all sequences share it (first layer), otherwise [B, N, D].
        values: tensors [1 or B, N, C].
    """

    key: Tensor
    values: Values

    def read(self, q: Tensor, heads: int = 1) -> Values:
        """Attention of q [1 or B, N, D] to these tokens: one [1 or B, N, C] per value."""
        return attend(q, self.key, self.values, heads)

    def rows(self, index: list[int]) -> Tokens:
        """The tokens of some sequences of the batch; shared tensors stay shared."""
        key, *values = (x if len(x) == 1 else x[index] for x in (self.key, *self.values))
        return Tokens(key, tuple(values))


class ReadableMemory(Protocol):
    """Anything that queries can attend to: `Tokens`, or the memories of several groups of sequences."""

    def read(self, q: Tensor, heads: int = 1) -> Values:
        """Attention of q [1 or B, N, D] to the memory: one [B, N, C] per value."""


class RaggedMemory:
    """Memories of different length in one batch: those of sequences that started on different frames.

    Args:
        parts: (number of sequences, their tokens).
    """

    def __init__(self, parts: list[tuple[int, Tokens]]):
        self.parts = parts

    def read(self, q: Tensor, heads: int = 1) -> Values:
        """Attention of q, [1, N, D] (shared) or with one row per sequence in the order of the parts."""
        if len(self.parts) == 1:
            return self.parts[0][1].read(q, heads)
        outputs, start = [], 0
        for count, tokens in self.parts:
            rows = q if len(q) == 1 else q[start : start + count]
            outputs.append([v.expand(count, -1, -1) for v in tokens.read(rows, heads)])
            start += count
        return tuple(torch.cat(v) for v in zip(*outputs, strict=True))


class LongTermMemory:
    """Tokens of the remembered frames, for sequences that remember the same frames.

    Attention does not depend on the order of tokens. Therefore frames have slots in a buffer, and when it is full, a
    new frame takes the slot of the oldest frame that is not a reference: memory is constant on videos of any length.

    Args:
        max_frames: the maximal number of slots; the buffer doubles until it has that many.
    """

    def __init__(self, max_frames: int):
        self.max_frames = max_frames
        self.order: list[tuple[int, bool]] = []  # (slot, whether it is a reference), oldest first
        self.layers: list[Tokens] = []  # buffers [1 or B, slots * N, .]
        self.tokens = 0  # N of one frame

    def __len__(self) -> int:
        return len(self.order)

    def layer(self, i: int) -> Tokens:
        """All tokens of layer i, a view."""
        used = len(self.order) * self.tokens
        return Tokens(self.layers[i].key[:, :used], tuple(v[:, :used] for v in self.layers[i].values))

    def append(self, frame: list[Tokens], reference: bool) -> None:
        """Adds a frame. References stay; if all slots contain references, other frames are not kept.

        Args:
            frame: its tokens, one per layer.
            reference: whether its masks are reference masks.
        """
        slot = self._slot(reference)
        if slot is None:
            return
        self.order.append((slot, reference))
        self.tokens = frame[0].key.shape[1]
        needed = (slot + 1) * self.tokens
        if not self.layers or self.layers[0].key.shape[1] < needed:
            self._grow(frame, min(self.max_frames, 2 * slot + 1))
        part = slice(slot * self.tokens, needed)
        for buffers, tokens in zip(self.layers, frame, strict=True):
            for buffer, x in zip((buffers.key, *buffers.values), (tokens.key, *tokens.values), strict=True):
                buffer[:, part] = x

    def rows(self, index: list[int]) -> LongTermMemory:
        """A separate memory for some of the sequences."""
        own = LongTermMemory(self.max_frames)
        own.order, own.tokens = list(self.order), self.tokens
        own.layers = [Tokens(t.key.clone(), tuple(v.clone() for v in t.values)) for t in map(_rows(index), self.layers)]
        return own

    def latest_reference(self) -> list[Tokens]:
        """A copy of the tokens of the reference that was added last, one per layer."""
        slot = next(slot for slot, reference in reversed(self.order) if reference)
        part = slice(slot * self.tokens, (slot + 1) * self.tokens)
        return [Tokens(t.key[:, part].clone(), tuple(v[:, part].clone() for v in t.values)) for t in self.layers]

    def keep_references(self) -> None:
        """Removes all frames that are no references."""
        kept = sorted(slot for slot, reference in self.order if reference)
        for buffers in self.layers:
            for buffer in (buffers.key, *buffers.values):
                frames = buffer[:, : self.tokens * (kept[-1] + 1)].unflatten(1, (-1, self.tokens))
                frames[:, : len(kept)] = frames[:, kept]  # indexing with a list copies
        place = {slot: i for i, slot in enumerate(kept)}
        self.order = [(place[slot], True) for slot, reference in self.order if reference]

    def _slot(self, reference: bool) -> int | None:
        """The slot of the next frame, or None if it is not kept; the frame that had the slot is removed."""
        if len(self.order) < self.max_frames:
            return len(self.order)
        old = next((i for i, (_, kept) in enumerate(self.order) if not kept), 1 if reference else None)
        return None if old is None or old >= len(self.order) else self.order.pop(old)[0]

    def _grow(self, frame: list[Tokens], slots: int) -> None:
        """Allocates buffers for a number of frames and copies the existing content."""

        def bigger(like: Tensor, old: Tensor | None) -> Tensor:
            new = like.new_empty(like.shape[0], slots * self.tokens, like.shape[2])
            if old is not None:
                new[:, : old.shape[1]] = old
            return new

        old = self.layers or [None] * len(frame)
        self.layers = [
            Tokens(bigger(t.key, o and o.key), tuple(bigger(v, o and o.values[i]) for i, v in enumerate(t.values)))
            for t, o in zip(frame, old, strict=True)
        ]


def _rows(index: list[int]):
    return lambda tokens: tokens.rows(index)
