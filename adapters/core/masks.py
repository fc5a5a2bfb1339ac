"""MaskSequence, one mask per frame, and the containers of masks.

Masks are indexed `[t]` by frame and are `[H, W]` at the clip's size. All sizes are (H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

Kind = Literal["binary", "prob", "votes"]


class Masks(Protocol):
    """T masks of one size, such as a numpy array [T, H, W] or a lazy reader."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""

    @property
    def dtype(self) -> np.dtype:
        """The dtype of every mask."""

    def __getitem__(self, t: int) -> np.ndarray: ...


@dataclass(frozen=True)
class LazyMasks:
    """Masks that are read one frame at a time.

    Attributes:
        shape: (T, H, W).
        dtype: of every mask.
        read: t -> [H, W] of that dtype.
        read_packed: t -> uint8 [H, ceil(W / 8)], where binary masks can be read without unpacking them.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[int], np.ndarray]
    read_packed: Callable[[int], np.ndarray] | None = None

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < self.shape[0]:
            raise IndexError(f"frame {t} of {self.shape[0]}")
        return self.read(t)

    def packed(self, t: int) -> np.ndarray:
        """Binary mask t at one bit per pixel."""
        if self.read_packed is None:
            return np.packbits(self[t], axis=1)
        if not 0 <= t < self.shape[0]:
            raise IndexError(f"frame {t} of {self.shape[0]}")
        return self.read_packed(t)


@dataclass(frozen=True)
class PackedMasks:
    """Binary masks in memory at one bit per pixel: 36 frames at 720p take 4 MB instead of 33.

    Attributes:
        bits: uint8 [T, H, ceil(W / 8)], `np.packbits` order.
        width: W.
    """

    bits: np.ndarray
    width: int

    @classmethod
    def pack(cls, masks: Iterable[np.ndarray]) -> PackedMasks:
        """Packs T bool masks [H, W], one at a time."""
        rows, width = [], 0
        for mask in masks:
            rows.append(np.packbits(mask, axis=1))
            width = mask.shape[1]
        return cls(np.stack(rows), width)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        return (*self.bits.shape[:2], self.width)

    @property
    def dtype(self) -> np.dtype:
        """bool."""
        return np.dtype(bool)

    def __getitem__(self, t: int) -> np.ndarray:
        return np.unpackbits(self.bits[t], axis=1, count=self.width).view(bool)

    def packed(self, t: int) -> np.ndarray:
        """Mask t at one bit per pixel; it must not be changed."""
        return self.bits[t]


@dataclass(frozen=True)
class MaskSequence:
    """One prediction for one (clip, expression): T masks at the clip's size.

    Attributes:
        masks: T masks [H, W]; may be lazy.
        kind: "binary" (bool), "prob" (uint8, 0..255 means 0..1) or "votes" (uint8 or uint16 counts).
        total: number of votes, of "votes" only.
        scores: P, the model's confidence per frame, float32 [T]; None if the model has none.
        notes: its origin, for the manifest (key frames, score source, propagator, ...); JSON values.
        presence: probability in 0..1 that the expression refers to anything in the clip; None if unknown. Of a ground
            truth it is a fact: 0 means that the expression refers to nothing (MeViSv2), and all masks are empty.
        signals: what a propagator states about each of its masks, float32 [T] each, NaN where it states nothing, as on
            key frames. `object_score`: the probability in 0..1 that the object is visible; `predicted_iou`: its own
            estimate of the mask's IoU with the truth, in 0..1. Empty if it states none.
    """

    masks: Masks
    kind: Kind = "binary"
    total: int | None = None
    scores: np.ndarray | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    presence: float | None = None
    signals: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def binary(cls, masks: Iterable[np.ndarray], scores=None, **notes) -> MaskSequence:
        """From T bool masks [H, W], an array or any iterable; they are stored packed.

        >>> s = MaskSequence.binary(np.eye(4, dtype=bool)[None])
        >>> len(s), s.size, s.mask(0)[0].tolist()
        (1, (4, 4), [True, False, False, False])
        """
        return cls(PackedMasks.pack(masks), "binary", scores=_as_scores(scores), notes=notes)

    @classmethod
    def prob(cls, masks: Masks, scores=None, **notes) -> MaskSequence:
        """From uint8 probabilities [T, H, W]; see `quantise` for floats."""
        return cls(masks, "prob", scores=_as_scores(scores), notes=notes)

    def __len__(self) -> int:
        return self.masks.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return tuple(self.masks.shape[1:])

    def mask(self, t: int) -> np.ndarray:
        """Frame t as bool [H, W]; a probability counts as foreground above 0.5.

        Raises:
            ValueError: the sequence holds votes, which need a threshold first.
        """
        if self.kind == "votes":
            raise ValueError("a vote map has no mask before it is thresholded: give the vote step a `threshold`")
        mask = self.masks[t]
        return mask if self.kind == "binary" else mask > 127

    def packed(self, t: int) -> np.ndarray:
        """`mask(t)` at one bit per pixel, uint8 [H, ceil(W / 8)] in `np.packbits` order; it must not be changed.

        For masks that are kept or read in this form, it costs an eighth of the memory traffic.

        Raises:
            ValueError: the sequence holds votes.
        """
        return packed_mask(self.masks, t) if self.kind == "binary" else np.packbits(self.mask(t), axis=1)

    def prob_at(self, t: int) -> np.ndarray:
        """Frame t as probabilities, uint8 [H, W]."""
        mask = self.masks[t]
        if self.kind == "votes":
            return quantise(mask / np.float32(self.total))
        return mask if self.kind == "prob" else mask.view(np.uint8) * np.uint8(255)

    def is_empty(self) -> bool:
        """Whether the masks of all frames are empty: the answer "the expression refers to nothing".

        >>> MaskSequence.binary(np.zeros((2, 4, 4), bool)).is_empty()
        True
        """
        return not any(self.packed(t).any() for t in range(len(self)))

    def with_(self, **changes) -> MaskSequence:
        """A copy with some attributes changed."""
        return replace(self, **changes)


def packed_mask(masks: Masks, t: int) -> np.ndarray:
    """Mask t of bool masks at one bit per pixel, uint8 [H, ceil(W / 8)]; it must not be changed."""
    packed = getattr(masks, "packed", None)
    return np.packbits(masks[t], axis=1) if packed is None else packed(t)


class Truth(Protocol):
    """The ground truth of a clip, for scoring only."""

    def read(self, expression: str) -> MaskSequence | None:
        """Binary masks of the expression's objects; None if the expression is not annotated.

        An expression that refers to nothing is annotated: its masks are empty and its `presence` is 0.
        """

    def fingerprint(self) -> str:
        """A hash that changes whenever a mask does."""

    def problems(self) -> list[str]:
        """What is wrong with its files."""


def quantise(probability: np.ndarray) -> np.ndarray:
    """Float probabilities in [0, 1] to uint8, so that `p > 0.5` stays exactly `q > 127`.

    Raises:
        ValueError: values that are not in [0, 1], by more than rounding: logits, percent, 0..255, NaN.

    >>> quantise(np.float32([0, 0.5, 0.5000001, 1])).tolist()
    [0, 127, 128, 255]
    """
    probability = np.asarray(probability, np.float32)
    levels = np.ceil(probability * 255 - 0.5)
    if levels.size and not (levels.min() >= 0 and levels.max() <= 255):  # NaN fails both; uint8 would wrap around
        low, high = probability.min(), probability.max()
        raise ValueError(f"values from {low:g} to {high:g}, expected probabilities in [0, 1]")
    return levels.astype(np.uint8)


def _as_scores(scores) -> np.ndarray | None:
    return None if scores is None else np.asarray(scores, np.float32)
