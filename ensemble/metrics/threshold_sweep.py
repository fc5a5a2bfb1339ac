"""J and F of the frames of vote maps at many thresholds.

Many thresholds are scored in one pass over the pixels (see `vote_levels`), few of them one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.ensemble.metrics.jf import BOUND_TH
from rvos_ensemble.ensemble.metrics.scores import PIXELS_AT_A_TIME, Scores, score_many
from rvos_ensemble.ensemble.metrics.vote_levels import MOST, j_and_f_of_levels, prepare_targets

FEWEST = 8  # thresholds from which one pass is faster than scoring them one by one; measured by benchmarks/sweep.py


def score_votes(
    sweeps: Mapping[str, tuple[MaskSequence, Sequence[int]]], truth: MaskSequence, bound_th: float = BOUND_TH
) -> dict[str, dict[int, Scores]]:
    """J and F of every frame of vote maps at many thresholds.

    Each frame of the truth is read and prepared once for all maps and thresholds.

    Args:
        sweeps: {name: (votes, thresholds)}; a threshold is the number of votes that a pixel needs, at least 1.
        truth: T masks of the same size.
        bound_th: radius of F, see `jf.radius_of`.

    Returns:
        {name: {threshold: scores}}.

    Raises:
        InputError: a map of another kind, length or size, or a threshold below 1.

    >>> votes = MaskSequence(np.uint8([[[0, 1, 2, 3]]]), "votes", total=3)
    >>> truth = MaskSequence.binary([np.array([[False, False, True, True]])])
    >>> {n: float(s.J[0]) for n, s in score_votes({"a": (votes, [1, 2, 3])}, truth)["a"].items()}
    {1: 0.6666666666666666, 2: 1.0, 3: 0.5}
    """
    problems = []
    for name, (votes, needed) in sweeps.items():
        if votes.kind != "votes" or tuple(votes.masks.shape) != tuple(truth.masks.shape):
            problems.append(
                f"{name}: {votes.kind} masks of shape {tuple(votes.masks.shape)}, expected votes of {truth.masks.shape}"
            )
        if any(n < 1 for n in needed):
            problems.append(f"{name}: {min(needed)} votes needed, expected at least 1: every pixel has 0")
    if problems:
        raise InputError(problems)
    result: dict[str, dict[int, Scores]] = {name: {} for name in sweeps}
    single = {
        (name, n): MaskSequence(_thresholded(votes, n))
        for name, (votes, needed) in sweeps.items()
        for n in needed
        if len(set(needed)) < FEWEST
    }
    for (name, n), scores in score_many(single, truth, bound_th=bound_th).items() if single else ():
        result[name][n] = scores
    many = {name: v for name, v in sweeps.items() if len(set(v[1])) >= FEWEST}
    if many:
        for name, values in _in_one_pass(many, truth, bound_th).items():
            result[name] = {n: Scores(*values[:, i]) for i, n in enumerate(sorted(set(sweeps[name][1])))}
    return result


def _in_one_pass(
    sweeps: Mapping[str, tuple[MaskSequence, Sequence[int]]], truth: MaskSequence, bound_th: float
) -> dict[str, np.ndarray]:
    """J and F of all thresholds, {name: float64 [J and F, thresholds in ascending order, T]}."""
    levels = {name: np.array(sorted(set(needed))) for name, (_, needed) in sweeps.items()}
    values = {name: np.empty((2, len(n), len(truth))) for name, n in levels.items()}
    chunk = max(1, PIXELS_AT_A_TIME // (truth.size[0] * truth.size[1]))
    for start in range(0, len(truth), chunk):
        times = range(start, min(start + chunk, len(truth)))
        packed = np.stack([truth.packed(t) for t in times])
        for t, target in zip(times, prepare_targets(packed, truth.size, bound_th), strict=True):
            for name, (votes, _) in sweeps.items():
                frame, needed = votes.masks[t], levels[name]
                for part in range(0, len(needed), MOST):
                    some = slice(part, part + MOST)
                    values[name][:, some, t] = j_and_f_of_levels(
                        _levels(frame, needed[some]), len(needed[some]), target
                    )
    return values


def _levels(votes: np.ndarray, needed: np.ndarray) -> np.ndarray:
    """The number of the ascending thresholds that each pixel reaches, uint8 [H, W]."""
    table = np.searchsorted(needed, np.arange(np.iinfo(votes.dtype).max + 1), side="right").astype(np.uint8)
    return cv2.LUT(votes, table) if votes.dtype == np.uint8 else table[votes]


def _thresholded(votes: MaskSequence, needed: int) -> LazyMasks:
    """The masks `votes >= needed`."""
    return LazyMasks(tuple(votes.masks.shape), np.dtype(bool), lambda t: votes.masks[t] >= needed)
