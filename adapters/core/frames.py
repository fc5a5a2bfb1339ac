"""Frames of a clip by their index: a few that represent all."""

from __future__ import annotations


def uniform(length: int, k: int, at: str = "centres") -> list[int]:
    """Indices of k frames spread evenly over a clip; all frames if it has fewer than k.

    Args:
        length: number of frames of the clip.
        k: number of frames to choose.
        at: "centres" of k equal parts of the clip, or "ends": the first and the last frame and those between.

    >>> uniform(10, 2), uniform(10, 3, "ends"), uniform(3, 5)
    ([2, 7], [0, 4, 9], [0, 1, 2])
    """
    k = min(k, length)
    if at == "centres" or k == 1:
        return [(2 * i + 1) * length // (2 * k) for i in range(k)]
    return [i * (length - 1) // (k - 1) for i in range(k)]
