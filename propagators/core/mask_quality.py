"""Estimates of the quality of a mask on each frame, for models without scores: pure functions of the masks.

Their values compare frames of one video; they must not be compared across models or videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.overlap import EMPTY_IS_NO_EVIDENCE, iou
from rvos_ensemble.adapters.inference.logits import confidence


def agreement(sequences: Sequence[MaskSequence]) -> np.ndarray:
    """Mean IoU of all pairs of masks on each frame, float64 [T] in 0..1.

    A single sequence is compared with its own masks on the neighbouring frames. The IoU of two empty masks is 0.
    """
    length = len(sequences[0])
    if len(sequences) == 1:
        masks = (sequences[0].mask(t) for t in range(length))
        return _mean_of_steps(iou(a, b, EMPTY_IS_NO_EVIDENCE) for a, b in _pairs(masks))
    result = np.empty(length)
    for t in range(length):
        masks = [s.mask(t) for s in sequences]
        result[t] = np.mean([iou(a, b, EMPTY_IS_NO_EVIDENCE) for a, b in combinations(masks, 2)])
    return result


def temporal_stability(sequence: MaskSequence) -> np.ndarray:
    """Stability of the mask's shape around each frame, float64 [T] in 0..1.

    The mean IoU with the previous and the next mask, both moved so that the centres of mass coincide, times the ratio
    of the mask's area and the median area of all masks that are not empty (at most 1): a mask that has lost its object
    for a while is stable too, but small.

    >>> block = np.zeros((4, 1, 8), bool)
    >>> for t in range(3):  # a moving object; the last mask is empty
    ...     block[t, 0, 2 * t : 2 * t + 2] = True
    >>> temporal_stability(MaskSequence.binary(block)).tolist()
    [1.0, 1.0, 0.5, 0.0]
    """
    areas = np.zeros(len(sequence))

    def masks() -> Iterator[np.ndarray]:
        for t in range(len(sequence)):
            mask = sequence.mask(t)
            areas[t] = np.count_nonzero(mask)
            yield mask

    steps = _mean_of_steps(iou(a, centred(b, a), EMPTY_IS_NO_EVIDENCE) for a, b in _pairs(masks()))
    typical = np.median(areas[areas > 0]) if areas.any() else 1.0
    return steps * np.minimum(areas / typical, 1)


def soft_stability(sequence: MaskSequence) -> np.ndarray:
    """IoU of the masks at probability > 0.6 and > 0.4, float64 [T] in 0..1; 0 if no pixel exceeds 0.4.

    It is 1 for every binary mask that is not empty, and therefore useless for binary masks.

    Source: the stability score of Kirillov et al., "Segment Anything", ICCV 2023.

    >>> soft_stability(MaskSequence.prob(np.uint8([[[255, 255, 120, 0]]]))).tolist()
    [0.6666666666666666]
    """
    result = np.zeros(len(sequence))
    for t in range(len(sequence)):
        probability = sequence.prob_at(t)
        wide = np.count_nonzero(probability > 102)  # of 255
        result[t] = np.count_nonzero(probability > 153) / wide if wide else 0.0
    return result


def confidences(sequence: MaskSequence, over: str = "frame") -> np.ndarray:
    """Mean of the final scores of the pixels of each frame, float64 [T]; see `adapters.inference.logits.confidence`."""
    return np.array([confidence(sequence.prob_at(t), over) for t in range(len(sequence))])


def centred(mask: np.ndarray, on: np.ndarray) -> np.ndarray:
    """A mask moved by whole pixels so that its centre of mass is that of another mask; pixels may leave the frame.

    Args:
        mask: bool [H, W].
        on: bool [H, W], the other mask. If one of the two is empty, the mask stays where it is.
    """
    own, other = (cv2.moments(m.view(np.uint8), binaryImage=True) for m in (mask, on))
    if not own["m00"] or not other["m00"]:
        return mask
    dx, dy = (round(other[m] / other["m00"] - own[m] / own["m00"]) for m in ("m10", "m01"))
    move = np.float32([[1, 0, dx], [0, 1, dy]])
    return cv2.warpAffine(mask.view(np.uint8), move, mask.shape[::-1], flags=cv2.INTER_NEAREST).view(bool)


def _pairs(masks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    previous = next(masks)
    for mask in masks:
        yield previous, mask
        previous = mask


def _mean_of_steps(steps: Iterator[float]) -> np.ndarray:
    """The mean of the steps before and after each frame, from one value per step t to t + 1."""
    values = list(steps)
    around = [values[max(0, t - 1) : t + 1] for t in range(len(values) + 1)]
    return np.array([np.mean(a) if a else 0.0 for a in around])
