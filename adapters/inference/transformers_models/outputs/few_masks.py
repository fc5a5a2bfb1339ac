"""Masks on a few frames of a clip, which take no memory on the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class FewMasks:
    """Binary masks that are empty in all frames but a few; implements `Masks`.

    Attributes:
        shape: (T, H, W).
        bits: {frame: its mask, packed, uint8 [H, ceil(W / 8)]}.
    """

    shape: tuple[int, int, int]
    bits: Mapping[int, np.ndarray]
    dtype: ClassVar[np.dtype] = np.dtype(bool)

    @classmethod
    def pack(cls, length: int, size: tuple[int, int], masks: Mapping[int, np.ndarray]) -> FewMasks:
        """From {frame: mask, bool [H, W]}, of a clip with `length` frames of `size` (H, W).

        >>> masks = FewMasks.pack(3, (2, 2), {1: np.eye(2, dtype=bool)})
        >>> [int(masks[t].sum()) for t in range(3)]
        [0, 2, 0]
        """
        return cls((length, *size), {t: np.packbits(mask, axis=1) for t, mask in masks.items()})

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < self.shape[0]:
            raise IndexError(f"frame {t} of {self.shape[0]}")
        if t not in self.bits:
            return np.zeros(self.shape[1:], bool)
        return np.unpackbits(self.bits[t], axis=1, count=self.shape[2]).view(bool)
