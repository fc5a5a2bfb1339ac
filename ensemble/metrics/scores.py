"""Scores of mask sequences: J, F and J&F per frame, per sequence and over a data set.

`jf` defines J and F of a frame and lists their pitfalls; they are bit-exact to the official DAVIS code.

Source: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation, CVPR 2016, Sec. 5;
Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation, arXiv 1704.00675, for J&F.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.ensemble.metrics.jf import BOUND_TH, Prepared, j_and_f, prepare

__all__ = [
    "Means",
    "Prepared",
    "Scores",
    "dataset_mean",
    "decay",
    "j_and_f",
    "prepare",
    "recall",
    "score_many",
    "score_sequence",
]

PIXELS_AT_A_TIME = 2**21  # 5 frames of 480x854: their crops fit in the processor's cache


class Means(NamedTuple):
    """Mean J, mean F, and J&F, their mean."""

    J: float
    F: float
    JF: float


@dataclass(frozen=True, eq=False)
class Scores:
    """J and F of every frame of a sequence.

    `scores[1:-1]` omits the first and last frame, as semi-supervised DAVIS does.

    Attributes:
        J: float64 [T].
        F: float64 [T].
    """

    J: np.ndarray
    F: np.ndarray

    def __post_init__(self):
        if self.J.ndim != 1 or self.J.shape != self.F.shape or not len(self.J):
            raise InputError(f"J of shape {self.J.shape} and F of {self.F.shape}, expected both [T] with T at least 1")

    def __len__(self) -> int:
        return len(self.J)

    def __getitem__(self, frames: slice) -> Scores:
        return Scores(self.J[frames], self.F[frames])

    def mean(self) -> Means:
        """Means over all frames.

        >>> Scores(np.array([1.0, 0.5]), np.array([0.5, 0.5])).mean()
        Means(J=0.75, F=0.5, JF=0.625)
        """
        return _means(self.J, self.F)

    def summary(self, legacy_decay: bool = False) -> dict[str, float]:
        """Mean, recall and decay under the names of the DAVIS tables."""
        j, f, jf = self.mean()
        return {
            "J&F-Mean": jf,
            "J-Mean": j,
            "J-Recall": recall(self.J),
            "J-Decay": decay(self.J, legacy_decay),
            "F-Mean": f,
            "F-Recall": recall(self.F),
            "F-Decay": decay(self.F, legacy_decay),
        }


def recall(values: np.ndarray) -> float:
    """Share of the frames above 0.5 (0.5 itself does not count). Source: Perazzi et al., CVPR 2016, Sec. 5.2."""
    return float(np.mean(values > 0.5))


def decay(values: np.ndarray, legacy: bool = False) -> float:
    """Mean of the first quarter of the frames minus the mean of the last: the loss over time; a gain is negative.

    Neighbouring quarters share one frame. Source: Perazzi et al., CVPR 2016, Sec. 5.2.

    Args:
        values: float64 [T], J or F of every frame.
        legacy: compute frame numbers modulo 256 as the official code does: NaN or a wrong number for T >= 256.

    >>> decay(np.array([1.0, 1.0, 0.5, 0.5, 0.0]))
    0.75
    """
    ends = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    stops = ends + 1
    if legacy:
        ends, stops = ends % 256, stops % 256
    first, last = values[ends[0] : stops[1]], values[ends[3] : stops[4]]
    return float(np.mean(first) - np.mean(last)) if len(first) and len(last) else float("nan")


def score_sequence(
    prediction: MaskSequence, truth: MaskSequence, void: MaskSequence | None = None, bound_th: float = BOUND_TH
) -> Scores:
    """J and F of every frame; see `score_many`.

    >>> full = np.ones((2, 4, 4), bool)
    >>> score_sequence(MaskSequence.binary(full), MaskSequence.binary(~full)).mean()  # no boundary in either
    Means(J=0.0, F=1.0, JF=0.5)
    """
    return score_many({"prediction": prediction}, truth, void, bound_th)["prediction"]


def score_many(
    predictions: Mapping[str, MaskSequence],
    truth: MaskSequence,
    void: MaskSequence | None = None,
    bound_th: float = BOUND_TH,
) -> dict[str, Scores]:
    """J and F of every frame of many predictions of one truth.

    Each frame of the truth is read and prepared once, and masks that several predictions share are scored once.

    Args:
        predictions: {name: T masks}.
        truth: T masks of the same size.
        void: T binary masks of pixels that do not count, as in the unsupervised protocol.
        bound_th: radius of F, see `jf.radius_of`.

    Returns:
        {name: scores}.

    Raises:
        InputError: naming every prediction (or void) with another number of frames or another size than the truth.
    """
    others = dict(predictions) if void is None else {**predictions, "void": void}
    problems = [
        f"{name}: masks of shape {tuple(s.masks.shape)}, expected the truth's {tuple(truth.masks.shape)} (T, H, W)"
        for name, s in others.items()
        if tuple(s.masks.shape) != tuple(truth.masks.shape)
    ]
    if problems:
        raise InputError(problems)
    chunk = max(1, PIXELS_AT_A_TIME // (truth.size[0] * truth.size[1]))
    values = {name: np.empty((2, len(truth))) for name in predictions}
    for start in range(0, len(truth), chunk):
        frames = range(start, min(start + chunk, len(truth)))
        valid = None if void is None else ~_packed(void, frames)
        target = _prepared(truth, frames, valid, bound_th)
        known: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
        for name, sequence in predictions.items():
            masks = _prepared(sequence, frames, valid, bound_th)
            if masks.key not in known:
                known[masks.key] = j_and_f(masks, target)
            values[name][:, frames] = known[masks.key]
    return {name: Scores(*both) for name, both in values.items()}


def dataset_mean(scores: Iterable[Scores] | Mapping[str, Scores]) -> Means:
    """Mean over expressions of the mean over their frames; long videos weigh no more than short ones.

    Source: Seo et al., URVOS (Refer-YouTube-VOS), ECCV 2020, Sec. 5; DAVIS 2017 averages over objects in the same way.

    Raises:
        InputError: no scores.

    >>> short, long = Scores(np.ones(1), np.ones(1)), Scores(np.zeros(9), np.ones(9))
    >>> dataset_mean([short, long])
    Means(J=0.5, F=1.0, JF=0.75)
    """
    means = [s.mean() for s in (scores.values() if isinstance(scores, Mapping) else scores)]
    if not means:
        raise InputError("no scores to average: no expression has ground truth")
    return _means([m.J for m in means], [m.F for m in means])


def _means(j: Sequence[float] | np.ndarray, f: Sequence[float] | np.ndarray) -> Means:
    """Means of values of J and F."""
    j, f = float(np.mean(j)), float(np.mean(f))
    return Means(j, f, (j + f) / 2)


def _prepared(sequence: MaskSequence, frames: range, valid: np.ndarray | None, bound_th: float) -> Prepared:
    """Some frames without the pixels that are not `valid`, prepared for comparisons."""
    packed = _packed(sequence, frames)
    return Prepared(packed if valid is None else packed & valid, sequence.size, bound_th)


def _packed(sequence: MaskSequence, frames: range) -> np.ndarray:
    """Some frames packed, uint8 [N, H, ceil(W / 8)]; packed masks are used as they are."""
    if isinstance(sequence.masks, PackedMasks):
        return sequence.masks.bits[frames.start : frames.stop]
    return np.stack([sequence.packed(t) for t in frames])
