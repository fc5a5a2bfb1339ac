"""The base class of every propagator, which moves masks from frame to frame, all sequences of a clip in one sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from rvos_ensemble.adapters.core.component import Component

SIGNALS = ("object_score", "predicted_iou")  # see `MaskSequence.signals`


@dataclass
class Frame:
    """One frame of a sweep.

    Attributes:
        t: its index in the clip.
        image: uint8 [H, W, 3] RGB.
        memo: arrays or tensors that a propagator computes from frames alone, not from masks, under keys of its choice.
            All sequences share it, and the other sweep gets it too if the memory budget allows; a sweep must not rely
            on an entry.
    """

    t: int
    image: np.ndarray
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory of the image and the memo."""
        return self.image.nbytes + sum(getattr(value, "nbytes", 0) for value in self.memo.values())


class Sweep(Protocol):
    """One pass through the frames of a clip, in one direction, with a clean memory.

    A sweep with the attribute `final_at_end = True` decides about a mask only after further frames: its results are
    read after its last step, and must be small until then. Those that are read earlier are provisional.
    """

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Processes the next frame.

        A reference mask of a sequence that already runs replaces its mask: the sequence continues from that mask. An
        empty mask is allowed. Sequences never influence each other, unless `Propagator.independent` is False.

        Args:
            frame: the next frame in the direction of the sweep, a neighbour of the previous one in the clip.
            references: {sequence: bool [H, W]}, the masks to trust on this frame, a key frame of those sequences.

        Returns:
            {sequence: uint8 [H, W]}, the probability (0..255 means 0..1) of every sequence that has had a reference on
            this or an earlier frame. Any object that `np.asarray` turns into such an array is allowed; it is read after
            the next step has begun, so that a device may compute it meanwhile. The object may have an attribute
            `signals`, {name: number}, with those of `SIGNALS` that the propagator states about this mask.
        """


class Propagator(Component):
    """Moves masks of key frames through a video; a subclass lists its settings in `defaults` and defines `sweep`."""

    reads_text: ClassVar[bool] = False  # whether its results depend on the sentences
    # whether its sweeps have `correct(masks)`: called after a step with {sequence: uint8 [H, W]} for sequences that
    # the step propagated, it replaces their masks of that frame, from which they continue
    corrects: ClassVar[bool] = False
    signals: ClassVar[tuple[str, ...]] = ()  # those of `SIGNALS` that its sweeps state

    @property
    def title(self) -> str:
        """What it is, in a few words, for tables."""
        return self.name

    @property
    def weights(self) -> list[str]:
        """The weights that it uses, as its settings name them."""
        own = getattr(self.settings, "weights", None)
        return [own] if own else []

    @property
    def independent(self) -> bool:
        """Whether sequences never influence each other; otherwise each step of a recipe has sweeps of its own."""
        return True

    def for_clip(self, length: int, sentences: Sequence[str]) -> Propagator:
        """The propagator for the next sweeps; most propagators use masks and frames only and return themselves.

        Args:
            length: the number of frames of the clip.
            sentences: the expression of each sequence, numbered as in the sweep; "" if it is not known.
        """
        return self

    def sweep(self, size: tuple[int, int], sequences: int) -> Sweep:
        """A new pass with a clean memory.

        Args:
            size: (H, W) of the frames and masks.
            sequences: the maximal number of sequences; they are numbered from 0.
        """
        raise NotImplementedError

    def reverse(self, sweep: Sweep, size: tuple[int, int], sequences: int) -> Sweep:
        """The pass in the other direction, after `sweep` has ended: a new one with a clean memory.

        A propagator that reproduces code whose two passes share a memory may return `sweep` itself; a sequence then
        runs again from its first reference mask in this pass.
        """
        return self.sweep(size, sequences)

    def fingerprint(self) -> str:
        """Changes if anything but the settings changes that the result depends on, such as weights."""
        return ""
