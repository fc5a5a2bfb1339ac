"""The memory of one sequence in one direction, bounded whatever the length of the clip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from rvos_ensemble.propagators.core.memory_rules.admission import Sighting


@dataclass(frozen=True, eq=False)  # entries are compared by identity
class MemoryFrame:
    """What is remembered of one frame.

    Attributes:
        t: index of the frame in the clip.
        pointer: [C], the object pointer.
        features: [n, 64], the spatial memory; None once nothing can read it any more.
    """

    t: int
    pointer: Tensor
    features: Tensor | None


class MemoryBank:
    """Conditioning frames (key frames), recent frames and their object pointers.

    The default rule of SAM 2: the spatial memories of the conditioning frames and of the last `num_maskmem` - 1 frames
    that are no conditioning frames, the pointers of all conditioning frames and of the last `max_pointers` - 1 frames.
    Another rule for long video overrides `admit` (does a frame enter the memory?) and `memories` (which memories does a
    frame read, at which temporal position?). Entries never change, so that a copy of a bank (`fork`) is cheap.

    Args:
        num_maskmem: the number of temporal positions of the network.
        max_pointers: limit of the recent object pointers, plus one.
        max_conditioning: limit of the conditioning frames whose spatial memory is read, the nearest ones; None: all.
    """

    def __init__(self, num_maskmem: int, max_pointers: int, max_conditioning: int | None):
        self.num_maskmem, self.max_pointers, self.max_conditioning = num_maskmem, max_pointers, max_conditioning
        self.conditioning: list[MemoryFrame] = []  # oldest first
        self.recent: list[MemoryFrame] = []  # oldest first

    def fork(self) -> MemoryBank:
        """An independent bank with the same entries."""
        copy = type(self)(self.num_maskmem, self.max_pointers, self.max_conditioning)
        copy.conditioning, copy.recent = list(self.conditioning), list(self.recent)
        return copy

    def condition(self, entry: MemoryFrame, seen: Sighting | None = None) -> None:
        """Adds a conditioning frame; for `seen`, see `admit`."""
        self.conditioning.append(entry)
        self._forget(entry.t)

    def admit(self, entry: MemoryFrame, seen: Sighting | None = None) -> None:
        """Adds a propagated frame; the place for rules of admission.

        Args:
            entry: the frame.
            seen: what it shows; None if no rule asks for that.
        """
        self.recent.append(entry)
        self._forget(entry.t)

    def forget_shot(self) -> None:
        """Keeps only what holds for another shot too: the conditioning frames."""
        self.recent = []

    def memories(self, t: int) -> list[tuple[int, MemoryFrame]]:
        """The spatial memories that frame t reads: (temporal position, frame).

        The temporal position is an index into the network's temporal encodings: that of a frame at distance d is d - 1,
        that of a conditioning frame is `num_maskmem` - 1.
        """
        read = self._read(self.conditioning)
        near = [e for e in (*self.conditioning, *self.recent) if abs(t - e.t) < self.num_maskmem and e not in read]
        near.sort(key=lambda e: -abs(t - e.t))
        return [(self.num_maskmem - 1, e) for e in read] + [(abs(t - e.t) - 1, e) for e in near]

    def pointers(self, t: int) -> list[tuple[int, Tensor]]:
        """The object pointers that frame t reads: (distance in frames, pointer [C])."""
        near = [e for e in reversed(self.recent) if abs(t - e.t) < self.max_pointers]
        return [(abs(t - e.t), e.pointer) for e in (*self.conditioning, *near)]

    def _read(self, conditioning: list[MemoryFrame]) -> list[MemoryFrame]:
        """The conditioning frames whose spatial memory is read: the nearest ones, which are the latest."""
        return conditioning if self.max_conditioning is None else conditioning[-self.max_conditioning :]

    def _forget(self, t: int) -> None:
        """Drops what frames after t cannot read."""
        read, reach = self._read(self.conditioning), max(self.max_pointers, self.num_maskmem)
        self.conditioning = [e if e in read else self._bare(e, t) for e in self.conditioning]
        self.recent = [self._bare(e, t) for e in self.recent if abs(t - e.t) < reach - 1]

    def _bare(self, entry: MemoryFrame, t: int) -> MemoryFrame:
        """The entry without its spatial memory if frames after t do not read it."""
        return entry if abs(t - entry.t) < self.num_maskmem - 1 else replace(entry, features=None)

    @property
    def nbytes(self) -> int:
        """Memory of all entries."""
        return frames_nbytes((*self.conditioning, *self.recent))


def frames_nbytes(frames: Iterable[MemoryFrame]) -> int:
    """Memory of frames, some of which may be the same."""
    tensors = {id(x): x for e in frames for x in (e.pointer, e.features)}
    return _nbytes(tensors.values())


def _nbytes(tensors: Iterable[Tensor | None]) -> int:
    return sum(x.nbytes for x in tensors if x is not None)
