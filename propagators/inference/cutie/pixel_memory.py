"""The pixel memory of one sequence: working memory of recent frames, permanent frames and long-term memory.

Source: Cheng and Schwing, XMem, ECCV 2022, sec. 3.2, for the long-term memory; permanent frames: Bekuzarov et al.,
"XMem++: Production-level Video Segmentation From Few Annotated Frames", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rvos_ensemble.propagators.networks.cutie.affinity import (
    Candidates,
    FrameKeys,
    best_of,
    memory_side,
    most_similar,
    query_side,
    read_values,
)

NEW = 1e-7  # the life of a token that nobody could read yet


@dataclass(frozen=True)
class MemoryLimits:
    """Limits of a pixel memory.

    Attributes:
        top_k: tokens that a pixel reads.
        max_frames: of the working memory; permanent frames beyond the first are not counted.
        min_frames: that stay in the working memory when the others are consolidated; None: no long-term memory, the
            oldest frame is forgotten.
        num_prototypes: long-term tokens that a consolidation makes.
        max_num_tokens: of the long-term memory.
        buffer_tokens: see `settings.LONG_TERM`.
    """

    top_k: int = 30
    max_frames: int = 5
    min_frames: int | None = None
    num_prototypes: int = 128
    max_num_tokens: int = 10_000
    buffer_tokens: int = 2000


@dataclass
class LongTermKeys:
    """The keys of L long-term tokens: key [L, K] and shrinkage [L, 1], and both as one side of the product."""

    key: Tensor
    shrinkage: Tensor
    as_memory: Tensor = field(init=False)

    def __post_init__(self):
        self.as_memory = memory_side(self.key, self.shrinkage)


class PixelMemory:
    """Values of memory tokens: those of S frames with N tokens each, then L long-term tokens.

    The order of tokens does not matter to readers. Frames that stay are first, the others follow from old to new.

    Attributes:
        frames: the keys of each frame, which sequences share.
        permanent: the number of frames that stay.
        values: [S * N + L, V].
        long: the keys of the long-term tokens.
        usage: [2, S * N + L]: how much each token was read, and how often it could have been read. None without a
            long-term memory.
    """

    def __init__(self, limits: MemoryLimits):
        self.limits = limits
        self.frames: list[FrameKeys] = []
        self.permanent = 0
        self.values: Tensor | None = None
        self.long: LongTermKeys | None = None
        self.usage: Tensor | None = None

    def read(self, candidates_of: Callable[[FrameKeys], Candidates], query: Tensor) -> Tensor:
        """What M pixels read.

        Args:
            candidates_of: the candidates of one frame of the memory for the pixels, `top_k` each.
            query: the pixels, see `affinity.query_side`.

        Returns:
            [M, V].
        """
        parts = [candidates_of(keys) for keys in self.frames]
        sizes = [len(keys.key) for keys in self.frames]
        if self.long is not None:
            parts.append(most_similar(query, self.long.as_memory, self.limits.top_k))
            sizes.append(len(self.long.key))
        best = best_of(parts, sizes, self.limits.top_k)
        readout, weights = read_values(self.values, best)
        if self.usage is not None:
            self.usage[0].scatter_add_(0, best.index.flatten(), weights.flatten())
            self.usage[1] += 1
        return readout

    def add(self, keys: FrameKeys, values: Tensor, permanent: bool) -> None:
        """Adds a frame, and forgets or consolidates older ones if there are too many.

        Args:
            keys: of the frame.
            values: [N, V].
            permanent: whether the frame stays; the first one always does.
        """
        permanent = permanent or not self.frames
        place = self.permanent if permanent else len(self.frames)
        self.frames.insert(place, keys)
        self.permanent += permanent
        self._insert(place * len(values), values)
        recent = len(self.frames) - self.permanent
        if self.limits.min_frames is None:
            for _ in range(recent - (self.limits.max_frames - 1)):
                self._forget(1)
        elif recent >= self.limits.max_frames - 1:
            self._consolidate(recent - (self.limits.min_frames - 1))

    def keep_permanent(self) -> None:
        """Removes all frames that do not stay, and all long-term tokens."""
        tokens = self.permanent * len(self.frames[0].key)
        del self.frames[self.permanent :]
        self.long, self.values = None, self.values[:tokens].clone()
        if self.usage is not None:
            self.usage = self.usage[:, :tokens].clone()

    def _insert(self, start: int, values: Tensor) -> None:
        """Inserts tokens that have not been read."""
        if self.values is None:
            self.values = values
            self.usage = None if self.limits.min_frames is None else _unread(values)
            return
        self.values = torch.cat([self.values[:start], values, self.values[start:]])
        if self.usage is not None:
            self.usage = torch.cat([self.usage[:, :start], _unread(values), self.usage[:, start:]], 1)

    def _remove(self, start: int, count: int) -> None:
        """Removes tokens."""
        end = start + count
        self.values = torch.cat([self.values[:start], self.values[end:]])
        if self.usage is not None:
            self.usage = torch.cat([self.usage[:, :start], self.usage[:, end:]], 1)

    def _forget(self, frames: int) -> None:
        """Removes the oldest frames that do not stay."""
        tokens = len(self.frames[0].key)
        self._remove(self.permanent * tokens, frames * tokens)
        del self.frames[self.permanent : self.permanent + frames]

    def _consolidate(self, frames: int) -> None:
        """Replaces the oldest frames that do not stay by prototypes: tokens that were read most, and their values."""
        if self.long is not None and len(self.long.key) >= self.limits.max_num_tokens - self.limits.num_prototypes:
            self._forget_rarely_read()
        old = self.frames[self.permanent : self.permanent + frames]
        key, shrinkage, selection = (torch.cat([getattr(f, x) for f in old]) for x in ("key", "shrinkage", "selection"))
        start = self.permanent * len(old[0].key)
        part = slice(start, start + len(key))
        read = self.usage[0, part] / self.usage[1, part]
        chosen = read.topk(min(self.limits.num_prototypes, len(key))).indices
        similarity = query_side(key[chosen], selection[chosen]) @ memory_side(key, shrinkage).T  # [P, tokens]
        weights = similarity.softmax(1)
        values, shrinkage = weights @ self.values[part], weights @ shrinkage
        self._forget(frames)
        self._insert(len(self.values), values)
        made = [key[chosen], shrinkage]
        if self.long is not None:
            made = [torch.cat([self.long.key, made[0]]), torch.cat([self.long.shrinkage, made[1]])]
        self.long = LongTermKeys(*made)

    def _forget_rarely_read(self) -> None:
        """Removes long-term tokens so that there is room for prototypes and `buffer_tokens`."""
        limits, start = self.limits, len(self.values) - len(self.long.key)
        read = self.usage[0, start:] / self.usage[1, start:]
        kept = read.topk(limits.max_num_tokens - limits.num_prototypes - limits.buffer_tokens).indices
        self.long = LongTermKeys(self.long.key[kept], self.long.shrinkage[kept])
        self.values = torch.cat([self.values[:start], self.values[start + kept]])
        self.usage = torch.cat([self.usage[:, :start], self.usage[:, start + kept]], 1)


def _unread(values: Tensor) -> Tensor:
    """The usage of new tokens, [2, tokens]."""
    usage = values.new_zeros(2, len(values))
    usage[1] = NEW
    return usage
