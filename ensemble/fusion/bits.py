"""Binary images at one bit per pixel, 64 pixels per word: the arithmetic that `metrics` builds on.

Sets of pixels are combined with `&`, `|`, `^` on whole words. A stack of images is shifted like one long number: its
rows follow each other in memory, and each crop has enough background around it that no pixel moves into the next row or
image. Processing a stack costs less than processing its images one by one, because NumPy has a fixed cost per call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import cv2
import numpy as np


def pack(masks: np.ndarray) -> np.ndarray:
    """Bool [..., H, W] to uint8 [..., H, ceil(W / 8)], the first pixel in the highest bit, as in `PackedMasks`.

    >>> pack(np.eye(2, 9, dtype=bool)).tolist()
    [[128, 0], [64, 0]]
    """
    return np.packbits(masks, axis=-1)


def count_ones(packed: np.ndarray) -> int:
    """Number of foreground pixels of packed masks, uint8 of any shape; they are counted 64 at a time.

    >>> count_ones(pack(np.eye(9, dtype=bool)))
    9
    """
    flat = np.ascontiguousarray(packed).ravel()
    whole = flat.size // 8 * 8
    parts = flat[:whole].view(np.uint64), flat[whole:]
    return sum(int(np.bitwise_count(part).sum(dtype=np.int64)) for part in parts)


@dataclass(frozen=True, eq=False)
class Bits:
    """The same crop of N binary images; all pixels outside the crop are background.

    Attributes:
        words: uint64 [N, rows, words per row]; pixel x of a row is bit 63 - x % 64 of word x // 64.
        top: image row of the first row; negative where the margin extends beyond the image's border.
        left: image column of the first pixel, in words; may also be negative.
    """

    words: np.ndarray
    top: int
    left: int

    @classmethod
    def crop(cls, packed: np.ndarray, margin: int) -> Bits:
        """The foreground of N packed images, with at least `margin` pixels of background on every side.

        Args:
            packed: uint8 [N, H, ceil(W / 8)] of `pack`.
            margin: in pixels; `boundary` uses 1 of it, `dilate` another `radius`.
        """
        x, y, width, height = cv2.boundingRect(np.bitwise_or.reduce(packed))  # x and width in bytes
        if not height:
            return cls(np.zeros((len(packed), 0, 0), np.uint64), 0, 0)
        left, right = (8 * x - margin) // 64, -((-8 * (x + width) - margin) // 64)
        window = np.zeros((len(packed), height + 2 * margin, 8 * (right - left)), np.uint8)
        start = x - 8 * left
        window[:, margin : margin + height, start : start + width] = packed[:, y : y + height, x : x + width]
        return cls(window.view(">u8").astype(np.uint64), y - margin, left)

    def count(self) -> np.ndarray:
        """Number of foreground pixels, int64 [N]."""
        return _count(self.words)

    def meets(self, other: Bits) -> bool:
        """Whether the two crops have a pixel in common; if not, no image of one has a pixel near one of the other."""
        bottom = min(bits.top + bits.words.shape[1] for bits in (self, other))
        right = min(bits.left + bits.words.shape[2] for bits in (self, other))
        return bottom > max(self.top, other.top) and right > max(self.left, other.left)

    def count_common(self, other: Bits) -> np.ndarray:
        """Number of pixels that are foreground in both, int64 [N]; a stack of one is compared with every image."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(bits.top + bits.words.shape[1] for bits in (self, other))
        right = min(bits.left + bits.words.shape[2] for bits in (self, other))
        rows, columns = max(0, bottom - top), max(0, right - left)
        a, b = (bits.words[:, top - bits.top :, left - bits.left :][:, :rows, :columns] for bits in (self, other))
        return _count(a & b)

    def boundary(self, size: tuple[int, int]) -> Bits:
        """Pixels whose 2x2 window (itself, right, below, below right) contains both foreground and background.

        The last column and row are repeated beyond the image's right and bottom border: the border is no boundary.

        Args:
            size: (H, W) of the whole image.
        """
        height, width = size
        across = self.words ^ _left(self.words, 1)  # differs from the pixel to the right
        for x in (-1, width - 1):  # the image's vertical borders
            if 0 <= (word := x // 64 - self.left) < across.shape[2]:
                across[..., word] &= ~np.uint64(1 << (63 - x % 64))
        edge = across.copy()
        edge[:, :-1] |= across[:, 1:]
        edge[:, :-1] |= self.words[:, :-1] ^ self.words[:, 1:]  # differs from the pixel below
        edge[:, : max(0, -self.top)] = 0  # the image's horizontal borders
        if 0 <= (last := height - 1 - self.top) < edge.shape[1]:
            edge[:, last] = across[:, last]
        return Bits(edge, self.top, self.left)

    def dilate(self, radius: int) -> Bits:
        """Pixels with a foreground pixel at Euclidean distance `radius` or less; the crop must have room for them.

        The disk is a stack of horizontal runs, one per row. Longer runs are computed from shorter ones.
        """
        row = self.words.shape[2]
        run, reach = self.words.ravel(), 0
        disk = np.zeros_like(run)
        for wanted, rows in disk_rows(radius):
            while reach < wanted:
                step = min(wanted - reach, 2 * reach + 1, 63)  # a longer step would leave a gap
                run = _widen(run, step, keep=step > reach)
                reach += step
            for dy in rows:
                disk[dy * row :] |= run[: run.size - dy * row]
                disk[: run.size - dy * row] |= run[dy * row :]
        return Bits(disk.reshape(self.words.shape), self.top, self.left)


def _count(words: np.ndarray) -> np.ndarray:
    """Number of ones per image, int64 [N]."""
    return np.bitwise_count(words).sum(axis=(1, 2), dtype=np.int64)


def _left(words: np.ndarray, by: int) -> np.ndarray:
    """Every pixel moved `by` columns to the left, 0 < by < 64."""
    flat = words.ravel()
    moved = flat << by
    moved[:-1] |= flat[1:] >> (64 - by)
    return moved.reshape(words.shape)


def _widen(flat: np.ndarray, by: int, keep: bool) -> np.ndarray:
    """Every pixel moved `by` columns to the left and to the right, 0 < by < 64, and also kept in place if `keep`."""
    moved = flat << by
    moved |= flat >> by
    moved[:-1] |= flat[1:] >> (64 - by)
    moved[1:] |= flat[:-1] << (64 - by)
    if keep:
        moved |= flat
    return moved


@lru_cache
def disk_rows(radius: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The rows of a disk as ((pixels to each side of the centre, rows of that length), ...), shortest first.

    >>> disk_rows(2)  # 2 rows above and below: the centre pixel only; 1 row: 1 to each side; the middle row: 2
    ((0, (2,)), (1, (1,)), (2, (0,)))
    """
    rows: dict[int, list[int]] = {}
    for dy in range(radius, -1, -1):
        rows.setdefault(isqrt(radius * radius - dy * dy), []).append(dy)
    return tuple((reach, tuple(dys)) for reach, dys in rows.items())
