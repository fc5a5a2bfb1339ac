"""The DAVIS protocols: label maps of ground truth and predictions, scores per object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.settings import choice, names, switch, text, whole
from rvos_ensemble.adapters.datasets.meta import subset
from rvos_ensemble.ensemble.metrics.protocols.label_maps.video_scores import LabelMapJob, counted_frames, score_video
from rvos_ensemble.ensemble.metrics.protocols.shared.layout import (
    LABELS,
    check_layout,
    missing_masks,
    settle_missing,
    strays,
)
from rvos_ensemble.ensemble.metrics.protocols.shared.parallel import map_videos
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import MEASURES, Result
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import Tree, prediction_tree, truth_tree

OPTIONS: dict[str, Any] = {
    "first_last": choice("drop", "keep"),
    "void": choice("background", "ignore", "object"),
    "assignment": choice("identity", "hungarian"),
    "late_objects": choice("davis", "vosbench"),
    "gaps": choice("skip", "count"),
    "unknown_ids": choice("error", "ignore"),
    "max_proposals": whole(20, least=1, most=255),
    "missing": choice("error", "zero", "empty"),
    "empty_empty": choice(1, 0),
    "legacy_decay": switch(False),
    "split": text("val"),
    "videos": names(None),
}
# the defaults of protocols in which proposals are assigned to objects and all frames count
PROPOSAL_OPTIONS: dict[str, Any] = {
    **OPTIONS,
    "first_last": OPTIONS["first_last"].at("keep"),
    "void": OPTIONS["void"].at("ignore"),
    "assignment": OPTIONS["assignment"].at("hungarian"),
}


def relations(given: dict[str, Any]) -> Iterable[str]:
    """What is wrong with combinations of options; see `Component.relations`."""
    if given.get("late_objects") == "vosbench" and given.get("assignment") == "hungarian":
        yield "late_objects=vosbench asks which object a prediction shows: it needs assignment=identity"


def evaluate(
    options: SimpleNamespace, gt: Path, predictions: Mapping[str, Tree], folders: Sequence[str], workers: int
) -> dict[str, Result]:
    """Scores one or more predictions of one ground truth.

    Args:
        options: values of `OPTIONS`.
        gt: a DAVIS root, or a folder of VIDEO/FRAME.png.
        predictions: {name: where the search for the folders VIDEO/ starts}.
        folders: where the annotations may lie in a DAVIS root.
        workers: see `Protocol.evaluate`.

    Raises:
        InputError: everything that is wrong with the options or the files.
    """
    truth = truth_tree(gt, folders)
    videos = _videos(truth, options)
    trees, notes = _open(predictions, videos)
    frames = {video: truth.frames(video) for video in videos}
    jobs = [
        LabelMapJob(
            v, truth.masks(v, frames[v]), {name: tree.masks(v, frames[v]) for name, tree in trees.items()}, options
        )
        for v in videos
    ]
    counted = {video: names[counted_frames(options)] for video, names in frames.items()}
    gone = {
        n: missing_masks(tree, {v: tree.masks(v, names) for v, names in counted.items()}, counted, "videos")
        for n, tree in trees.items()
    }
    general = settle_missing([sentence for sentences in gone.values() for sentence in sentences], options.missing)
    scored = map_videos(score_video, jobs, workers, sum(len(j.truth) * len(j.predictions) for j in jobs))
    if problems := [sentence for video in scored for sentence in video.problems]:
        raise InputError(dict.fromkeys(problems))
    general += [sentence for video in scored for sentence in video.notes]
    return {
        name: _result([row for video in scored for row in video.rows[name]], [*notes[name], *general])
        for name in predictions
    }


def _open(predictions: Mapping[str, Tree], videos: Sequence[str]) -> tuple[dict[str, Tree], dict[str, list[str]]]:
    """The folders of the predictions' videos, and notes on what is not scored.

    Raises:
        InputError: everything that is wrong with their layout.
    """
    trees, notes, problems = {}, {}, []
    for name, start in predictions.items():
        try:
            trees[name] = prediction_tree(start, videos)
            notes[name] = strays(trees[name], videos)
            problems += check_layout(trees[name], videos, LABELS)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return trees, notes


def _result(rows: list[dict], notes: list[str]) -> Result:
    """The table of one prediction, and the means over its rows."""
    if not rows:
        raise InputError("no objects to score: the ground truth shows none in the first frame of any video")
    table = pd.DataFrame(rows)
    means = {measure: float(np.mean(table[measure].to_numpy())) for measure in MEASURES}
    means["J&F-Mean"] = (means["J-Mean"] + means["F-Mean"]) / 2
    return Result(table, means, tuple(notes))


def _videos(truth: Tree, options: SimpleNamespace) -> list[str]:
    """Names of the videos: those of ImageSets/2017/SPLIT.txt if gt is a DAVIS root, else all."""
    videos = [video for video in truth.videos() if truth.frames(video)]
    for root in ("", "DAVIS/") if truth.top else ():
        listing = f"{root}ImageSets/2017/{options.split}.txt"
        if "ImageSets" in truth.storage.entries(root)[0]:
            listed = truth.storage.read(listing).decode("ascii", "replace").split()
            if absent := sorted(set(listed) - set(videos)):
                raise InputError(f"{truth.where}: no annotations of {first_few(absent)}, which {listing} lists")
            videos = listed
    return list(subset(dict.fromkeys(videos), options.videos, truth.where))
