"""Tracklets of a clip: the candidates that they start from, their scores, and the suppression of duplicates.

Source: Liang et al., "Rethinking Cross-modal Interaction from a Top-down Perspective for Referring Video Object
Segmentation", arXiv 2106.01061, 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rvos_ensemble.adapters.core.instances import seed
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.overlap import EMPTY_IS_NO_EVIDENCE, ratio
from rvos_ensemble.adapters.core.prediction import Objects, Prediction
from rvos_ensemble.propagators.core.key_frames import uniform

KEY_FRAMES, MOST = 7, 10  # K and P of the paper
SAME = 0.9  # IoU from which the answers of a detector to two expressions are one candidate


def candidates(sources: Mapping[str, Prediction], frames: Sequence[int], min_score: float, most: int) -> Objects:
    """Every mask in the chosen frames, each as a separate candidate.

    Args:
        sources: {segmenter: its objects, or detector: its masks of expressions}, in any number of frames.
        frames: the key frames.
        min_score: candidates with a lower score are left out; without scores, every candidate has the score 1.
        most: the number of candidates per frame and segmenter; the best are kept. Answers of a detector are all kept.

    Returns:
        {"SEGMENTER/FRAME.OBJECT": the mask in that frame, empty elsewhere}; the note `key_frame` holds the frame, the
        note `label` the class that the segmenter names, if it does, and the score of that frame is the candidate's
        confidence. A mask that answers expressions has the note `answers`, {expression id: confidence}; expressions
        with the same mask in a frame share a candidate.
    """
    result = Objects()
    for source, objects in sources.items():
        for t in frames:
            here = [(name, s, 1.0 if s.scores is None else float(s.scores[t])) for name, s in objects.items()]
            here = [(name, s, score) for name, s, score in here if score >= min_score and s.mask(t).any()]
            here.sort(key=lambda c: -c[2])  # stable: among equal scores the first wins
            if isinstance(objects, Objects):
                result |= {f"{source}/{t}.{name}": _candidate(s, t, score) for name, s, score in here[:most]}
            else:
                result |= {f"{source}/{t}.{name}": s for name, s in _answers(here, t).items()}
    return result


def _candidate(objects: MaskSequence, t: int, score: float) -> MaskSequence:
    """The mask of an object in one frame."""
    found = seed(len(objects), t, objects.mask(t), score)
    label = objects.notes.get("label")
    return found if label is None else found.with_(notes={**found.notes, "label": label})


def _answers(here: Sequence[tuple[str, MaskSequence, float]], t: int) -> dict[str, MaskSequence]:
    """{the first expression with this mask: the mask in one frame, with the note `answers`}.

    Args:
        here: (expression, masks, score), best first.
        t: the frame.
    """
    made: dict[str, MaskSequence] = {}
    for expression, masks, score in here:
        mask = masks.mask(t)
        same = next((name for name, s in made.items() if _iou(s.mask(t), mask) > SAME), expression)
        made.setdefault(same, seed(len(masks), t, mask, score))
        notes = made[same].notes
        made[same] = made[same].with_(notes={**notes, "answers": {**notes.get("answers", {}), expression: score}})
    return made


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two masks that are not empty."""
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def key_frames(sources: Mapping[str, Prediction], length: int, k: int) -> list[int]:
    """The k uniformly sampled frames, each moved to the nearest frame that has any mask.

    Args:
        sources: {segmenter: its masks}.
        length: frames of the clip.
        k: the number of key frames; fewer if fewer frames have masks.
    """
    sequences = [s for objects in sources.values() for s in objects.values()]
    shown = [t for t in range(length) if any(s.mask(t).any() for s in sequences)]
    return sorted({min(shown, key=lambda other: abs(other - t)) for t in uniform(length, k)}) if shown else []


def tracklet_score(candidate: MaskSequence, tracklet: MaskSequence) -> float:
    """The candidate's confidence times the mean over all T frames of the probability of its propagation."""
    confidence = 1.0 if candidate.scores is None else float(candidate.scores.max())
    return confidence * float(tracklet.scores.mean(dtype=np.float64))


