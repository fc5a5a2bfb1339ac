"""Binary masks of files, kept in memory once they have been decoded.

A clip's masks are read several times: to group its expressions, by every vote, for the scores and for the report.
Decoding a PNG costs more than all of that. So the first read keeps the mask at one bit per pixel, without the empty
rows and columns around the foreground, as long as all masks that are kept in this process fit into `ROOM` bytes; the
masks of longer clips are decoded again.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence

ROOM = 256 * 2**20  # bytes of a process; the masks of four models for four expressions of a clip have about 8 MB
PIECE = 256  # bytes of Python objects around a mask that is kept


class Crop(NamedTuple):
    """The foreground of a packed mask.

    Attributes:
        bits: uint8 [h, w], rows and bytes of the mask.
        top: row of its first row.
        left: byte of its first byte in each row.
    """

    bits: np.ndarray
    top: int
    left: int


class _Room:
    """The bytes of this process that masks take, and those that they may take."""

    def __init__(self):
        self.used = 0

    def take(self, owner: RememberedMasks, size: int) -> bool:
        """Whether `size` more bytes fit; if so, they are taken until the owner no longer exists."""
        if self.used + size > ROOM:
            return False
        self.used += size
        owner.taken[0] += size
        return True

    def release(self, taken: list[int]) -> None:
        """Returns what an owner had taken."""
        self.used -= taken[0]


_room = _Room()


class RememberedMasks:
    """Lazy binary masks whose frames are decoded once, where memory permits. A `Masks`, and picklable.

    Args:
        masks: of dtype bool.
    """

    def __init__(self, masks: LazyMasks):
        self.masks = masks
        self.shape, self.dtype = masks.shape, masks.dtype
        self.crops: dict[int, Crop] = {}
        self.taken = [0]  # bytes of the room; a list, so that it outlives this object
        weakref.finalize(self, _room.release, self.taken).atexit = False

    def __reduce__(self):
        return RememberedMasks, (self.masks,)  # without the masks that are kept

    def __getitem__(self, t: int) -> np.ndarray:
        return np.unpackbits(self.packed(t), axis=1, count=self.shape[2]).view(bool)

    def packed(self, t: int) -> np.ndarray:
        """Mask t at one bit per pixel, uint8 [H, ceil(W / 8)]."""
        if crop := self.crops.get(t):
            return self._whole(crop)
        packed = self.masks.packed(t)
        x, y, width, height = cv2.boundingRect(packed)
        if _room.take(self, width * height + PIECE):
            self.crops[t] = Crop(packed[y : y + height, x : x + width].copy(), y, x)
        return packed

    def _whole(self, crop: Crop) -> np.ndarray:
        """The packed mask of a crop."""
        height, width = crop.bits.shape
        packed = np.zeros((self.shape[1], -(-self.shape[2] // 8)), np.uint8)
        packed[crop.top : crop.top + height, crop.left : crop.left + width] = crop.bits
        return packed


def remember(sequence: MaskSequence) -> MaskSequence:
    """The sequence, whose masks are decoded once if they are lazy and binary."""
    masks = sequence.masks
    if isinstance(masks, LazyMasks) and masks.dtype == bool:
        return sequence.with_(masks=RememberedMasks(masks))
    return sequence
