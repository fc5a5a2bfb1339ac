"""J and F of a vote map at many thresholds, in one pass over its pixels; equal to the last bit to one by one.

Let V be the number of votes of every pixel, and the masks M_t = V >= t.

- J: one histogram of V inside the truth and one outside hold the areas of all M_t and of all intersections.
- Precision of F: a pixel is on the boundary of M_t exactly when min < t <= max of V over its 2x2 window. So the
  contour pixels of V, few, carry an interval of thresholds each, and a count per threshold is a sum of differences.
- Recall of F: a boundary pixel of the truth is right at t when M_t has a boundary pixel within the radius r. The
  windows of the pixels of a disk overlap, so that all of them are of one value only if their union is; hence it is
  right exactly when min < t <= max of V over the disk, a pixel wider to the right and below. That is one grey dilation
  of max and of min, read off at the truth's boundary, instead of one dilation of bits for every threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.ensemble.fusion.bits import Bits, disk_rows, pack
from rvos_ensemble.ensemble.metrics.jf import BOUND_TH, Prepared, f_of_counts, j_of_counts
from rvos_ensemble.ensemble.metrics.scores import PIXELS_AT_A_TIME, Scores, score_many

FEWEST = 8  # thresholds from which one pass is faster than one by one; measured by benchmarks/sweep.py
MOST = 127  # thresholds of one pass: a level and one bit for the truth in 8 bits


def score_votes(
    sweeps: Mapping[str, tuple[MaskSequence, Sequence[int]]], truth: MaskSequence, bound_th: float = BOUND_TH
) -> dict[str, dict[int, Scores]]:
    """J and F of every frame of vote maps at many thresholds.

    A frame of the truth is read and prepared once for all maps and thresholds.

    Args:
        sweeps: {name: (votes, the numbers of votes a pixel needs)}, each number at least 1.
        truth: T masks of the same size.
        bound_th: radius of F, see `jf.radius_of`.

    Returns:
        {name: {votes needed: scores}}.

    Raises:
        InputError: a map of another kind, length or size, or a number of votes below 1.

    >>> votes = MaskSequence(np.uint8([[[0, 1, 2, 3]]]), "votes", total=3)
    >>> truth = MaskSequence.binary([np.array([[False, False, True, True]])])
    >>> {n: float(s.J[0]) for n, s in score_votes({"a": (votes, [1, 2, 3])}, truth)["a"].items()}
    {1: 0.6666666666666666, 2: 1.0, 3: 0.5}
    """
    problems = []
    for name, (votes, needed) in sweeps.items():
        if votes.kind != "votes" or tuple(votes.masks.shape) != tuple(truth.masks.shape):
            problems.append(
                f"{name}: {votes.kind} masks of shape {tuple(votes.masks.shape)}, expected votes of {truth.masks.shape}"
            )
        if any(n < 1 for n in needed):
            problems.append(f"{name}: {min(needed)} votes needed, expected at least 1: every pixel has 0")
    if problems:
        raise InputError(problems)
    result: dict[str, dict[int, Scores]] = {name: {} for name in sweeps}
    single = {
        (name, n): MaskSequence(_thresholded(votes, n))
        for name, (votes, needed) in sweeps.items()
        for n in needed
        if len(set(needed)) < FEWEST
    }
    for (name, n), scores in score_many(single, truth, bound_th=bound_th).items() if single else ():
        result[name][n] = scores
    many = {name: v for name, v in sweeps.items() if len(set(v[1])) >= FEWEST}
    if many:
        for name, values in _in_one_pass(many, truth, bound_th).items():
            result[name] = {n: Scores(*values[:, i]) for i, n in enumerate(sorted(set(sweeps[name][1])))}
    return result


def _in_one_pass(sweeps, truth: MaskSequence, bound_th: float) -> dict[str, np.ndarray]:
    """{name: float64 [J and F, thresholds in order, T]}."""
    levels = {name: np.array(sorted(set(needed))) for name, (_, needed) in sweeps.items()}
    values = {name: np.empty((2, len(n), len(truth))) for name, n in levels.items()}
    chunk = max(1, PIXELS_AT_A_TIME // (truth.size[0] * truth.size[1]))
    for start in range(0, len(truth), chunk):
        times = range(start, min(start + chunk, len(truth)))
        packed = np.stack([pack(truth.mask(t)) for t in times])
        for t, target in zip(times, targets(packed, truth.size, bound_th), strict=True):
            for name, (votes, _) in sweeps.items():
                frame, needed = votes.masks[t], levels[name]
                for part in range(0, len(needed), MOST):
                    some = slice(part, part + MOST)
                    values[name][:, some, t] = j_and_f_of_levels(
                        _levels(frame, needed[some]), len(needed[some]), target
                    )
    return values


@dataclass(frozen=True, eq=False)
class Target:
    """One frame of the truth, ready for any number of sweeps.

    Attributes:
        packed: its mask, uint8 [H, ceil(W / 8)] of `bits.pack`.
        size: (H, W).
        area: its foreground pixels.
        radius: of F.
        y, x: its boundary pixels, int64 [N] each.
        near: bool [h, w], pixels within the radius of the boundary, from row `top` and column `left` of the image on;
            none outside.
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


