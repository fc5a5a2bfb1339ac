"""The overlap of masks (intersection over union), and its value where both masks are empty.

An IoU is a ratio of pixel counts, so that two empty masks give 0 / 0. The package knows two conventions; a caller names
the one that answers its question:

- `EMPTY_IS_EQUAL` (1.0): "are these two masks the same?" Two empty masks are. The scores J and F, the IoU of
  single-frame samples and `gated_average` ask this.
- `EMPTY_IS_NO_EVIDENCE` (0.0): "do these two masks show the same object?" Two empty masks show none. The grouping of
  expressions, the suppression of double tracklets and the agreement and stability of masks ask this.

The protocol `urvos` is a published exception: its I / (U + 1e-5) scores two empty masks 0, and it computes that itself.
"""

from __future__ import annotations

import numpy as np

EMPTY_IS_EQUAL, EMPTY_IS_NO_EVIDENCE = 1.0, 0.0


def iou(a: np.ndarray, b: np.ndarray, empty: float = EMPTY_IS_EQUAL) -> float:
    """Intersection over union of two masks.

    Args:
        a: bool array.
        b: bool array of the same shape.
        empty: the result for two empty masks, `EMPTY_IS_EQUAL` or `EMPTY_IS_NO_EVIDENCE`.

    >>> iou(np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 1], bool))
    0.25
    >>> nothing = np.zeros(4, bool)
    >>> iou(nothing, nothing), iou(nothing, nothing, EMPTY_IS_NO_EVIDENCE)
    (1.0, 0.0)
    """
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else empty


def ratio(part: np.ndarray, whole: np.ndarray, empty: float) -> np.ndarray:
    """Ratio of counts, float64: `part / whole`, and `empty` where the whole is 0.

    Args:
        part: array of counts, such as those of intersections.
        whole: array of counts, such as those of unions; the two are broadcast together.
        empty: the result where nothing was counted, for example `EMPTY_IS_EQUAL`.

    >>> ratio(np.array([1, 0]), np.array([4, 0]), EMPTY_IS_EQUAL).tolist()
    [0.25, 1.0]
    """
    out = np.full(np.broadcast_shapes(part.shape, whole.shape), empty)
    return np.divide(part, whole, out=out, where=whole != 0)
