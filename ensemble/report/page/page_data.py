"""The data of report.html except images: steps with their gains, expressions with their scores, and their origin."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.ensemble.engine.storage.results import Place
from rvos_ensemble.ensemble.metrics.frame_scores import FrameScores, read_scores
from rvos_ensemble.ensemble.metrics.gains import Gain, difference, difference_of_final
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report.frame import by_row
from rvos_ensemble.ensemble.report.page.page_notes import notes_of
from rvos_ensemble.ensemble.report.provenance import from_home, provenance
from rvos_ensemble.ensemble.report.record import ClipRecord
from rvos_ensemble.ensemble.report.table import BELOW, describe, summary, with_oracle

NO_SCORE = 65535  # in the curves of a step without scores; scores are in per mille


def page_data(
    recipe: Recipe,
    clips: Sequence[Clip],
    records: Sequence[ClipRecord],
    frame: pd.DataFrame,
    places: Mapping[str, Place],
) -> dict[str, Any]:
    """All data of the page except images; the comments explain the keys."""
    names = [*recipe.sources, *recipe.steps]
    steps = pd.DataFrame() if frame.empty else with_oracle(recipe, summary(recipe, frame)).set_index("step")
    below = steps.pop(BELOW).to_dict() if BELOW in steps else {}
    means = {name: [None if math.isnan(v) else v for v in row] for name, *row in steps.itertuples()}
    return {
        "title": f"{recipe.name} on {recipe.config['data']['dataset']}",
        "output": recipe.output,
        "measures": [*steps.columns],  # of the means of each step; steps are compared by the last one
        "steps": _with_gains([_step(recipe, n, means.get(n), below.get(n)) for n in names], frame),
        "clips": [[c.name, len(c)] for c in clips],
        "expressions": _expressions(names, clips, records, places),
        "provenance": provenance(recipe, clips, records),
    }


def no_data(title: str) -> dict[str, Any]:
    """The data of a page that has only ablations."""
    return {"title": title, "output": "", "measures": [], "steps": [], "clips": [], "expressions": []}


def _expressions(
    names: Sequence[str], clips: Sequence[Clip], records: Sequence[ClipRecord], places: Mapping[str, Place]
) -> list[dict[str, Any]]:
    """The expressions of all clips."""
    expressions = []
    for number, (clip, record) in enumerate(zip(clips, records, strict=True)):
        scores = read_scores(places[clip.name].path(clip.name, "scores.npz"))
        for e in clip.expressions:
            expressions.append(
                {
                    "clip": number,
                    "id": e.id,
                    "text": e.text,
                    "J": [_rounded(scores, n, e.id, "J") for n in names],  # one value per source and step
                    "F": [_rounded(scores, n, e.id, "F") for n in names],
                    "curves": _curves(scores, names, e.id, len(clip)),  # uint16 [source or step, J and F, T], base64
                    "notes": {str(i): n for i, name in enumerate(names) if (n := notes_of(record, name, e.id))},
                    "nothing": any(s.get(e.id, {}).get("no_target", False) for s in record.scores.values()),
                }
            )
    return expressions


def _step(recipe: Recipe, name: str, means: list[float | None] | None, below: float | None) -> dict[str, Any]:
    """A source or step: its name, description, settings, inputs, means, and its distance to the oracle."""
    source = name in recipe.sources
    settings = from_home(recipe.config["sources" if source else "steps"][name])
    row = {"name": name, "what": describe(recipe, name), "source": source, "means": means, "settings": settings}
    row["reads"] = [] if source else recipe.steps[name].inputs
    if below is not None:
        row["below"] = below
    step = recipe.steps.get(name)
    if step is not None and step.counts_votes:  # the page counts the votes of its inputs
        row |= {"inputs": step.inputs, "weights": step.settings.weights or [1] * len(step.inputs)}
    return row


def _with_gains(steps: list[dict[str, Any]], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Adds `gain` over the best source and `over` {input: gain} to the steps, as [delta, low, high]."""
    scored = {s["name"]: s for s in steps if s["means"]}
    scores = by_row(frame)
    sources = [n for n, s in scored.items() if s["source"] and s["means"][-1] is not None]
    best = max(sources, key=lambda n: scored[n]["means"][-1], default=None)
    compare = difference_of_final if "no_target" in frame else difference
    for name, step in scored.items():
        if not step["source"]:
            step["over"] = {i: _plain(compare(scores[name], scores[i])) for i in step["reads"] if i in scored}
            step["gain"] = _plain(compare(scores[name], scores[best])) if best else None
    return steps


def _plain(gain: Gain) -> list[float | None]:
    """A gain as JSON values."""
    return [None if math.isnan(v) else round(v, 6) for v in gain]


def _rounded(scores: FrameScores, step: str, expression: str, which: str) -> float | None:
    """Mean J or F of an expression, None if it was not scored."""
    per_frame = scores.get(step, {}).get(expression)
    return None if per_frame is None else round(getattr(per_frame.mean(), which), 5)


def _curves(scores: FrameScores, steps: Sequence[str], expression: str, frames: int) -> str | None:
    """J and F of each frame in per mille, uint16 [steps, 2, T] as base64; None if no step was scored."""
    if not any(expression in of_step for of_step in scores.values()):
        return None
    values = np.full((len(steps), 2, frames), NO_SCORE, "<u2")
    for i, step in enumerate(steps):
        if per_frame := scores.get(step, {}).get(expression):
            values[i] = np.rint(1000 * np.stack([per_frame.J, per_frame.F]))
    return base64.b64encode(values.tobytes()).decode()
