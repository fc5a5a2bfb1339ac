"""Presence, the probability that an expression refers to anything in the clip, of fused masks."""

from __future__ import annotations

from collections.abc import Sequence


def mean_presence(presences: Sequence[float | None], weights: Sequence[float] | None = None) -> float | None:
    """Weighted mean over the sources that state a presence; None if none of them does.

    Args:
        presences: of each source, in 0..1, or None if the source does not state it.
        weights: one number >= 0 per source; None for equal weights. If all sources with a presence have the weight 0,
            the result is None.

    >>> mean_presence([0.5, None, 1.0]), mean_presence([0.0, 1.0], [1, 3]), mean_presence([None, None])
    (0.75, 0.75, None)
    """
    weights = [1.0] * len(presences) if weights is None else weights
    known = [(p, w) for p, w in zip(presences, weights, strict=True) if p is not None]
    total = sum(w for _, w in known)
    return min(sum(p * w for p, w in known) / total, 1.0) if total else None


def largest_presence(presences: Sequence[float | None]) -> float | None:
    """The largest of the known presences: a union shows what any of its parts shows; None if none is known.

    >>> largest_presence([0.25, None, 0.5]), largest_presence([None])
    (0.5, None)
    """
    return max((p for p in presences if p is not None), default=None)
