"""What protocols with a mask per expression have in common: VIDEO/EXPRESSION/FRAME.png against any ground truth."""

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
from rvos_ensemble.ensemble.metrics.jf import Prepared
from rvos_ensemble.ensemble.metrics.protocols.inventory import BINARY, check_layout, missing, settle_missing, strays
from rvos_ensemble.ensemble.metrics.protocols.objects import pair
from rvos_ensemble.ensemble.metrics.protocols.protocol import MEASURES, Result, spread
from rvos_ensemble.ensemble.metrics.protocols.trees import Masks, Tree, open_tree, prediction_tree
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


class Truth:
    """The ground truth of a video; picklable."""

    def parts(
        self, keys: Sequence[Key], size: tuple[int, int] | None, problems: list[str]
    ) -> Iterator[tuple[range, tuple[int, int], dict[Key, np.ndarray]]]:
        """A few frames at a time: (frame numbers, (H, W), {objects: packed masks, uint8 [N, H, ceil(W / 8)]}).

        Args:
            keys: the objects of each expression.
            size: (H, W) of the predictions, for a ground truth that does not say its own.
            problems: what is wrong with its files is added here.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Video:
    """What is to be scored of a video.

    Attributes:
        name: its name.
        frames: names of the frames that count.
        expressions: those with ground truth.
        truth: of these frames.
        keys: {expression id: its objects}.
    """

    name: str
    frames: Sequence[str]
    expressions: Sequence[Expression]
    truth: Truth
    keys: Mapping[str, Key]


@dataclass(frozen=True)
class Job:
    """A video, {expression id: its masks} and the options of the protocol."""

    video: Video
    predictions: Mapping[str, Masks]
    options: SimpleNamespace


@dataclass
class Found:
    """What became of a video."""

    rows: list[dict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def evaluate(options: SimpleNamespace, videos: Sequence[Video], pred: Path, workers: int, notes: list[str]) -> Result:
    """Scores masks of expressions.

    Args:
        options: as `OPTIONS`.
        videos: what counts.
        pred: folder or zip of VIDEO/EXPRESSION/FRAME.png.
        workers: processes; 0 for one a core.
        notes: what the reader should know about the ground truth.

    Raises:
        InputError: all that is wrong with the files.
    """
    names = [v.name for v in videos]
    tree = prediction_tree(open_tree(pred, "pred"), names)
    if problems := check_layout(tree, names, BINARY):
        raise InputError(problems)
    jobs = [Job(v, {e.id: tree.masks(f"{v.name}/{e.id}", v.frames) for e in v.expressions}, options) for v in videos]
    masks = {f"{job.video.name}/{e}": m for job in jobs for e, m in job.predictions.items()}
    frames = {f"{v.name}/{e.id}": v.frames for v in videos for e in v.expressions}
    gone = settle_missing(missing(tree, masks, frames, "expressions"), options.missing)
    found = spread(score_video, jobs, workers, sum(map(len, masks.values())))
    if problems := [sentence for video in found for sentence in video.problems]:
        raise InputError(dict.fromkeys(problems))
    rows = pd.DataFrame([row for video in found for row in video.rows])
    means = rows.groupby(["video", "objects"], sort=False) if options.average == "objects" else None
    values = rows[list(MEASURES)] if means is None else means[list(MEASURES)].mean()
    summary = {measure: float(np.mean(values[measure].to_numpy())) for measure in MEASURES}
    summary["J&F-Mean"] = (summary["J-Mean"] + summary["F-Mean"]) / 2
    return Result(rows, summary, (*notes, *gone, *strays(tree, names), *_stray_expressions(tree, videos)))


def score_video(job: Job) -> Found:
    """All expressions of a video; the ground truth of objects that several refer to is prepared once."""
    found, video = Found(), job.video
    values: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {e.id: [] for e in video.expressions}
    keys = list(dict.fromkeys(video.keys.values()))
    for frames, size, packed in video.truth.parts(keys, _size(job.predictions), found.problems):
        truth = {key: Prepared(masks, size) for key, masks in packed.items()}
        prepared: dict[tuple[bytes | None, ...], Prepared] = {}
        scored: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
        for e in video.expressions:
            masks, key = job.predictions[e.id], video.keys[e.id]
            files = tuple(_files(masks, frames, found.problems))  # after fusion often those of another expression
            ours = prepared.get(files)
            if ours is None:
                before = len(found.problems)
                ours = Prepared(binary(masks, frames, files, size, found.problems), size)
                if len(found.problems) == before:
                    prepared[files] = ours
            if (files, key) not in scored:
                scored[files, key] = pair(ours, truth[key])
            j, f = scored[files, key]
            if job.options.empty_empty == 0:
                j, f = (np.where((ours.area == 0) & (truth[key].area == 0), 0.0, v) for v in (j, f))
            if job.options.missing == "zero" and (gone := [masks.names[t] is None for t in frames]):
                j, f = (np.where(gone, 0.0, v) for v in (j, f))
            values[e.id].append((j, f))
    if not found.problems:
        for e in video.expressions:
            scores = Scores(*(np.concatenate(v) for v in zip(*values[e.id], strict=True)))
            named = {"video": e.clip, "expression": e.id, "text": e.text, "objects": " ".join(video.keys[e.id])}
            found.rows.append({**named, "frames": len(scores), **scores.summary(job.options.legacy_decay)})
    return found


def binary(
    masks: Masks, frames: range, files: Sequence[bytes | None], size: tuple[int, int], problems: list[str]
) -> np.ndarray:
    """Some masks packed, uint8 [N, H, ceil(W / 8)]; empty where there is no file, or where it is a problem."""
    packed = np.zeros((len(frames), size[0], (size[1] + 7) // 8), np.uint8)
    for n, (t, data) in enumerate(zip(frames, files, strict=True)):
        try:
            if data is not None:
                packed[n] = pack(two_valued(masks.read(t, size, data), masks.where(t)))
        except InputError as error:
            problems += error.problems
    return packed


def _files(masks: Masks, frames: range, problems: list[str]) -> Iterator[bytes | None]:
    for t in frames:
        data = None
        try:
            data = None if masks.names[t] is None else masks.data(t)
        except InputError as error:
            problems += error.problems
        yield data


def _size(predictions: Mapping[str, Masks]) -> tuple[int, int] | None:
    """(H, W) of the first prediction there is."""
    for masks in predictions.values():
        for t, name in enumerate(masks.names):
            if name is not None:
                try:
                    return masks.read(t).shape
                except InputError:
                    continue  # told when its turn comes
    return None


def _stray_expressions(tree: Tree, videos: Sequence[Video]) -> list[str]:
    more = []
    for v in videos:
        known = {e.id for e in v.expressions}
        more += [f"{v.name}/{i}" for i in tree.storage.entries(tree.top + v.name)[0] if i not in known]
    return [f"not in gt and passed over: {len(more)} expressions of pred: {first_few(more, 3)}"] if more else []
