"""One pass of the propagator `blend`: every member propagates the same sequences, and their soft masks are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.masks import quantise
from rvos_ensemble.propagators.core.propagator import Frame, Sweep


class BlendSweep:
    """One pass of all members.

    Args:
        sweeps: the passes of the members.
        confidence: exponent of the members' confidence as their weight, see `blend`.
        feedback: members continue from the mean instead of from their own masks.
    """

    def __init__(self, sweeps: Sequence[Sweep], confidence: float, feedback: bool):
        self.sweeps, self.confidence, self.feedback = list(sweeps), confidence, feedback

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, Any]:
        """Processes the next frame; see `propagators.core.propagator.Sweep`."""
        results = [
            sweep.step(Frame(frame.t, frame.image, _MemberMemo(frame.memo, n)), references)
            for n, sweep in enumerate(self.sweeps)
        ]
        means = {i: _Mean([masks[i] for masks in results], self.confidence) for i in results[0]}
        if not self.feedback:
            return means  # computed when they are read, so that a device can work ahead
        means = {i: np.asarray(mean) for i, mean in means.items()}
        self.correct({i: mean for i, mean in means.items() if i not in references})
        return means

    def correct(self, masks: Mapping[int, np.ndarray]) -> None:
        """All members continue from these masks; see `propagators.core.propagator.Propagator.corrects`."""
        for sweep in self.sweeps:
            sweep.correct(masks)


def blend(masks: Sequence[np.ndarray], confidence: float) -> np.ndarray:
    """The mean of soft masks of one object, weighted by how sure each of them is.

    A mask is as sure as the mean of |2 p - 1| over the pixels that are in the object for any of them, so that a mask
    without the object can also be sure. Its weight is that number to the power of `confidence`.

    Args:
        masks: uint8 [H, W] each, 0..255 means probability 0..1.
        confidence: 0 for a plain mean.

    Returns:
        uint8 [H, W].

    >>> blend([np.uint8([[255, 0]]), np.uint8([[155, 0]])], 0).tolist()
    [[205, 0]]
    >>> blend([np.uint8([[255, 0]]), np.uint8([[155, 0]])], 1).tolist()
    [[237, 0]]
    """
    inside = np.any([mask > 127 for mask in masks], axis=0)
    if not confidence or not inside.any():
        weights = np.ones(len(masks))
    else:
        sure = [np.abs(2 * (mask[inside] / 255) - 1).mean() for mask in masks]
        weights = np.maximum(sure, 1e-3) ** confidence
    weights = (weights / weights.sum() / 255).astype(np.float32)
    return quantise(sum(w * mask.astype(np.float32) for w, mask in zip(weights, masks, strict=True)))


class _Mean:
    """The mean of the members' masks of one sequence; `np.asarray` computes it."""

    def __init__(self, masks: Sequence[Any], confidence: float):
        self.masks, self.confidence = masks, confidence

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return blend([np.asarray(mask) for mask in self.masks], self.confidence).astype(dtype or np.uint8, copy=False)


class _MemberMemo(MutableMapping):
    """The entries of one member in the memo of a frame, under keys of its own."""

    def __init__(self, memo: dict[Any, Any], member: int):
        self.memo, self.member = memo, member

    def __getitem__(self, key: Any) -> Any:
        return self.memo[self.member, key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.memo[self.member, key] = value

    def __delitem__(self, key: Any) -> None:
        del self.memo[self.member, key]

    def __iter__(self) -> Iterator[Any]:
        return (key for member, key in self.memo if member == self.member)

    def __len__(self) -> int:
        return sum(1 for _ in self)
