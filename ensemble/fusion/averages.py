"""Soft averages and gates: weighted means of probabilities, and which maps or masks take part."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rvos_ensemble.ensemble.fusion.votes import one_shape


def soft_average(probs: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """The weighted mean of probabilities, which keeps how sure each model is.

    Args:
        probs: uint8 arrays of one shape, 0..255 means 0..1.
        weights: positive numbers; equal when None.

    Returns:
        uint8, rounded so that a mean above 0.5 stays above 127 and any other does not.

    Source: "selective averaging" of SaSaSa2VA (arXiv 2509.16972).

    >>> soft_average([np.uint8([[255, 255, 0]]), np.uint8([[255, 1, 0]])]).tolist()
    [[255, 128, 0]]
    """
    shape = one_shape(probs)
    weights = [1.0] * len(probs) if weights is None else [float(w) for w in weights]
    if len(weights) != len(probs):
        raise ValueError(f"{len(weights)} weights for {len(probs)} maps: give one each")
    if min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"weights {weights}: they must be >= 0 and not all 0")
    mean = np.zeros(shape, np.float32)
    for prob, weight in zip(probs, weights, strict=True):
        mean += prob * np.float32(weight / sum(weights))
    return np.ceil(mean - np.float32(0.5)).astype(np.uint8)


def gated_average(probs: Sequence[np.ndarray], min_iou: float = 0.9) -> np.ndarray:
    """Averages onto the first map, one by one, those maps that agree with it.

    For each further map, if its mask and the first one's overlap with IoU > `min_iou`, the two are averaged; the
    result takes part in the next comparison.

    Args:
        probs: uint8 frames [H, W], the best model first.
        min_iou: the gate, on masks at p > 0.5.

    Returns:
        uint8 [H, W].

    Source: Hu et al., 1st place of 2022 (arXiv 2212.14679), on the key frame only.
    """
    one_shape(probs)
    fused = probs[0]
    for prob in probs[1:]:
        if iou(fused > 127, prob > 127) > min_iou:
            fused = soft_average([fused, prob])
    return fused


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool arrays; 1 when both are empty.

    >>> iou(np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 1], bool))
    0.25
    """
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def prefers_union(original_areas: np.ndarray, propagated_areas: np.ndarray, ratio: float, share: float) -> bool:
    """Whether a propagated sequence lost too much of the original and should be united with it.

    Args:
        original_areas: pixels of the original masks, [T].
        propagated_areas: pixels of the propagated masks, [T].
        ratio: a frame counts as lost when propagated < ratio * original.
        share: united when more than this share of the frames with an original mask are lost.

    Source: ReferDINO-Plus (arXiv 2503.23509), ratio 2/3 and share 1/2: a propagator that follows one of several
    objects of an expression.

    >>> prefers_union(np.array([9, 9, 0]), np.array([3, 3, 5]), ratio=2 / 3, share=0.5)
    True
    """
    visible = original_areas > 0
    lost = propagated_areas[visible] < ratio * original_areas[visible]
    return bool(lost.sum() > share * visible.sum())


def mean_inside(values: np.ndarray, mask: np.ndarray) -> float:
    """The mean of an image inside a mask, 0 where the mask is empty.

    Args:
        values: uint8 or uint16 [H, W].
        mask: bool [H, W].
    """
    area = np.count_nonzero(mask)
    return cv2.norm(values, cv2.NORM_L1, mask.view(np.uint8)) / area if area else 0.0
