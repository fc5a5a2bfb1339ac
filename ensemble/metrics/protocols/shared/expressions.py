"""Protocols with one mask per expression: VIDEO/EXPRESSION/FRAME.png against any kind of ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.clip import Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.settings import choice, names, switch, text
from rvos_ensemble.adapters.files.values import two_valued
from rvos_ensemble.ensemble.fusion.bits import pack
from rvos_ensemble.ensemble.metrics.jf import Prepared, j_and_f
from rvos_ensemble.ensemble.metrics.protocols.shared.layout import (
    BINARY,
    check_layout,
    missing_masks,
    settle_missing,
    strays,
)
from rvos_ensemble.ensemble.metrics.protocols.shared.parallel import map_videos
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import MEASURES, Result
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import MaskFiles, Tree, open_tree, prediction_tree
from rvos_ensemble.ensemble.metrics.scores import Scores

OPTIONS: dict[str, Any] = {
    "missing": choice("error", "zero", "empty"),
    "empty_empty": choice(1, 0),
    "average": choice("expressions", "objects"),
    "legacy_decay": switch(False),
    "split": text("valid"),
    "meta": text(None),
    "videos": names(None),
}

Key: TypeAlias = tuple[str, ...]
"""The objects of an expression, whose union is its mask."""


class TruthReader:
    """Reads the ground truth of a video; picklable."""

    def parts(
        self, keys: Sequence[Key], size: tuple[int, int] | None, problems: list[str]
    ) -> Iterator[tuple[range, tuple[int, int], dict[Key, np.ndarray]]]:
        """Reads a few frames at a time.

        Args:
            keys: the objects of each expression.
            size: (H, W) of the predictions, for a ground truth that does not specify its own.
            problems: what is wrong with the files is added to this list.

        Yields:
            (frame numbers, (H, W), {objects: packed masks, uint8 [N, H, ceil(W / 8)]}).
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ScoredVideo:
    """What is scored of a video.

    Attributes:
        name: its name.
        frames: names of the frames that count.
        expressions: those with ground truth.
        truth: reads the ground truth of these frames.
        keys: {expression id: its objects}; () for an expression that refers to nothing.
    """

    name: str
    frames: Sequence[str]
    expressions: Sequence[Expression]
    truth: TruthReader
    keys: Mapping[str, Key]


@dataclass(frozen=True)
class ExpressionJob:
    """A video to score, {expression id: predicted masks}, and the options of the protocol."""

    video: ScoredVideo
    predictions: Mapping[str, MaskFiles]
    options: SimpleNamespace


