"""Decoded frames of a clip that the forward sweep keeps for the backward sweep."""

from __future__ import annotations

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.propagators.core.propagator import Frame


class FrameCache:
    """Reads the frames of a clip and keeps those that the other sweep will read too, up to a memory budget.

    A frame is read at most twice, so that a frame that was taken for the second time is not kept again.

    Args:
        clip: the frames.
        shared: indices of the frames that both sweeps read.
        budget: memory for frames and their memos, in bytes.
    """

    def __init__(self, clip: Clip, shared: range, budget: int):
        self.clip, self.budget = clip, budget
        self.again = set(shared)
        self.kept: dict[int, Frame] = {}

    def take(self, t: int) -> Frame:
        """Frame t, from the cache or decoded.

        Raises:
            InputError: the frame does not have the size of the clip.
        """
        frame = self.kept.pop(t, None)
        if frame is None:
            frame = Frame(t, self.clip.read(t))
            if frame.image.shape[:2] != tuple(self.clip.size):
                (h, w), (ch, cw) = frame.image.shape[:2], self.clip.size
                name = self.clip.frames[t]
                raise InputError(f"clip {self.clip.name!r}: frame {name!r} is {h}x{w} (HxW), the first one {ch}x{cw}")
        return frame

    def put_back(self, frame: Frame) -> None:
        """Keeps a frame and its memo if the other sweep will read it and the budget suffices."""
        if frame.t in self.again:
            self.again.discard(frame.t)
            if frame.nbytes <= self.budget:
                self.budget -= frame.nbytes
                self.kept[frame.t] = frame
