"""The simplest base class for a protocol of your own: one method that compares two masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import Truth
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.own_code import failure
from rvos_ensemble.adapters.core.settings import text
from rvos_ensemble.adapters.files.values import two_valued
from rvos_ensemble.ensemble.metrics.protocols.shared.layout import BINARY, check_layout, missing_masks, strays
from rvos_ensemble.ensemble.metrics.protocols.shared.parallel import map_videos
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import MaskFiles, Tree, open_tree, prediction_tree
from rvos_ensemble.ensemble.recipe.components import make_component


class MaskProtocol(Protocol):
    """Scores the masks of every expression with `score`; a subclass needs no other method.

    pred is a folder or zip of `[Annotations/]VIDEO/EXPRESSION/FRAME.png`, masks of 0/255 or 0/1. gt is the same, or,
    with the option `dataset`, the root of a data set with ground truth and video frames. pred must have every frame of
    gt.

    `rows` has one row per expression with the mean of each measure over its frames; `summary` is the mean of the rows.

    Options:
        dataset: the data set that reads gt, such as `ref_youtube_vos`, or the path of a .py file.
        split: of that data set; by default the one that the data set chooses.
    """

    defaults = {"dataset": text(None), "split": text(None)}

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> Mapping[str, float]:
        """Compares the masks of one frame.

        Args:
            prediction: bool [H, W].
            truth: bool [H, W].

        Returns:
            {measure: value}, with the same measures in every frame. Frames where a measure is NaN do not count for it.
        """
        raise NotImplementedError

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores masks of expressions with `score`; see `Protocol.evaluate`."""
        dataset, split = (vars(self.settings).get(key) for key in ("dataset", "split"))
        truths = clip_truths(gt, dataset, split) if dataset else file_truths(gt)
        videos = list(dict.fromkeys(unit.partition("/")[0] for unit in truths))
        tree = prediction_tree(open_tree(pred, "pred"), videos)
        if problems := check_layout(tree, videos, BINARY):
            raise InputError(problems)
        jobs = [MaskJob(self, unit, truth, tree.masks(unit, truth.frames)) for unit, truth in truths.items()]
        frames = {unit: truth.frames for unit, truth in truths.items()}
        if problems := missing_masks(tree, {job.unit: job.prediction for job in jobs}, frames, "expressions"):
            raise InputError(problems)
        scored = map_videos(score_masks, jobs, workers, sum(map(len, frames.values())))
        if problems := [sentence for unit in scored for sentence in unit.problems]:
            raise InputError(dict.fromkeys(problems))
        rows = pd.DataFrame([unit.row for unit in scored])
        return Result(rows, rows.iloc[:, 3:].mean().to_dict(), tuple(strays(tree, videos)))


@dataclass(frozen=True)
class FileTruth:
    """The ground truth of an expression in mask files.

    Attributes:
        frames: names of the frames.
        files: their masks.
    """

    frames: tuple[str, ...]
    files: MaskFiles

    def masks(self) -> Iterator[np.ndarray]:
        """The mask of every frame, bool [H, W]."""
        for t in range(len(self.files)):
            yield two_valued(self.files.read(t), self.files.where(t))


@dataclass(frozen=True)
class ClipTruth:
    """The ground truth of an expression in a data set.

    Attributes:
        frames: names of the frames.
        truth: of the clip.
        expression: id.
    """

    frames: tuple[str, ...]
    truth: Truth
    expression: str

    def masks(self) -> Iterator[np.ndarray]:
        """The mask of every frame, bool [H, W]."""
        sequence = self.truth.read(self.expression)
        for t in range(len(self.frames)):
            yield sequence.mask(t)


def file_truths(gt: Path) -> dict[str, FileTruth]:
    """{VIDEO/EXPRESSION: its ground truth} of a folder or zip of masks.

    Raises:
        InputError: no masks.
    """
    start = open_tree(gt, "gt")
    for tree in (start, Tree(start.storage, "Annotations/")):
        units = [f"{v}/{e}" for v in tree.videos() for e in tree.folders(v)]
        frames = {unit: tuple(names) for unit in units if (names := tree.frames(unit))}
        if frames:
            return {unit: FileTruth(names, tree.masks(unit, names)) for unit, names in frames.items()}
    raise InputError(
        f"{start.where}: no masks VIDEO/EXPRESSION/FRAME.png, given as `gt`; if it is the root of a data set, name the "
        "data set with dataset=NAME"
    )


def clip_truths(gt: Path, dataset: str, split: str | None) -> dict[str, ClipTruth]:
    """{VIDEO/EXPRESSION: its ground truth} of a data set.

    Raises:
        InputError: no such data set, or no ground truth in it.
    """
    settings = {"dataset": dataset, "root": str(gt), **({} if split is None else {"split": split})}
    clips = make_component("dataset", settings, "evaluate").clips()
    with_truth = [clip for clip in clips if clip.truth is not None]
    if problems := [sentence for clip in with_truth for sentence in clip.truth.problems()]:
        raise InputError(problems)
    truths = {
        f"{clip.name}/{e.id}": ClipTruth(clip.frames, clip.truth, e.id)
        for clip in with_truth
        for e in clip.expressions
        if clip.truth.read(e.id) is not None
    }
    if not truths:
        raise InputError(f"{gt}: no expression of the data set {dataset} has ground truth")
    return truths


@dataclass(frozen=True)
class MaskJob:
    """The masks of one expression.

    Attributes:
        protocol: compares the masks.
        unit: VIDEO/EXPRESSION.
        truth: the ground truth.
        prediction: files of the prediction.
    """

    protocol: MaskProtocol
    unit: str
    truth: FileTruth | ClipTruth
    prediction: MaskFiles


@dataclass
class MaskScores:
    """The outcome of a job: its row, or problems of its files or of `score`."""

    row: dict = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def score_masks(job: MaskJob) -> MaskScores:
    """Scores all frames of one expression."""
    files, scores = job.prediction, []
    try:
        for t, truth in enumerate(job.truth.masks()):
            prediction = two_valued(files.read(t, truth.shape), files.where(t))
            scores.append(_checked_score(job.protocol, prediction, truth))
        if any(s.keys() != scores[0].keys() for s in scores):
            raise InputError(f"protocol {job.protocol.name}: `score` returned different measures for different frames")
    except InputError as error:
        return MaskScores(problems=error.problems)
    video, _, expression = job.unit.partition("/")
    means = pd.DataFrame(scores, dtype=float).mean().to_dict()
    return MaskScores({"video": video, "expression": expression, "frames": len(scores), **means})


def _checked_score(protocol: MaskProtocol, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """`protocol.score`, whose errors name the user's file and line.

    Raises:
        InputError: `score` fails, or returns anything but numbers by name.
    """
    try:
        values = protocol.score(prediction, truth)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"protocol {protocol.name}: {failure(error, protocol.file)}") from error
    if not isinstance(values, Mapping) or not values or not all(map(_is_number, values.values())):
        raise InputError(f"protocol {protocol.name}: `score` returned {shown(values)}, expected {{measure: number}}")
    return {str(measure): float(value) for measure, value in values.items()}


def _is_number(value: object) -> bool:
    """Whether a value is a number of Python or NumPy."""
    return isinstance(value, (int, float, np.number))
