"""Signals: numbers that say how sure a source is of its masks of one expression, computed from the masks themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.fusion.tracklets import tracklet_iou
from rvos_ensemble.propagators.core import propagator
from rvos_ensemble.propagators.core.mask_quality import confidences

STATED = propagator.SIGNALS  # of these, a sequence has what its propagator stated about each frame
SIGNALS = ("presence", "scores", "confidence", "area", "empty", *STATED)  # of one sequence


def signal(kind: str, sequence: MaskSequence, where: str) -> float:
    """The value of a signal; the higher, the surer. All but `scores` are in 0..1.

    Args:
        kind: one of `SIGNALS`.
            `presence`: the probability that the expression refers to anything, as the source states it.
            `scores`: the mean over frames of the score P.
            `confidence`: the mean probability inside the masks, over the frames with a mask; 0 if all masks are empty.
            `area`: the mean over frames of the share of the picture inside the mask.
            `empty`: 0 if the masks of all frames are empty, else 1.
            `object_score`: the largest over the frames about which the propagator states one: it is below 0.5 if SAM 2
            sees the object on none of them. `predicted_iou`: the mean over these frames. Both are 0 if all masks are
            empty and nothing was propagated.
        sequence: the masks.
        where: the expression and the source, for messages.

    Raises:
        InputError: the source does not state the signal.
    """
    if not states(kind, sequence):
        raise InputError(f"{where} {_lacks(kind)}")
    if kind == "presence":
        return sequence.presence
    if kind == "scores":
        return float(sequence.scores.mean(dtype=np.float64))
    if kind in STATED:
        values = sequence.signals.get(kind, np.zeros(1))
        return float(np.nanmax(values) if kind == "object_score" else np.nanmean(values, dtype=np.float64))
    if kind == "confidence":
        inside = [value for value in confidences(sequence, "mask") if value > 0]
        return float(np.mean(inside)) if inside else 0.0
    if kind == "area":
        return float(np.mean([sequence.mask(t).mean() for t in range(len(sequence))]))
    return 0.0 if sequence.is_empty() else 1.0


def states(kind: str, sequence: MaskSequence) -> bool:
    """Whether a sequence has what a signal is computed from."""
    if kind in STATED:
        values = sequence.signals.get(kind)
        return sequence.is_empty() if values is None else not np.isnan(values).all()
    return {
        "presence": sequence.presence is not None,
        "scores": sequence.scores is not None,
        "confidence": sequence.kind == "prob",
    }.get(kind, True)


def agreement(sequences: Sequence[MaskSequence]) -> float:
    """The mean over all pairs of sequences of their IoU over the whole video, in 0..1.

    Two sequences that are both empty agree that there is nothing: they are no evidence of an object, so that their IoU
    is 0.

    Args:
        sequences: at least two.
    """
    iou = tracklet_iou(sequences)
    return float(iou[np.triu_indices(len(sequences), 1)].mean())


def signal_problem(kind: str, name: str, traits: Traits) -> str | None:
    """Why an input cannot state a signal, from its known properties; None if it may."""
    absent = {
        "presence": traits.presence is False,
        "scores": traits.scores is False,
        "confidence": traits.kind == "binary",
        **{name: traits.signals is not None and name not in traits.signals for name in STATED},
    }
    return f"input {name} {_lacks(kind)}" if absent.get(kind) else None


def _lacks(kind: str) -> str:
    """What a source lacks, and what can be done."""
    return {
        "presence": "states no presence: use another signal, such as `scores`, or a step that gives it, as `gate`",
        "scores": "has no scores: give a file of scores, or use another signal",
        "confidence": "has no probabilities, from which its confidence could be computed",
    }.get(kind, f"states no {kind}, as masks do that sam2, sam3 or edgetam propagated: use another signal")
