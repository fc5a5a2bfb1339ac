"""The state of a video: which frames each sequence remembers, and the order of operations on a frame.

A *bank* is one identity bank with its memory: up to 10 objects that compete for pixels. It corresponds to one engine of
the official code. Here any number of banks share the features of a frame and pass through the network as one batch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rvos_ensemble.propagators.networks.memory import LongTermMemory, RaggedMemory, Tokens
from rvos_ensemble.propagators.networks.network import FrameFeatures, Reading, VOSNetwork


@dataclass
class Cohort:
    """Banks that remember the same frames: one memory, with rows in the order of the banks.

    Attributes:
        banks: their numbers.
        long: the long-term memory.
        short: tokens of the previous frame, for every block.
        last: the frame count at the last addition to the long-term memory.
        pending: the reading of the current frame and the rows in it, until the masks of the frame are known.
    """

    banks: list[int]
    long: LongTermMemory
    short: list[Tokens]
    last: int
    pending: tuple[Reading, list[int]] | None = None

    def rows(self, index: list[int]) -> Cohort:
        """A new cohort of some of its banks."""
        pending = self.pending and (self.pending[0], [self.pending[1][i] for i in index])
        banks = [self.banks[i] for i in index]
        return Cohort(banks, self.long.rows(index), [t.rows(index) for t in self.short], self.last, pending)


class Tracker:
    """Propagates the labels of many banks: `step`, then `update` per frame, and `reference` where masks are known.

    Args:
        network: in inference form, see `VOSNetwork.fold`.
        memory_gap: frames between two additions to the long-term memory; None keeps references only.
        max_memory_frames: limit of the long-term memory per bank.
        batch: limit of banks in one forward pass of the network; more banks take several passes.
    """

    def __init__(self, network: VOSNetwork, memory_gap: int | None, max_memory_frames: int = 24, batch: int = 16):
        self.network, self.gap, self.max_memory_frames, self.batch = network, memory_gap, max_memory_frames, batch
        self.cohorts: list[Cohort] = []
        self.resting: list[Cohort] = []  # not propagated until their next reference
        self.objects: dict[int, int] = {}  # {bank: number of objects}
        self.frame = 0

    @property
    def banks(self) -> list[int]:
        """All banks, in the order of `step`'s logits."""
        return [b for cohort in self.cohorts for b in cohort.banks]

    @torch.no_grad()
    def reference(self, features: FrameFeatures, labels: Tensor, banks: Sequence[int], objects: Sequence[int]) -> None:
        """Adds a frame with known labels to the memory of banks; a bank starts with its first reference.

        Args:
            features: of the frame.
            labels: [B, H, W] at the size of the input, 0 for background, otherwise 1..objects.
            banks: the numbers of the B banks.
            objects: the number of objects of each bank, at most 10.
        """
        row = {bank: i for i, bank in enumerate(banks)}
        known = self._take(row) + self._take(row, self.resting)
        histories = [(c.banks, c.long) for c in known]
        histories.append(([b for b in banks if b not in self.objects], None))
        self.objects.update(zip(banks, objects, strict=True))
        for members, long in histories:
            # an existing memory is one batch already; new banks start in batches of the allowed size
            size = len(members) if long is not None else self.batch
            for start in range(0, len(members), size):
                part = members[start : start + size]
                index = [row[b] for b in part]
                ids = self.network.identify(labels[index], max(objects[i] for i in index))
                _, tokens = self.network.refer(features, ids)
                memory = LongTermMemory(self.max_memory_frames) if long is None else long
                memory.append(tokens, reference=True)
                self.cohorts.append(Cohort(list(part), memory, tokens, self.frame))

    def rest(self) -> None:
        """Stops propagating all banks until their next reference; their memory is kept."""
        self.resting += self.cohorts
        self.cohorts = []

    def forget_shot(self) -> None:
        """Keeps only references in the memories, because the next frame belongs to another shot.

        The short-term memory, whose frame shows the previous shot, becomes the latest reference.
        """
        for cohort in self.cohorts:
            cohort.long.keep_references()
            cohort.short = cohort.long.latest_reference()

    @torch.no_grad()
    def step(self, features: FrameFeatures, without: Collection[int] = ()) -> Tensor | None:
        """Propagates to the next frame.

        Args:
            features: of the frame.
            without: banks to leave out, because `reference` will be called with their labels for this frame.

        Returns:
            Logits at stride 4, [B, 1 + most objects, H / 4, W / 4], rows in the order of `banks` (the omitted banks are
            last in that order and have no row); None if no bank remains. Logits of objects that a bank does not have
            are -1e10.
        """
        self.frame += 1
        waiting = self._take(without)
        most, logits = max((self.objects[b] for b in self.banks), default=1) or 1, []
        for chunk in self._chunks():
            reading = self._read(features, chunk)
            decoded = self.network.decode(reading, most)
            for i, bank in enumerate(b for cohort in chunk for b in cohort.banks):
                decoded[i, self.objects[bank] + 1 :] = -1e10
            logits.append(decoded)
        self.cohorts += waiting
        return torch.cat(logits) if logits else None

    @torch.no_grad()
    def update(self, labels: Tensor) -> None:
        """Adds the frame of the last `step` to the memories, with labels [B, H, W] in the order of its logits."""
        readings: dict[int, tuple[Reading, list[Cohort]]] = {}
        for cohort in self.cohorts:
            if cohort.pending is not None:
                readings.setdefault(id(cohort.pending[0]), (cohort.pending[0], []))[1].append(cohort)
        start = 0
        for reading, size in self._readings:
            part = labels[start : start + size]
            start += size
            if id(reading) not in readings:  # all its banks have got references since
                continue
            ids = self.network.identify(part, max(self.objects.values()))
            tokens = self.network.remember(reading, ids)
            for cohort in readings[id(reading)][1]:
                rows, cohort.pending = cohort.pending[1], None
                cohort.short = tokens if rows == list(range(size)) else [t.rows(rows) for t in tokens]
                if self.gap is not None and self.frame - cohort.last >= self.gap:
                    cohort.long.append(cohort.short, reference=False)
                    cohort.last = self.frame
        self._readings = []

    def _read(self, features: FrameFeatures, chunk: list[Cohort]) -> Reading:
        """Runs the transformer for the cohorts of a chunk at once."""
        layers = range(len(chunk[0].short))
        long = [RaggedMemory([(len(c.banks), c.long.layer(i)) for c in chunk]) for i in layers]
        short = [_together([(len(c.banks), c.short[i]) for c in chunk]) for i in layers]
        reading = self.network.propagate(features, long, short)
        start = 0
        for cohort in chunk:
            cohort.pending = reading, list(range(start, start + len(cohort.banks)))
            start += len(cohort.banks)
        self._readings.append((reading, start))
        return reading

    def _chunks(self) -> list[list[Cohort]]:
        """Cohorts in order, in chunks of at most `batch` banks."""
        self._readings: list[tuple[Reading, int]] = []
        chunks: list[list[Cohort]] = []
        count = 0
        for cohort in self.cohorts:
            if not chunks or count + len(cohort.banks) > self.batch:
                chunks.append([])
                count = 0
            chunks[-1].append(cohort)
            count += len(cohort.banks)
        return chunks

    def _take(self, banks: Collection[int], cohorts: list[Cohort] | None = None) -> list[Cohort]:
        """Removes banks from cohorts (by default the running ones) and returns them; splits cohorts where necessary."""
        cohorts = self.cohorts if cohorts is None else cohorts
        taken, left = [], []
        for cohort in cohorts:
            inside = [i for i, b in enumerate(cohort.banks) if b in banks]
            if len(inside) in (0, len(cohort.banks)):
                (taken if inside else left).append(cohort)
            else:
                taken.append(cohort.rows(inside))
                left.append(cohort.rows([i for i, b in enumerate(cohort.banks) if b not in banks]))
        cohorts[:] = left
        return taken


def _together(parts: list[tuple[int, Tokens]]) -> Tokens:
    """Tokens of one frame for all cohorts, from (number of banks, tokens) of each.

    Tensors that depend on the image alone are the same object in all cohorts and stay shared.
    """
    if len(parts) == 1:
        return parts[0][1]

    def join(tensors: list[Tensor]) -> Tensor:
        if all(x is tensors[0] for x in tensors):
            return tensors[0]
        return torch.cat([x.expand(n, -1, -1) for (n, _), x in zip(parts, tensors, strict=True)])

    tokens = [t for _, t in parts]
    values = zip(*(t.values for t in tokens), strict=True)
    return Tokens(join([t.key for t in tokens]), tuple(join(list(v)) for v in values))