@dataclass
class ExpressionScores:
    """The outcome of a video: one row per expression, and problems of its files."""

    rows: list[dict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def evaluate(
    options: SimpleNamespace, videos: Sequence[ScoredVideo], pred: Path, workers: int, notes: list[str]
) -> Result:
    """Scores masks of expressions.

    Args:
        options: values of `OPTIONS`.
        videos: what is scored.
        pred: folder or zip of VIDEO/EXPRESSION/FRAME.png.
        workers: see `Protocol.evaluate`.
        notes: remarks on the ground truth for the reader.

    Returns:
        One row per expression. If any expression refers to nothing, the rows have the columns `no_target`, and `empty`:
        whether all predicted masks are; None if masks that do not count as empty are missing, and no other shows
        anything.

    Raises:
        InputError: everything that is wrong with the files.
    """
    names = [v.name for v in videos]
    tree = prediction_tree(open_tree(pred, "pred"), names)
    if problems := check_layout(tree, names, BINARY):
        raise InputError(problems)
    jobs = [
        ExpressionJob(v, {e.id: tree.masks(f"{v.name}/{e.id}", v.frames) for e in v.expressions}, options)
        for v in videos
    ]
    masks = {f"{job.video.name}/{e}": m for job in jobs for e, m in job.predictions.items()}
    frames = {f"{v.name}/{e.id}": v.frames for v in videos for e in v.expressions}
    gone = settle_missing(missing_masks(tree, masks, frames, "expressions"), options.missing)
    scored = map_videos(score_video, jobs, workers, sum(map(len, masks.values())))
    if problems := [sentence for video in scored for sentence in video.problems]:
        raise InputError(dict.fromkeys(problems))
    rows = pd.DataFrame([row for video in scored for row in video.rows])
    if not rows["no_target"].any():
        rows = rows.drop(columns=["no_target", "empty"])
    summary = summary_of(rows, options.average)
    return Result(rows, summary, (*notes, *gone, *strays(tree, names), *_stray_expressions(tree, videos)))


def summary_of(rows: pd.DataFrame, average: str) -> dict[str, float]:
    """The means of `MEASURES` over expressions, or over objects of the means over the expressions of each.

    Args:
        rows: as `evaluate` returns them.
        average: "expressions" or "objects".
    """
    means = rows.groupby(["video", "objects"], sort=False) if average == "objects" else None
    values = rows[list(MEASURES)] if means is None else means[list(MEASURES)].mean()
    summary = {measure: float(np.mean(values[measure].to_numpy())) for measure in MEASURES}
    summary["J&F-Mean"] = (summary["J-Mean"] + summary["F-Mean"]) / 2
    return summary


def score_video(job: ExpressionJob) -> ExpressionScores:
    """Scores all expressions of a video.

    Masks that several expressions share are prepared once, and so are predictions with identical files, which are
    common after fusion.
    """
    result, video = ExpressionScores(), job.video
    shown = {e.id: False for e in video.expressions}
    values: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {e.id: [] for e in video.expressions}
    keys = list(dict.fromkeys(video.keys.values()))
    for frames, size, packed in video.truth.parts(keys, _size(job.predictions), result.problems):
        truth = {key: Prepared(masks, size) for key, masks in packed.items()}
        prepared: dict[tuple[bytes | None, ...], Prepared] = {}
        scored: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
        for e in video.expressions:
            masks, key = job.predictions[e.id], video.keys[e.id]
            files = tuple(_contents(masks, frames, result.problems))
            ours = prepared.get(files)
            if ours is None:
                before = len(result.problems)
                ours = Prepared(_packed(masks, frames, files, size, result.problems), size)
                if len(result.problems) == before:
                    prepared[files] = ours
            if (files, key) not in scored:
                scored[files, key] = j_and_f(ours, truth[key])
            j, f = scored[files, key]
            shown[e.id] |= bool(ours.area.any())
            if job.options.empty_empty == 0:
                j, f = (np.where((ours.area == 0) & (truth[key].area == 0), 0.0, v) for v in (j, f))
            if job.options.missing == "zero" and (gone := [masks.names[t] is None for t in frames]):
                j, f = (np.where(gone, 0.0, v) for v in (j, f))
            values[e.id].append((j, f))
    if not result.problems:
        for e in video.expressions:
            scores = Scores(*(np.concatenate(v) for v in zip(*values[e.id], strict=True)))
            key, missing = video.keys[e.id], None in job.predictions[e.id].names
            unknown = missing and not shown[e.id] and job.options.missing != "empty"
            named = {"video": e.clip, "expression": e.id, "text": e.text, "objects": " ".join(key)}
            named |= {"no_target": not key, "empty": None if unknown else not shown[e.id]}
            result.rows.append({**named, "frames": len(scores), **scores.summary(job.options.legacy_decay)})
    return result


def _packed(
    masks: MaskFiles, frames: range, contents: Sequence[bytes | None], size: tuple[int, int], problems: list[str]
) -> np.ndarray:
    """Some masks packed, uint8 [N, H, ceil(W / 8)]; empty where a file is missing or wrong."""
    packed = np.zeros((len(frames), size[0], (size[1] + 7) // 8), np.uint8)
    for n, (t, data) in enumerate(zip(frames, contents, strict=True)):
        try:
            if data is not None:
                packed[n] = pack(two_valued(masks.read(t, size, data), masks.where(t)))
        except InputError as error:
            problems += error.problems
    return packed


def _contents(masks: MaskFiles, frames: range, problems: list[str]) -> Iterator[bytes | None]:
    """The contents of the files of some frames; None where a file is missing or cannot be read."""
    for t in frames:
        data = None
        try:
            data = None if masks.names[t] is None else masks.data(t)
        except InputError as error:
            problems += error.problems
        yield data


def _size(predictions: Mapping[str, MaskFiles]) -> tuple[int, int] | None:
    """(H, W) of the first prediction that can be read."""
    for masks in predictions.values():
        for t, name in enumerate(masks.names):
            if name is not None:
                try:
                    return masks.read(t).shape
                except InputError:
                    continue  # reported when this file is scored
    return None


def _stray_expressions(tree: Tree, videos: Sequence[ScoredVideo]) -> list[str]:
    """A note on predicted expressions that the ground truth does not have."""
    more = []
    for v in videos:
        known = {e.id for e in v.expressions}
        more += [f"{v.name}/{i}" for i in tree.folders(v.name) if i not in known]
    return [f"not in gt and ignored: {len(more)} expressions of pred: {first_few(more, 3)}"] if more else []
