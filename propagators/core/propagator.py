"""The base of every propagator: carries masks from frame to frame, all sequences of a clip in one sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from rvos_ensemble.adapters.core.component import Component


@dataclass
class Frame:
    """One frame on its way through a sweep.

    Attributes:
        t: its index in the clip.
        image: uint8 [H, W, 3] RGB.
        memo: whatever a propagator computes of the frames alone, not of masks: arrays or tensors under keys of its own
            choice. All sequences share it, and so does the other sweep while the budget lasts; nothing may depend on
            its being there.
    """

    t: int
    image: np.ndarray
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory it takes, picture and memo."""
        return self.image.nbytes + sum(getattr(value, "nbytes", 0) for value in self.memo.values())


class Sweep(Protocol):
    """One pass through the frames of a clip, in one direction, with a clean memory."""

    def step(self, frame: Frame, given: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Goes to the next frame.

        A mask given to a sequence that already runs is a further reference: the sequence goes on from that mask.
        An empty mask is allowed. Sequences never influence each other, but as `Propagator.independent` says.

        Args:
            frame: the next frame in the direction of the sweep; its neighbour in the clip, on either side.
            given: {sequence: bool [H, W]}, the masks to trust at this frame: the key frame of those sequences.

        Returns:
            {sequence: uint8 [H, W]}, the probability (0..255 means 0..1) of every sequence given a mask so far.
            Anything that `np.asarray` turns into that will do; it is read after the next step began, so a device may
            still be at work on it.
        """


class Propagator(Component):
    """Carries key-frame masks through a video. A subclass says its settings in `defaults` and writes `sweep`."""

    reads_text: ClassVar[bool] = False  # whether the sentences that it is told matter to it

    @property
    def independent(self) -> bool:
        """Whether sequences never influence each other; else the steps of a recipe have sweeps of their own."""
        return True

    def for_clip(self, length: int, sentences: Sequence[str]) -> Propagator:
        """Itself for the next sweeps, told what masks do not say; most propagators go by masks alone.

        Args:
            length: frames of the clip.
            sentences: what each sequence is of, "" where nobody knows; they are numbered as in the sweep.
        """
        return self

    def sweep(self, size: tuple[int, int], sequences: int) -> Sweep:
        """A new pass with a clean memory.

        Args:
            size: (H, W) of the frames and masks.
            sequences: how many there will be at most; they are numbered from 0.
        """
        raise NotImplementedError

    def reverse(self, sweep: Sweep, size: tuple[int, int], sequences: int) -> Sweep:
        """The pass in the other direction, after `sweep` is through: a new one with a clean memory.

        A propagator that reproduces code whose passes are not independent may let the sweep go on instead; a sequence
        then runs again from the first mask given in this pass.
        """
        return self.sweep(size, sequences)

    def fingerprint(self) -> str:
        """Changes whenever something other than settings that the result depends on does, such as weights."""
        return ""
