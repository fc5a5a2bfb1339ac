"""Reasons to doubt the masks that a source predicts for an expression: each is a rule with a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.settings import number, switch
from rvos_ensemble.ensemble.fusion.selection import agreements, largest_jump

DOUBTS: dict[str, Any] = {
    "score": number(None),  # the mean score over frames is below it
    "empty": switch(False),  # all masks are empty
    "jump": number(None, above=1),  # the area of the mask changes by more than this factor between two frames
    "agreement": number(None, least=0, most=1),  # the agreement with the next input is below it
}


def doubt_problems(doubt: Mapping[str, Any]) -> list[str]:
    """What is wrong with the setting `doubt`: unknown rules, wrong thresholds, or no rule at all."""
    try:
        rules = merge_settings(DOUBTS, dict(doubt), "doubt")
    except InputError as error:
        return error.problems
    if any(rules.values()):
        return []
    return [f"rule cascade needs `doubt`, one or several of {', '.join(DOUBTS)}, such as {{empty: true, score: 0.5}}"]


def doubts_of(doubt: Mapping[str, Any], sequence: MaskSequence, following: MaskSequence, overlap: str) -> list[str]:
    """Why the masks of a source are doubtful, in words; empty if they are not.

    Args:
        doubt: values of `DOUBTS`.
        sequence: the masks.
        following: those of the next source, which is asked if these are doubtful.
        overlap: how agreement is measured, see `fusion.selection.agreements`.

    Raises:
        InputError: the rule `score` needs scores that the source does not have.
    """
    rules = merge_settings(DOUBTS, dict(doubt), "doubt")
    areas = [int(np.count_nonzero(sequence.mask(t))) for t in range(len(sequence))]
    doubts = ["all masks are empty"] if rules["empty"] and not any(areas) else []
    if rules["score"] is not None:
        if sequence.scores is None:
            raise InputError("it has no scores, which the rule `score` of `doubt` needs")
        if (score := float(sequence.scores.mean(dtype=np.float64))) < rules["score"]:
            doubts.append(f"mean score {score:.4g} < {rules['score']:g}")
    if rules["jump"] is not None and (factor := largest_jump(areas)) > rules["jump"]:
        doubts.append(f"area changes by a factor of {factor:.4g} > {rules['jump']:g}")
    if rules["agreement"] is not None:
        agreement = float(agreements([sequence, following], overlap)[0, 1])
        if agreement < rules["agreement"]:
            doubts.append(f"agreement with the next {agreement:.4g} < {rules['agreement']:g}")
    return doubts
