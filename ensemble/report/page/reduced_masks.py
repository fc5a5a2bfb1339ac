"""Binary masks reduced by averaging over pixel areas; only the part of the image around the foreground is computed."""

from __future__ import annotations

from math import gcd

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence

FOREGROUND = np.uint8(252)  # averages of 2x2 pixels of 0 and 252 are whole numbers


def shrink(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image, uint8 [H, W] or [H, W, 3], reduced to (h, w) by averaging over pixel areas."""
    if picture.shape[:2] == size:
        return picture
    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def reduced_mask(sequence: MaskSequence, t: int, size: tuple[int, int]) -> np.ndarray:
    """Frame t reduced to (h, w), bool: the pixels of which more than half is foreground."""
    if sequence.kind != "binary":
        return shrink(sequence.prob_at(t), size) > 127
    packed, reduced = sequence.packed(t), np.zeros(size, bool)
    x, y, width, height = cv2.boundingRect(packed)  # x and width in bytes
    if not height:
        return reduced
    halve = all(full % 2 == 0 and full >= 2 * small for full, small in zip(sequence.size, size, strict=True))
    rows, to_rows = _blocks(y, y + height, sequence.size[0], size[0], halve)
    columns, to_columns = _blocks(8 * x, 8 * (x + width), sequence.size[1], size[1], halve)
    first = columns.start // 8
    pixels = np.unpackbits(packed[rows, first : -(-columns.stop // 8)], axis=1)
    pixels = pixels[:, columns.start - 8 * first : columns.stop - 8 * first] * FOREGROUND
    if halve:  # then both steps take less than half the time: OpenCV is fast for a factor of two
        pixels = shrink(pixels, (pixels.shape[0] // 2, pixels.shape[1] // 2))
    shape = to_rows.stop - to_rows.start, to_columns.stop - to_columns.start
    reduced[to_rows, to_columns] = shrink(pixels, shape) > FOREGROUND // 2
    return reduced


def _blocks(start: int, stop: int, full: int, small: int, even: bool = False) -> tuple[slice, slice]:
    """A range of pixels, widened until both ends are borders of pixels before and after the reduction.

    Args:
        start, stop: the range along one axis; `stop` may be beyond the end.
        full, small: pixels along that axis, before and after.
        even: both ends before the reduction are even; `full` is.

    Returns:
        The range before and after.

    >>> _blocks(17, 40, 720, 135)  # 16 pixels become 3
    (slice(16, 48, None), slice(3, 9, None))
    """
    count = gcd(full // 2 if even else full, small)
    first, last = start * count // full, min(count, -(-stop * count // full))
    before, after = full // count, small // count
    return slice(first * before, last * before), slice(first * after, last * after)
