"""Signals: numbers that say how sure a source is of its masks of one expression, computed from the masks themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.fusion.tracklets import tracklet_iou
from rvos_ensemble.propagators.core.mask_quality import confidences

SIGNALS = ("presence", "scores", "confidence", "area", "empty")  # of one sequence


def signal(kind: str, sequence: MaskSequence, where: str) -> float:
    """The value of a signal; the higher, the surer. All but `scores` are in 0..1.

    Args:
        kind: one of `SIGNALS`.
            `presence`: the probability that the expression refers to anything, as the source states it.
            `scores`: the mean over frames of the score P.
            `confidence`: the mean probability inside the masks, over the frames with a mask; 0 if all masks are empty.
            `area`: the mean over frames of the share of the picture inside the mask.
            `empty`: 0 if the masks of all frames are empty, else 1.
        sequence: the masks.
        where: the expression and the source, for messages.

    Raises:
        InputError: the source does not state the signal.
    """
    if kind == "presence":
        if sequence.presence is None:
            raise InputError(f"{where} {_lacks('presence')}")
        return sequence.presence
    if kind == "scores":
        if sequence.scores is None:
            raise InputError(f"{where} {_lacks('scores')}")
        return float(sequence.scores.mean(dtype=np.float64))
    if kind == "confidence":
        if sequence.kind != "prob":
            raise InputError(f"{where} {_lacks('confidence')}")
        inside = [value for value in confidences(sequence, "mask") if value > 0]
        return float(np.mean(inside)) if inside else 0.0
    if kind == "area":
        return float(np.mean([sequence.mask(t).mean() for t in range(len(sequence))]))
    return 0.0 if sequence.is_empty() else 1.0


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
    }
    return f"input {name} {_lacks(kind)}" if absent.get(kind) else None


def _lacks(kind: str) -> str:
    """What a source lacks, and what can be done."""
    return {
        "presence": "states no presence: use another signal, such as `scores`, or a step that gives it, as `gate`",
        "scores": "has no scores: give a file of scores, or use another signal",
        "confidence": "has no probabilities, from which its confidence could be computed",
    }[kind]
