"""What arrays of masks and probabilities the fusion functions accept; anything else raises an error that says why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def common_shape(arrays: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The shape that all arrays have.

    Raises:
        ValueError: no arrays, or different shapes.
    """
    if not len(arrays):
        raise ValueError("nothing to fuse: no masks")
    shapes = sorted({np.shape(a) for a in arrays})
    if len(shapes) > 1:
        raise ValueError(f"masks of different shapes: {', '.join(map(str, shapes))}")
    return shapes[0]


def as_mask(array: np.ndarray, index: int) -> np.ndarray:
    """A mask as bool.

    Args:
        array: bool, or integers that are all 0/1 or all 0/255.
        index: its position among the arguments, for messages.

    Raises:
        ValueError: another dtype, or other values.

    >>> as_mask(np.uint8([0, 255]), 0).tolist()
    [False, True]
    """
    array = np.asarray(array)
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"masks[{index}] has dtype {array.dtype}, expected bool, or integers 0/1 or 0/255; "
            "threshold probabilities first, as in `probability > 0.5`"
        )
    mask = array != 0
    values = np.unique(array[mask])
    if len(values) > 1 or (len(values) and values[0] not in (1, 255)):
        raise ValueError(
            f"masks[{index}] of dtype {array.dtype} holds the values {', '.join(map(str, np.unique(array)[:8]))}, "
            "expected 0/1 or 0/255; threshold probabilities first, as in `probability > 127`, and select one "
            "object of a label map, as in `labels == 1`"
        )
    return mask


def as_probability(array: np.ndarray, index: int) -> np.ndarray:
    """A probability map as uint8, where 0..255 means 0..1.

    Args:
        array: uint8, or bool: a mask is a map of 0 and 1.
        index: its position among the arguments, for messages.

    Raises:
        ValueError: another dtype.

    >>> as_probability(np.array([False, True]), 0).tolist()
    [0, 255]
    """
    array = np.asarray(array)
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.view(np.uint8) * np.uint8(255)
    advice = "; convert floats in [0, 1] with `rvos_ensemble.quantise`" if array.dtype.kind == "f" else ""
    raise ValueError(f"probs[{index}] has dtype {array.dtype}, expected uint8 (0..255 means 0..1) or bool{advice}")
