"""J and F of one frame of votes at all thresholds at once, bit-exact to computing them one by one.

Let V be the number of votes of every pixel, and the masks M_t = V >= t.

- J: one histogram of V inside the truth and one outside contain the areas of all M_t and of all intersections.
- Precision of F: a pixel is on the boundary of M_t exactly when min < t <= max of V over its 2x2 window. So each of the
  few contour pixels of V has an interval of thresholds, and the count per threshold is a sum of differences.
- Recall of F: a boundary pixel of the truth is right at t when M_t has a boundary pixel within the radius r. The
  windows of the pixels of a disk overlap, so all of them are uniform only if their union is; hence the pixel is right
  exactly when min < t <= max of V over the disk, extended by one pixel to the right and below. That takes one grey
  dilation of max and of min, read at the truth's boundary, instead of one binary dilation per threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rvos_ensemble.ensemble.fusion.bits import Bits, disk_rows
from rvos_ensemble.ensemble.metrics.jf import BOUND_TH, Prepared, f_of_counts, j_of_counts

MOST = 127  # thresholds per call: a level and one bit for the truth fit in 8 bits


@dataclass(frozen=True, eq=False)
class Target:
    """One frame of the truth, prepared for any number of sweeps.

    Attributes:
        packed: the mask, uint8 [H, ceil(W / 8)] of `bits.pack`.
        size: (H, W).
        area: number of foreground pixels.
        radius: of F, in pixels.
        y, x: the boundary pixels, int64 [N] each.
        near: bool [h, w], the pixels within the radius of the boundary; a crop that starts at row `top` and column
            `left` of the image. No pixel outside the crop is near.
        top: image row of the first row of `near`.
        left: image column of the first column of `near`.
    """

    packed: np.ndarray
    size: tuple[int, int]
    area: int
    radius: int
    y: np.ndarray
    x: np.ndarray
    near: np.ndarray
    top: int
    left: int


def prepare_targets(packed: np.ndarray, size: tuple[int, int], bound_th: float = BOUND_TH) -> list[Target]:
    """Prepares frames of the truth.

    Args:
        packed: uint8 [N, H, ceil(W / 8)] of `bits.pack`.
        size: (H, W).
        bound_th: radius of F, see `jf.radius_of`.
    """
    truth, result = Prepared(packed, size, bound_th), []
    for t in range(len(truth)):
        edge, near = (_dense(bits, t) for bits in (truth.boundary, truth.near))
        at = np.flatnonzero(edge)
        y, x = np.divmod(at, edge.shape[1]) if at.size else (at, at)
        top, left = truth.bits.top, 64 * truth.bits.left
        area, radius = int(truth.area[t]), truth.radius
        result.append(Target(packed[t], size, area, radius, y + top, x + left, near, top, left))
    return result


def j_and_f_of_levels(levels: np.ndarray, most: int, truth: Target) -> tuple[np.ndarray, np.ndarray]:
    """J and F of the masks `levels >= t` for t = 1..most.

    Args:
        levels: uint8 [H, W], values 0..most.
        most: at most 127.
        truth: the frame to compare with.

    Returns:
        (J, F), float64 [most] each.
    """
    box = cv2.boundingRect(levels)
    if not box[3]:  # all masks are empty
        nothing = np.zeros(most, np.int64)
        return j_of_counts(nothing, nothing + truth.area), f_of_counts(nothing, nothing, nothing, len(truth.y))
    left, top = max(box[0] - 1, 0), max(box[1] - 1, 0)  # the window of a contour pixel extends to the right and below
    right, bottom = min(box[0] + box[2] + 1, truth.size[1]), min(box[1] + box[3] + 1, truth.size[0])
    crop = np.ascontiguousarray(levels[top:bottom, left:right])

    inside = np.unpackbits(truth.packed[top:bottom, left // 8 : (right + 7) // 8], axis=1)
    inside = inside[:, left % 8 : left % 8 + crop.shape[1]]
    histogram = cv2.calcHist([crop | (inside << 7)], [0], None, [256], [0, 256]).astype(np.int64).reshape(2, 128)
    reach = histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1 : most + 1]  # pixels with t or more, outside and inside
    j = j_of_counts(reach[1], reach.sum(axis=0) + truth.area - reach[1])

    low, high = _window(crop)
    at = np.flatnonzero(low != high)
    low_at, high_at = low.ravel()[at], high.ravel()[at]
    hit = _near(truth, top, left, crop.shape).ravel()[at]
    f = f_of_counts(
        _per_threshold(low_at[hit], high_at[hit], most),
        _per_threshold(low_at, high_at, most),
        _per_threshold(*_around(low, high, most, truth, top, left), most),
        len(truth.y),
    )
    return j, f


def _window(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum over every pixel's 2x2 window to the right and below; the last row and column repeat."""
    result = []
    for choose in (np.minimum, np.maximum):
        across = crop.copy()
        choose(crop[:, :-1], crop[:, 1:], out=across[:, :-1])
        both = across.copy()
        choose(across[:-1], across[1:], out=both[:-1])
        result.append(both)
    return result[0], result[1]


