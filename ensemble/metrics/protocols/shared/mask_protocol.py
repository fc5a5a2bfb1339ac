"""The simplest base class for a protocol of your own: one method that compares two masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.own_code import failure
from rvos_ensemble.adapters.files.values import two_valued
from rvos_ensemble.ensemble.metrics.protocols.shared.layout import BINARY, LABELS, check_layout, missing_masks, strays
from rvos_ensemble.ensemble.metrics.protocols.shared.parallel import map_videos
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import (
    VOID,
    MaskFiles,
    Tree,
    open_tree,
    prediction_tree,
    truth_tree,
)


class MaskProtocol(Protocol):
    """Scores the masks of every object or expression with `score`; a subclass needs no other method.

    gt and pred are folders or zips of one layout: `VIDEO/EXPRESSION/FRAME.png`, masks of 0/255 or 0/1, or
    `VIDEO/FRAME.png`, label maps in which object i of pred is object i of gt and 255 in gt is background. pred must
    have every frame of gt.

    The table has one row per expression (or object) with the mean of each measure over its frames; the summary is the
    mean over the rows. A measure that is NaN in a frame does not count in that frame.
    """

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> Mapping[str, float]:
        """Compares the masks of one frame.

        Args:
            prediction: bool [H, W].
            truth: bool [H, W].

        Returns:
            {measure: value in 0..1}, with the same measures in every frame.
        """
        raise NotImplementedError

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        truth = _truth(gt)
        videos = [v for v in truth.videos() if truth.frames(v) or _expressions(truth, v)]
        layout = LABELS if any(truth.frames(v) for v in videos) else BINARY
        tree = prediction_tree(open_tree(pred, "pred"), videos)
        if problems := check_layout(truth, videos, layout) + check_layout(tree, videos, layout):
            raise InputError(problems)
        units = [u for v in videos for u in ([v] if layout == LABELS else _expressions(truth, v))]
        frames = {unit: truth.frames(unit) for unit in units}
        jobs = [MaskJob(self, u, layout, truth.masks(u, frames[u]), tree.masks(u, frames[u])) for u in units]
        what = "videos" if layout == LABELS else "expressions"
        if problems := missing_masks(tree, {job.unit: job.prediction for job in jobs}, frames, what):
            raise InputError(problems)
        scored = map_videos(score_masks, jobs, workers, sum(map(len, frames.values())))
        if problems := [sentence for unit in scored for sentence in unit.problems]:
            raise InputError(dict.fromkeys(problems))
        rows = pd.DataFrame([row for unit in scored for row in unit.rows])
        if rows.empty:
            raise InputError(f"{truth.where}: no objects to score: all frames of gt are empty")
        measures = rows.columns[rows.columns.get_loc("frames") + 1 :]
        return Result(rows, {m: float(rows[m].mean()) for m in measures}, tuple(strays(tree, videos)))


@dataclass(frozen=True)
class MaskJob:
    """One video of label maps, or the masks of one expression.

    Attributes:
        protocol: compares the masks.
        unit: VIDEO, or VIDEO/EXPRESSION.
        layout: `LABELS` or `BINARY`.
        truth: files of the ground truth.
        prediction: files of the prediction.
    """

    protocol: MaskProtocol
    unit: str
    layout: str
    truth: MaskFiles
    prediction: MaskFiles


@dataclass
class MaskScores:
    """The outcome of a job: one row per object or expression, and problems of its files or of `score`."""

    rows: list[dict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def score_masks(job: MaskJob) -> MaskScores:
    """Scores all frames of one job."""
    values: dict[str, list[Mapping[str, float]]] = {}
    try:
        for name, ours, target in _pairs(job):
            values.setdefault(name, []).append(_checked_score(job.protocol, ours, target))
    except InputError as error:
        return MaskScores(problems=error.problems)
    video, _, expression = job.unit.partition("/")
    rows = []
    for name, scores in values.items():
        table = pd.DataFrame(scores)
        if table.shape[1] != len(scores[0]) or any(len(s) != len(scores[0]) for s in scores):
            return MaskScores(problems=[f"protocol {job.protocol.name}: `score` returns different measures by frame"])
        unit = {"expression": expression} if expression else {"object": name}
        rows.append({"video": video, **unit, "frames": len(scores), **table.mean().to_dict()})
    return MaskScores(rows)


def _pairs(job: MaskJob) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(object, prediction, truth) of every frame, bool [H, W] each."""
    if job.layout == BINARY:
        for t in range(len(job.truth)):
            target = two_valued(job.truth.read(t), job.truth.where(t))
            yield "", two_valued(job.prediction.read(t, target.shape), job.prediction.where(t)), target
        return
    objects = sorted({int(i) for t in range(len(job.truth)) for i in np.unique(job.truth.read(t))} - {0, VOID})
    for t in range(len(job.truth)):
        target = job.truth.read(t)
        ours = job.prediction.read(t, target.shape)
        yield from ((str(i), ours == i, target == i) for i in objects)


def _checked_score(protocol: MaskProtocol, prediction: np.ndarray, truth: np.ndarray) -> Mapping[str, float]:
    """`protocol.score`, with an error that names the user's file and line if it fails."""
    try:
        values = protocol.score(prediction, truth)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"protocol {protocol.name}: {failure(error, protocol.file)}") from error
    if not isinstance(values, Mapping) or not values or not all(_is_number(v) for v in values.values()):
        raise InputError(f"protocol {protocol.name}: `score` returned {shown(values)}, expected {{measure: number}}")
    return values


def _is_number(value: object) -> bool:
    """Whether a value is a number, of Python or NumPy."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _truth(gt: Path) -> Tree:
    """The folder of the ground truth's videos, in either layout."""
    start = open_tree(gt, "gt")
    for tree in (start, Tree(start.storage, "Annotations/")):
        if any(_expressions(tree, v) for v in tree.videos()):
            return tree
    return truth_tree(gt, ("Annotations",))


def _expressions(tree: Tree, video: str) -> list[str]:
    """VIDEO/EXPRESSION of the expressions of a video that have masks."""
    return [f"{video}/{e}" for e in tree.folders(video) if tree.frames(f"{video}/{e}")]
