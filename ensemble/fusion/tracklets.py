"""Tracklets of a clip: which candidates to start from, how good their tracklets are, and which of them are the same.

Source: Liang et al., "Rethinking Cross-modal Interaction from a Top-down Perspective for Referring Video Object
Segmentation", arXiv 2106.01061, 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.ensemble.fusion.bits import pack
from rvos_ensemble.propagators.core.key_frames import uniform

KEY_FRAMES, MOST = 7, 10  # K and P of the paper


def candidates(sources: Mapping[str, Objects], frames: Sequence[int], min_score: float, most: int) -> Objects:
    """Every mask of every object in the chosen frames, as a candidate of its own.

    Args:
        sources: {segmenter: its objects}; an object may have masks in any number of frames.
        frames: the key frames.
        min_score: candidates below it are left out; a segmenter without scores is sure of everything.
        most: of one frame and segmenter, the best ones.

    Returns:
        {"SEGMENTER/FRAME.OBJECT": the mask in that frame, empty elsewhere}; the frame is noted as `key_frame`, its
        score is the candidate's confidence.
    """
    found = Objects()
    for source, objects in sources.items():
        for t in frames:
            here = [(name, s, 1.0 if s.scores is None else float(s.scores[t])) for name, s in objects.items()]
            here = [(name, s, score) for name, s, score in here if score >= min_score and s.mask(t).any()]
            here.sort(key=lambda c: -c[2])  # stable: of equal ones the first
            found |= {f"{source}/{t}.{name}": _only(s, t, score) for name, s, score in here[:most]}
    return found


def key_frames(sources: Mapping[str, Objects], length: int, k: int) -> list[int]:
    """The k uniformly sampled frames, each moved to the nearest one in which a segmenter found anything.

    Args:
        sources: {segmenter: its objects}.
        length: frames of the clip.
        k: how many; fewer where there are no more.
    """
    sequences = [s for objects in sources.values() for s in objects.values()]
    there = [t for t in range(length) if any(s.mask(t).any() for s in sequences)]
    return sorted({min(there, key=lambda other: abs(other - t)) for t in uniform(length, k)}) if there else []


def tracklet_score(candidate: MaskSequence, tracklet: MaskSequence) -> float:
    """The candidate's confidence times the mean over all T frames of the probability of its propagation."""
    confidence = 1.0 if candidate.scores is None else float(candidate.scores.max())
    return confidence * float(tracklet.scores.mean(dtype=np.float64))


def tracklet_iou(tracklets: Sequence[MaskSequence]) -> np.ndarray:
    """IoU of all pairs over the whole video (eq. 3): sum of intersections over sum of unions; 0 for two empty ones.

    Frame by frame, one bit a pixel; of two masks only the rows and words that both boxes share are looked at.

    Args:
        tracklets: N of equal length and size.

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
        common += intersections([packed(s, t) for s in tracklets])
    area = common.diagonal()
    union = area[:, None] + area[None] - common
    return np.divide(common, union, out=np.zeros((n, n)), where=union > 0)


def intersections(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Pixels that pairs of masks share, int64 [N, N]; on the diagonal their areas.

    Args:
        masks: N packed ones, uint8 [H, B] each; see `bits.pack`.
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


def packed(sequence: MaskSequence, t: int) -> np.ndarray:
    """The mask of a frame at one bit a pixel, uint8 [H, ceil(W / 8)]; one that is held packed is not unpacked."""
    return sequence.masks.bits[t] if isinstance(sequence.masks, PackedMasks) else pack(sequence.mask(t))


def nms(iou: np.ndarray, scores: Sequence[float], max_iou: float, most: int) -> list[int]:
    """Tracklets to keep, best first: each that overlaps none kept before by more than `max_iou`, at most `most`.

    Args:
        iou: [N, N].
        scores: N; of equal ones the first wins.

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


def _only(sequence: MaskSequence, t: int, score: float) -> MaskSequence:
    """Its mask in frame t alone."""
    scores = np.zeros(len(sequence), np.float32)
    scores[t] = score
    masks = OneMask((len(sequence), *sequence.size), t, pack(sequence.mask(t)))
    return MaskSequence(masks, scores=scores, notes={"key_frame": t})


@dataclass(frozen=True)
class OneMask:
    """Binary masks that are empty in all frames but one. A `Masks`.

    Attributes:
        shape: (T, H, W).
        t: the frame that is not empty.
        bits: its mask, packed, uint8 [H, ceil(W / 8)].
    """

    shape: tuple[int, int, int]
    t: int
    bits: np.ndarray
    dtype: ClassVar[np.dtype] = np.dtype(bool)

    def __getitem__(self, t: int) -> np.ndarray:
        if t != self.t:
            return np.zeros(self.shape[1:], bool)
        return np.unpackbits(self.bits, axis=1, count=self.shape[2]).view(bool)
