"""Memories with other rules than SAM 2's own; `propagators/core/memory_rules/` holds the decisions."""

from __future__ import annotations

from dataclasses import replace

from rvos_ensemble.propagators.core.memory_rules.admission import DistractorRule, Sighting
from rvos_ensemble.propagators.inference.sam.memory.bank import MemoryBank, MemoryFrame, frames_nbytes


class RankedBank(MemoryBank):
    """The memory of a pathway: the last `num_maskmem` - 1 frames that were admitted, however long ago.

    The temporal position of a frame is its rank among them, not its distance, which may exceed what the network knows.
    """

    def memories(self, t: int) -> list[tuple[int, MemoryFrame]]:
        """See `MemoryBank.memories`."""
        return self._timeless(self._read(self.conditioning)) + ranked(self._last())

    def _timeless(self, frames: list[MemoryFrame]) -> list[tuple[int, MemoryFrame]]:
        return [(self.num_maskmem - 1, e) for e in frames]

    def _last(self) -> list[MemoryFrame]:
        """The admitted frames whose spatial memory is read."""
        return self.recent[len(self.recent) - min(len(self.recent), self.num_maskmem - 1) :]

    def _forget(self, t: int) -> None:
        """Drops what frames after t cannot read."""
        read, last = self._read(self.conditioning), self._last()
        self.conditioning = [e if e in read else replace(e, features=None) for e in self.conditioning]
        near = [
            replace(e, features=None) for e in self.recent if e not in last and abs(t - e.t) < self.max_pointers - 1
        ]
        self.recent = near + last


class DistractorBank(MemoryBank):
    """The distractor-aware memory: recent frames by rank, and anchors, which are read like key frames.

    Object pointers are those of SAM 2's own rule.

    Args:
        num_maskmem, max_pointers, max_conditioning: see `MemoryBank`.
        rule: the rule of admission in its initial state.
    """

    def __init__(self, num_maskmem: int, max_pointers: int, max_conditioning: int | None, rule: DistractorRule):
        super().__init__(num_maskmem, max_pointers, max_conditioning)
        self.rule = rule
        self.anchors: list[MemoryFrame] = []  # oldest first
        self.shown: list[tuple[MemoryFrame, bool]] = []  # recent frames, oldest first, and whether they stay

    def fork(self) -> DistractorBank:
        """An independent bank with the same entries."""
        copy = type(self)(self.num_maskmem, self.max_pointers, self.max_conditioning, self.rule.fork())
        copy.conditioning, copy.recent = list(self.conditioning), list(self.recent)
        copy.anchors, copy.shown = list(self.anchors), list(self.shown)
        return copy

    def condition(self, entry: MemoryFrame, seen: Sighting | None = None) -> None:
        """Adds a conditioning frame."""
        super().condition(entry)
        self.rule.key_frame(seen.area)

    def admit(self, entry: MemoryFrame, seen: Sighting | None = None) -> None:
        """Adds a propagated frame to the memories that the rule says."""
        stays, anchor = self.rule.decide(seen)
        super().admit(replace(entry, features=None))
        if seen.area > 0:
            kept = [(e, old) for n, (e, old) in enumerate(self.shown) if old or n < len(self.shown) - 1]
            self.shown = [*kept, (entry, stays)][-self.rule.settings["recent"] :]
        if anchor:
            self.anchors = [*self.anchors, entry][-self.rule.settings["anchors"] :]

    def forget_shot(self) -> None:
        """Keeps the conditioning frames and the anchors."""
        super().forget_shot()
        self.shown = []

    def memories(self, t: int) -> list[tuple[int, MemoryFrame]]:
        """See `MemoryBank.memories`."""
        timeless = [*self._read(self.conditioning), *self.anchors]
        return [(self.num_maskmem - 1, e) for e in timeless] + ranked([e for e, _ in self.shown])

    def _forget(self, t: int) -> None:
        """Drops what frames after t cannot read."""
        read = self._read(self.conditioning)
        self.conditioning = [e if e in read else replace(e, features=None) for e in self.conditioning]
        self.recent = [e for e in self.recent if abs(t - e.t) < self.max_pointers - 1]

    @property
    def nbytes(self) -> int:
        """Memory of all entries."""
        return frames_nbytes((*self.conditioning, *self.recent, *self.anchors, *(e for e, _ in self.shown)))


def ranked(frames: list[MemoryFrame]) -> list[tuple[int, MemoryFrame]]:
    """Frames from old to new with their temporal positions, 0 for the newest."""
    return [(len(frames) - 1 - n, e) for n, e in enumerate(frames)]