def targets(packed: np.ndarray, size: tuple[int, int], bound_th: float = BOUND_TH) -> list[Target]:
    """Frames of the truth, made ready.

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
    if not box[3]:  # every mask is empty
        nothing = np.zeros(most, np.int64)
        return j_of_counts(nothing, nothing + truth.area), f_of_counts(nothing, nothing, nothing, len(truth.y))
    left, top = max(box[0] - 1, 0), max(box[1] - 1, 0)  # the window of a contour pixel reaches to the right and below
    right, bottom = min(box[0] + box[2] + 1, truth.size[1]), min(box[1] + box[3] + 1, truth.size[0])
    crop = np.ascontiguousarray(levels[top:bottom, left:right])

    inside = np.unpackbits(truth.packed[top:bottom, left // 8 : (right + 7) // 8], axis=1)
    inside = inside[:, left % 8 : left % 8 + crop.shape[1]]
    histogram = cv2.calcHist([crop | (inside << 7)], [0], None, [256], [0, 256]).astype(np.int64).reshape(2, 128)
    reach = histogram[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1 : most + 1]  # pixels at t or more, outside and inside
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
    """Minimum and maximum of every pixel's 2x2 window towards right and below; the last row and column go on."""
    result = []
    for choose in (np.minimum, np.maximum):
        across = crop.copy()
        choose(crop[:, :-1], crop[:, 1:], out=across[:, :-1])
        both = across.copy()
        choose(across[:-1], across[1:], out=both[:-1])
        result.append(both)
    return result[0], result[1]


def _around(low, high, most: int, truth: Target, top: int, left: int) -> tuple[np.ndarray, np.ndarray]:
    """Minimum of `low` and maximum of `high` over the disk around the truth's boundary pixels, uint8 [N] each.

    Outside the crop there is nothing to see: its outermost rows and columns are 0 already unless the image ends there.
    """
    r = truth.radius
    rows, columns = low.shape
    close = (truth.y >= top - r) & (truth.y < top + rows + r) & (truth.x >= left - r) & (truth.x < left + columns + r)
    y, x = truth.y[close] - top, truth.x[close] - left
    if not len(y):
        return np.empty(0, np.uint8), np.empty(0, np.uint8)
    # `high` and `most - low` side by side, so that both are a maximum, with room around: what a row spreads to the
    # right and the next one to the left must not meet
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
    return np.minimum(most - best[:, 1], high), high  # where the disk misses the crop: nothing, not more than nothing


def _spread(flat: np.ndarray, by: int, keep: bool) -> np.ndarray:
    """The maximum of what lies `by` to the left and to the right of every place, and of itself if wanted."""
    out = flat.copy() if keep else np.zeros_like(flat)
    np.maximum(out[by:], flat[:-by], out=out[by:])
    np.maximum(out[:-by], flat[by:], out=out[:-by])
    return out


def _per_threshold(low: np.ndarray, high: np.ndarray, most: int) -> np.ndarray:
    """How many of the intervals low < t <= high hold t, for t = 1..most; int64."""
    begins = np.bincount(low, minlength=most + 1)
    ends = np.bincount(high, minlength=most + 1)
    return (begins - ends).cumsum()[:most]


def _near(truth: Target, top: int, left: int, shape: tuple[int, int]) -> np.ndarray:
    """Pixels within the radius of the truth's boundary, bool of the shape, from that row and column of the image on."""
    out = np.zeros(shape, bool)
    y, x = top - truth.top, left - truth.left  # of the window in `near`
    part = truth.near[max(y, 0) : max(y + shape[0], 0), max(x, 0) : max(x + shape[1], 0)]
    out[max(-y, 0) :, max(-x, 0) :][: part.shape[0], : part.shape[1]] = part
    return out


def _dense(bits: Bits, t: int) -> np.ndarray:
    """Image t of a stack as bool [rows, columns], from the crop's first row and column on."""
    return np.unpackbits(bits.words[t].astype(">u8").view(np.uint8), axis=-1).view(bool)


def _levels(votes: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """How many of the ascending thresholds each pixel passes, uint8 [H, W]."""
    table = np.searchsorted(needed, np.arange(np.iinfo(votes.dtype).max + 1), side="right").astype(np.uint8)
    return cv2.LUT(votes, table) if votes.dtype == np.uint8 else table[votes]


def _thresholded(votes: MaskSequence, needed: int) -> LazyMasks:
    return LazyMasks(tuple(votes.masks.shape), np.dtype(bool), lambda t: votes.masks[t] >= needed)