def tracklet_iou(tracklets: Sequence[MaskSequence]) -> np.ndarray:
    """IoU of all pairs over the whole video (eq. 3): sum of the intersections over sum of the unions.

    Two empty tracklets are no duplicates (`EMPTY_IS_NO_EVIDENCE`). Masks are compared frame by frame with one bit per
    pixel, and only in the rows and words that the boxes of both masks share.

    Args:
        tracklets: N sequences of equal length and size.

    Returns:
        float64 [N, N].

    >>> a, b = np.zeros((2, 1, 4), bool), np.zeros((2, 1, 4), bool)
    >>> a[0, 0, :2] = b[0, 0, :3] = b[1, 0, 0] = True
    >>> tracklet_iou([MaskSequence.binary(a), MaskSequence.binary(b)]).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    n, length = len(tracklets), len(tracklets[0]) if tracklets else 0
    common = np.zeros((n, n), np.int64)
    for t in range(length):
        common += intersections([s.packed(t) for s in tracklets])
    area = common.diagonal()
    union = area[:, None] + area[None] - common
    return ratio(common, union, EMPTY_IS_NO_EVIDENCE)


def intersections(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Number of pixels that each pair of masks shares, int64 [N, N]; the diagonal holds the areas.

    Args:
        masks: N packed masks, uint8 [H, B] each; see `bits.pack`.
    """
    n, (height, width) = len(masks), masks[0].shape
    bytes_ = np.zeros((n, height, -(-width // 8) * 8), np.uint8)
    for i, mask in enumerate(masks):
        bytes_[i, :, :width] = mask
    words = bytes_.view(np.uint64)  # [N, H, W / 64]
    x, y, w, h = np.array([cv2.boundingRect(m) for m in masks]).T
    left, right, top, bottom = x // 8, -(-(x + w) // 8), y, y + h
    shared = np.zeros((n, n), np.int64)
    for i in range(n):
        window = slice(top[i], bottom[i]), slice(left[i], right[i])
        own = words[i][window]
        meet = (left[i:] < right[i]) & (right[i:] > left[i]) & (top[i:] < bottom[i]) & (bottom[i:] > top[i])
        js = i + np.flatnonzero(meet)
        counts = np.bitwise_count(words[js, window[0], window[1]] & own)
        shared[i, js] = shared[js, i] = counts.sum(axis=(1, 2), dtype=np.int64)
    return shared


def nms(iou: np.ndarray, scores: Sequence[float], max_iou: float, most: int) -> list[int]:
    """Greedy non-maximum suppression: drops every tracklet that overlaps a better one by more than `max_iou`.

    Args:
        iou: [N, N].
        scores: N; among equal scores the first wins.
        max_iou: the largest IoU of two tracklets that are both kept.
        most: the largest number of tracklets to keep.

    Returns:
        Positions of the tracklets to keep, best first.

    >>> nms(np.array([[1, 0.8, 0], [0.8, 1, 0.1], [0, 0.1, 1]]), [0.5, 0.9, 0.1], max_iou=0.5, most=10)
    [1, 2]
    """
    kept: list[int] = []
    for i in np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist():
        if len(kept) == most:
            break
        if all(iou[i, j] <= max_iou for j in kept):
            kept.append(i)
    return kept


def fused(sequences: Sequence[MaskSequence], weights: Sequence[float]) -> MaskSequence:
    """The weighted majority of binary tracklets of one object: half of the weight suffices.

    Args:
        sequences: N tracklets, the one whose scores and notes the result has first.
        weights: N, not negative; if all are 0, the first tracklet is returned.

    >>> a, b, c = (MaskSequence.binary(np.array([[[v, True]]])) for v in (True, False, False))
    >>> fused([a, b, c], [0.5, 0.2, 0.2]).mask(0).tolist(), fused([a, b, c], [0.2, 0.2, 0.2]).mask(0).tolist()
    ([[True, True]], [[False, True]])
    """
    first = sequences[0]
    if len(sequences) == 1 or not sum(weights):
        return first
    masks = LazyMasks((len(first), *first.size), np.dtype(bool), _Majority(tuple(sequences), tuple(weights)))
    return MaskSequence(masks, scores=first.scores, notes=first.notes, presence=first.presence)


@dataclass(frozen=True)
class _Majority:
    """Reads frame t, bool [H, W]; long videos are never held in memory."""

    sequences: tuple[MaskSequence, ...]
    weights: tuple[float, ...]

    def __call__(self, t: int) -> np.ndarray:
        votes = sum(w * s.mask(t) for w, s in zip(self.weights, self.sequences, strict=True))
        return votes >= sum(self.weights) / 2


def with_answers(
    kept: Sequence[int], iou: np.ndarray, answers: Sequence[Mapping[str, float]]
) -> list[dict[str, float]]:
    """The expressions that kept tracklets answer: their own, and those of the duplicates that NMS dropped.

    Args:
        kept: positions of the K tracklets that NMS keeps.
        iou: of all N tracklets, [N, N].
        answers: {expression id: confidence} of each of the N.

    Returns:
        K mappings. A dropped tracklet counts for the kept one that it overlaps most, if it overlaps any.

    >>> iou = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    >>> with_answers([0], iou, [{"0": 0.5}, {"0": 0.7, "1": 0.4}, {"2": 0.3}])
    [{'0': 0.7, '1': 0.4}]
    """
    merged = {i: dict(answers[i]) for i in kept}
    for i, own in enumerate(answers):
        best = max(kept, key=lambda k, i=i: iou[i, k], default=None)
        if best is not None and i not in merged and iou[i, best] > 0:
            for expression, score in own.items():
                merged[best][expression] = max(score, merged[best].get(expression, 0.0))
    return [merged[i] for i in kept]
