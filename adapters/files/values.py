"""How the values of a mask array are interpreted, and their conversion to bool or uint8 masks."""

from __future__ import annotations

import cv2
import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import Kind, quantise

KINDS = ("binary", "prob", "logits")
ROUNDING = 1e-4  # by how much resized probabilities may exceed [0, 1]


def mask_kind(dtype: np.dtype, kind: str | None, where: str) -> Kind:
    """The kind of sequence that an array of this dtype is read as: "binary" or "prob".

    Args:
        dtype: of the array.
        kind: as the user declares it; None if the dtype determines it.

    Raises:
        InputError: the dtype does not determine it, or contradicts the declared kind.
    """
    dtype = np.dtype(dtype)
    valid = {"b": ("binary",), "f": KINDS, "i": ("binary",)}.get(dtype.kind, ("binary", "prob"))
    if dtype.kind not in "bfiu" or (dtype.kind == "u" and dtype != np.uint8):
        raise InputError(f"{where}: masks of dtype {dtype}, expected bool, uint8 or a float")
    if kind is None and dtype.kind in "fi":
        raise InputError(f"{where}: masks of dtype {dtype}: set `kind: {'` or `kind: '.join(valid)}`")
    if kind is not None and kind not in valid:
        raise InputError(f"{where}: masks of dtype {dtype} cannot be `kind: {kind}`, but {' or '.join(valid)}")
    return "binary" if dtype.kind == "b" or kind == "binary" else "prob"


def check_range(low: float, high: float, dtype: np.dtype, kind: str | None, where: str) -> None:
    """Refuses a sequence whose values cannot be of the declared kind.

    A second sigmoid over probabilities makes every pixel foreground, and a missing one makes a mask of noise; later,
    neither can be recognised as an error.

    Args:
        low, high: smallest and largest value of the whole sequence.
        dtype: of the values.
        kind: as the user declares it.

    Raises:
        InputError: naming the kind that the values seem to have.
    """
    values = f"{where}: values from {low:g} to {high:g}"
    if np.isnan(low) or np.isnan(high):
        raise InputError(f"{values}: not all are numbers")
    inside = low >= -ROUNDING and high <= 1 + ROUNDING
    if np.dtype(dtype).kind == "f":
        if kind == "logits" and inside:
            raise InputError(f"{values} are probabilities, declared as `kind: logits`; set `kind: prob`")
        if kind == "prob" and not inside:
            raise InputError(f"{values} are logits, declared as `kind: prob`; set `kind: logits`")
    if kind is None and np.dtype(dtype) == np.uint8 and high == 1:
        raise InputError(
            f"{values}: uint8 means probabilities in 0..255, these look like a 0/1 mask; set `kind: binary` (or save "
            "them as bool), or `kind: prob` if all probabilities are really below 1/255"
        )
    if kind == "binary" and np.dtype(dtype) != bool and not (low >= 0 and high in (0, 1, 255)):
        raise InputError(f"{values}, declared as `kind: binary`; expected 0 and 1, or 0 and 255")


def to_mask(frame: np.ndarray, kind: str | None, where: str) -> np.ndarray:
    """One frame as bool (binary) or uint8 (probabilities).

    Args:
        frame: [H, W], of a dtype and range that passed `mask_kind` and `check_range`.
        kind: as the user declares it.

    Raises:
        InputError: a binary mask with more than two values.
    """
    if frame.dtype == bool:
        return frame
    if kind == "binary":
        return two_valued(frame, where)
    if frame.dtype == np.uint8:
        return frame
    frame = frame.astype(np.float32)
    return quantise(sigmoid(frame) if kind == "logits" else np.clip(frame, 0, 1))


def two_valued(frame: np.ndarray, where: str) -> np.ndarray:
    """The foreground of a mask that is written as 0/1 or 0/255, bool [H, W].

    Raises:
        InputError: other values.
    """
    if frame.dtype.kind == "f" and frame.dtype != np.float32:
        frame = frame.astype(np.float64)  # OpenCV supports neither half nor extended precision
    mask = frame != 0
    high = frame.max()
    # no value exceeds the highest: all nonzero values equal it exactly if their sum is their count times the highest
    other = high not in (0, 1, 255) or frame.min() < 0
    if other or np.count_nonzero(mask) * float(high) != cv2.sumElems(np.ascontiguousarray(frame))[0]:
        values = np.unique(frame).tolist()
        shown = ", ".join(f"{v:g}" for v in values[:8]) + (", ..." if len(values) > 8 else "")
        raise InputError(f"{where}: values {shown}, expected a mask of 0/255 or 0/1")
    return mask


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) in float32.

    >>> sigmoid(np.float32([-200, 0, 200])).tolist()
    [0.0, 0.5, 1.0]
    """
    with np.errstate(over="ignore"):  # exp overflows to inf, whose inverse is the right 0
        return 1 / (1 + np.exp(-x.astype(np.float32, copy=False)))
