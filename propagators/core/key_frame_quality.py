"""The quality of every frame by a rule for key frames, computed from masks or from scores.

`forecast` reports before a run which of these computations will be impossible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.propagators.core.key_frame_settings import (
    BY_PROBABILITIES,
    BY_SCORES,
    frames_of_file,
    settings_of,
)
from rvos_ensemble.propagators.core.mask_quality import agreement, confidences, soft_stability, temporal_stability

NOT_NAMED = 'no source names a key frame (notes["key_frame"]); give `file: key_frame.json`'
HINT = (
    "give a file of scores, choose another rule, or set `without_scores: agreement` in the key_frame of the step, or "
    "once for the recipe (without_scores=agreement)"
)
CONSTANT = 1e-5  # scores that vary by less than this carry no information: those of MUTR vary by 1.5e-7


def frame_quality(
    rule: str,
    sequence: MaskSequence,
    sources: Mapping[str, MaskSequence],
    where: str,
    over: str = "frame",
    by: str = "scores",
) -> tuple[np.ndarray, list[str]]:
    """The quality of every frame by a rule, or why it cannot be computed.

    Args:
        rule: one of those that compare frames: not `first`, `uniform` or `given`.
        sequence: the masks that will be propagated.
        sources: {name: masks} of the models whose scores or masks decide.
        where: the place that the problems name.
        over: for `confidence`, see `adapters.inference.logits.confidence`.
        by: for rules by score: "scores", or one of the propagator's `SIGNALS`.

    Returns:
        (float64 [T], higher is better; problems), the quality is undefined if there are problems.
    """
    models = list(sources.values())
    if rule == "agreement":
        return agreement(models) * [bool(sequence.mask(t).any()) for t in range(len(sequence))], []
    if rule == "temporal":
        return product([temporal_stability(s) for s in models]), []
    if rule in BY_PROBABILITIES:
        measure = soft_stability if rule == "soft" else partial(confidences, over=over)
        binary = [n for n, s in sources.items() if s.kind != "prob"]
        return product([measure(s) for s in models if s.kind == "prob"]), [
            f"{where}: {n} has no probabilities" for n in binary
        ]
    problems = [f"{where}: {p}" for n, s in sources.items() for p in _score_problems(n, s, len(sequence), by)]
    return np.ones(0) if problems else product([_values(s, by) for s in models]), problems


def product(scores: Sequence[np.ndarray]) -> np.ndarray:
    """prod_m P_m[t], float64 [T].

    >>> product([np.array([0.5, 1.0]), np.array([0.5, 0.5])]).tolist()
    [0.25, 0.5]
    """
    return np.prod([np.asarray(s, np.float64) for s in scores], axis=0)


def _values(source: MaskSequence, by: str) -> np.ndarray | None:
    """The numbers that rules by score compare, float [T]; None if the source has none."""
    if by == "scores":
        return source.scores
    if by not in source.signals:  # a propagator states nothing about masks that it did not propagate: all are empty
        return np.zeros(len(source)) if source.is_empty() else None
    return np.nan_to_num(source.signals[by], nan=0.0)


def _score_problems(name: str, source: MaskSequence, length: int, by: str) -> list[str]:
    values, what = _values(source, by), "score" if by == "scores" else by
    if values is None:
        return [_lacks(name, by)]
    if len(values) != length:
        return [f"{name} has {len(values)} scores, expected {length}, one per frame"]
    # of a source that shows nothing at all, the frame does not matter
    if length > 1 and np.ptp(values) < CONSTANT and not source.is_empty():
        return [f"{name} has the same {what} {values[0]:.4g} on all frames, which carries no information"]
    return []


def _lacks(name: str, by: str) -> str:
    return f"{name} has no scores" if by == "scores" else f"{name} states no {by}"


def place(clip: str, expression: str) -> str:
    """The place that error messages name."""
    return f"key_frame of clip {clip!r}, expression {expression!r}"


# ------------------------------------------------------------------------------------------------------ before a run
def forecast(
    rule: str | Mapping[str, Any], propagated: str, scorers: Sequence[str], known: Mapping[str, Traits], clip: Clip
) -> list[str]:
    """The problems that `choose` will report for a clip, as far as they can be known before masks are computed.

    Args:
        rule: see `key_frames.py`.
        propagated: name of the source or step whose masks will be propagated.
        scorers: names of the sources and steps whose scores or masks decide.
        known: {name: what is known of its masks}.
        clip: the clip.
    """
    settings, scorers = settings_of(rule), [*dict.fromkeys(scorers)]
    if known[propagated].objects:  # the number of objects is not known yet
        return []
    problems: list[str] = []
    for e in clip.expressions:
        where = place(clip.name, e.id)
        if settings["rule"] == "given":
            problems += _named_forecast(settings["file"], [propagated, *scorers], known, clip, e.id)
            continue
        by = settings.get("by", "scores")
        current = _quality_forecast(settings["rule"], scorers, known, clip, e.id, by)
        if current and settings["without_scores"]:
            current = _quality_forecast(settings["without_scores"], scorers, known, clip, e.id)
        problems += [f"{where}: {problem}: {HINT}" for problem in current]
        if current and not any(known[name].sequences for name in scorers):
            break  # all other expressions have the same problems
    return problems


def _quality_forecast(
    rule: str, scorers: Sequence[str], known: Mapping[str, Traits], clip: Clip, expression: str, by: str = "scores"
) -> list[str]:
    """Why a rule will not be able to compare the frames."""
    problems = []
    for name in scorers:
        traits, sequence = known[name].of(expression), (known[name].sequences or {}).get(expression)
        if rule in BY_SCORES and sequence is not None:
            problems += _score_problems(name, sequence, len(clip), by)
        elif rule in BY_SCORES and _surely_lacks(traits, by):
            problems.append(_lacks(name, by))
        elif rule in BY_PROBABILITIES and traits.kind not in (None, "prob"):
            problems.append(f"{name} has no probabilities")
    return problems


def _surely_lacks(traits: Traits, by: str) -> bool:
    if by == "scores":
        return traits.scores is False
    return traits.signals is not None and by not in traits.signals


def _named_forecast(
    file: str | None, names: Sequence[str], known: Mapping[str, Traits], clip: Clip, expression: str
) -> list[str]:
    """Why no key frame will be named."""
    if not file:
        possible = any(known[name].of(expression).key_frame is not False for name in names)
        return [] if possible else [f"{place(clip.name, expression)}: {NOT_NAMED}"]
    try:
        frames_of_file(file, clip.name, expression, len(clip))
    except InputError as error:
        return error.problems
    return []
