"""Weighted means of probability maps, and the gates that decide which maps or masks are combined."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rvos_ensemble.adapters.core.overlap import EMPTY_IS_EQUAL, iou
from rvos_ensemble.ensemble.fusion.arrays import as_probability, common_shape


def soft_average(probs: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """Weighted mean of probability maps, which preserves the confidence of each model.

    Args:
        probs: arrays of one shape, uint8 (0..255 means 0..1) or bool.
        weights: one number >= 0 per map, not all 0; equal weights when None.

    Returns:
        uint8, rounded so that a mean above 0.5 stays above 127 and any other does not.

    Raises:
        ValueError: no maps, another dtype (`quantise` converts floats), different shapes, or wrong weights.

    Source: "selective averaging" of SaSaSa2VA (arXiv 2509.16972).

    >>> soft_average([np.uint8([[255, 255, 0]]), np.uint8([[255, 1, 0]])]).tolist()
    [[255, 128, 0]]
    """
    shape = common_shape(probs)
    weights = [1.0] * len(probs) if weights is None else [float(w) for w in weights]
    if len(weights) != len(probs):
        raise ValueError(f"{len(weights)} weights for {len(probs)} maps: give one weight per map")
    if min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"weights {weights}: they must be >= 0 and not all 0")
    mean = np.zeros(shape, np.float32)
    for i, (prob, weight) in enumerate(zip(probs, weights, strict=True)):
        mean += as_probability(prob, i) * np.float32(weight / sum(weights))
    return np.ceil(mean - np.float32(0.5)).astype(np.uint8)


def gated_average(probs: Sequence[np.ndarray], min_iou: float = 0.9) -> np.ndarray:
    """Averages onto the first map, one by one, the maps that agree with it.

    If the mask of a further map and the mask of the first overlap with IoU > `min_iou`, the two maps are averaged,
    and the result is compared with the next map.

    Args:
        probs: frames [H, W], uint8 (0..255 means 0..1) or bool, the best model first.
        min_iou: the gate, for masks at p > 0.5.

    Returns:
        uint8 [H, W].

    Raises:
        ValueError: no maps, another dtype (`quantise` converts floats), or different shapes.

    Source: Hu et al., 1st place of 2022 (arXiv 2212.14679), on the key frame only.
    """
    common_shape(probs)
    fused, *others = (as_probability(prob, i) for i, prob in enumerate(probs))
    for prob in others:
        if iou(fused > 127, prob > 127, EMPTY_IS_EQUAL) > min_iou:
            fused = soft_average([fused, prob])
    return fused


def prefers_union(original_areas: np.ndarray, propagated_areas: np.ndarray, ratio: float, share: float) -> bool:
    """Whether a propagated sequence lost too much of the original and should be united with it.

    Args:
        original_areas: pixels of the original masks, [T].
        propagated_areas: pixels of the propagated masks, [T].
        ratio: a frame counts as lost when propagated < ratio * original.
        share: the sequences are united when more than this share of the frames with an original mask are lost.

    Source: ReferDINO-Plus (arXiv 2503.23509), ratio 2/3 and share 1/2. It detects a propagator that follows only
    one of several objects of an expression.

    >>> prefers_union(np.array([9, 9, 0]), np.array([3, 3, 5]), ratio=2 / 3, share=0.5)
    True
    """
    visible = original_areas > 0
    lost = propagated_areas[visible] < ratio * original_areas[visible]
    return bool(lost.sum() > share * visible.sum())


def mean_inside(values: np.ndarray, mask: np.ndarray) -> float:
    """Mean of an image inside a mask; 0 where the mask is empty.

    Args:
        values: uint8 or uint16 [H, W].
        mask: bool [H, W].

    Raises:
        ValueError: a mask that is not bool.
    """
    if mask.dtype != bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected bool")
    area = np.count_nonzero(mask)
    return cv2.norm(values, cv2.NORM_L1, mask.view(np.uint8)) / area if area else 0.0
