"""J and F of every frame of every source and step of a clip: computed once and stored beside the clip's record."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.ensemble.metrics import scores as metrics

FrameScores: TypeAlias = dict[str, dict[str, metrics.Scores]]
"""{source or step: {expression: J and F of every frame}}."""

Answers: TypeAlias = dict[str, dict[str, dict[str, bool]]]
"""{source or step: {expression: {"no_target": it refers to nothing, "empty": all predicted masks are empty}}}."""


def score(clip: Clip, results: Mapping[str, Prediction]) -> FrameScores:
    """J and F of every source and step, for every expression that has ground truth."""
    scores: FrameScores = {}
    for e in clip.expressions:
        truth = clip.truth.read(e.id) if clip.truth else None
        if truth is None:
            continue
        ready = {n: p[e.id] for n, p in results.items() if p[e.id].kind != "votes"}
        for name, values in metrics.score_many(ready, truth).items():
            scores.setdefault(name, {})[e.id] = values
    return scores


def answers_of(clip: Clip, results: Mapping[str, Prediction]) -> Answers:
    """What every source and step answers to the question whether an expression refers to anything.

    Only expressions whose ground truth states it are included; the masks of others are not read.
    """
    truths = {e.id: clip.truth.read(e.id) for e in clip.expressions} if clip.truth else {}
    known = {e: truth.presence == 0 for e, truth in truths.items() if truth and truth.presence is not None}
    return {
        n: {e: {"no_target": known[e], "empty": p[e].is_empty()} for e in known if p[e].kind != "votes"}
        for n, p in results.items()
    }


def means_of(scores: FrameScores, answers: Answers | None = None) -> dict[str, dict[str, dict[str, float | bool]]]:
    """Means over frames, {source or step: {expression: {"J": mean, "F": mean}}}, together with `answers_of`."""
    answers = answers or {}
    return {
        n: {e: {"J": s.mean().J, "F": s.mean().F, **answers.get(n, {}).get(e, {})} for e, s in each.items()}
        for n, each in scores.items()
    }


def pack_scores(scores: FrameScores, frames: int) -> bytes:
    """The bytes of `clips/CLIP.npz`: `steps` [S], `expressions` [E], `scores` float64 [S, E, 2, T].

    Scores that do not exist are NaN.

    Args:
        scores: of one clip.
        frames: T, the number of frames of the clip.
    """
    expressions = list(dict.fromkeys(e for each in scores.values() for e in each))
    values = np.full((len(scores), len(expressions), 2, frames), np.nan)
    for s, each in enumerate(scores.values()):
        for e, frames_of_e in each.items():
            values[s, expressions.index(e)] = frames_of_e.J, frames_of_e.F
    file = io.BytesIO()
    np.savez_compressed(file, steps=np.array([*scores], str), expressions=np.array(expressions, str), scores=values)
    return file.getvalue()


def read_scores(file: Path) -> FrameScores:
    """J and F of every frame of a clip that a run has scored, read from its `clips/CLIP.npz`."""
    with np.load(file) as content:
        steps, expressions, values = content["steps"].tolist(), content["expressions"].tolist(), content["scores"]
    return {
        step: {e: metrics.Scores(*both) for e, both in zip(expressions, each, strict=True) if not np.isnan(both).all()}
        for step, each in zip(steps, values, strict=True)
    }