def _around(
    low: np.ndarray, high: np.ndarray, most: int, truth: Target, top: int, left: int
) -> tuple[np.ndarray, np.ndarray]:
    """Minimum of `low` and maximum of `high` over the disk around the truth's boundary pixels, uint8 [N] each.

    Pixels outside the crop need not be considered: its outermost rows and columns are 0 unless the image ends there.
    """
    r = truth.radius
    rows, columns = low.shape
    close = (truth.y >= top - r) & (truth.y < top + rows + r) & (truth.x >= left - r) & (truth.x < left + columns + r)
    y, x = truth.y[close] - top, truth.x[close] - left
    if not len(y):
        return np.empty(0, np.uint8), np.empty(0, np.uint8)
    # `high` and `most - low` are stored side by side, so that both become a maximum. The margin keeps values that one
    # row spreads to the right apart from values that the next row spreads to the left.
    room = np.zeros((rows + 4 * r + 2, columns + 2 * r, 2), np.uint8)
    start = 2 * r + 1
    room[start : start + rows, :columns, 0] = high
    np.subtract(most, low, out=room[start : start + rows, :columns, 1])
    run, reach = room.ravel(), 0
    at = (y + start) * room.shape[1] + x
    best = np.zeros((len(at), 2), np.uint8)
    for wanted, dys in disk_rows(r):
        while reach < wanted:
            step = min(wanted - reach, 2 * reach + 1)  # a longer step would leave a gap
            run = _spread(run, 2 * step, keep=step > reach)
            reach += step
        pairs = run.view(np.uint16)
        for dy in {s * dy for dy in dys for s in (1, -1)}:
            np.maximum(best, pairs[at + dy * room.shape[1]].view(np.uint8).reshape(-1, 2), out=best)
    high = best[:, 0]
    return np.minimum(most - best[:, 1], high), high  # (0, 0) where the disk misses the crop


def _spread(flat: np.ndarray, by: int, keep: bool) -> np.ndarray:
    """Maximum of the values `by` places to the left and to the right of every place, and of its own if `keep`."""
    out = flat.copy() if keep else np.zeros_like(flat)
    np.maximum(out[by:], flat[:-by], out=out[by:])
    np.maximum(out[:-by], flat[by:], out=out[:-by])
    return out


def _per_threshold(low: np.ndarray, high: np.ndarray, most: int) -> np.ndarray:
    """The number of intervals low < t <= high that contain t, for t = 1..most; int64 [most]."""
    begins = np.bincount(low, minlength=most + 1)
    ends = np.bincount(high, minlength=most + 1)
    return (begins - ends).cumsum()[:most]


def _near(truth: Target, top: int, left: int, shape: tuple[int, int]) -> np.ndarray:
    """The truth's `near` in another crop of the image: bool of `shape`, starting at row `top` and column `left`."""
    out = np.zeros(shape, bool)
    y, x = top - truth.top, left - truth.left  # of the window in `near`
    part = truth.near[max(y, 0) : max(y + shape[0], 0), max(x, 0) : max(x + shape[1], 0)]
    out[max(-y, 0) :, max(-x, 0) :][: part.shape[0], : part.shape[1]] = part
    return out


def _dense(bits: Bits, t: int) -> np.ndarray:
    """Image t of a stack as bool [rows, columns], the size of the crop."""
    return np.unpackbits(bits.words[t].astype(">u8").view(np.uint8), axis=-1).view(bool)
