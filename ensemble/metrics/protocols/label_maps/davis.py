"""The DAVIS protocols: label maps of ground truth and predictions, scores per object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.settings import choice, names, switch, text, whole
from rvos_ensemble.adapters.datasets.meta import subset
from rvos_ensemble.ensemble.metrics.protocols.label_maps.matching import match_by_number, match_by_value
from rvos_ensemble.ensemble.metrics.protocols.label_maps.object_scores import ObjectPairs, score_objects
from rvos_ensemble.ensemble.metrics.protocols.shared.layout import (
    LABELS,
    check_layout,
    missing_masks,
    settle_missing,
    strays,
)
from rvos_ensemble.ensemble.metrics.protocols.shared.parallel import map_videos
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import MEASURES, Result
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import VOID, MaskFiles, Tree, prediction_tree, truth_tree

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


@dataclass(frozen=True)
class LabelMapJob:
    """One video to score.

    Attributes:
        video: its name.
        truth: all frames of the ground truth.
        predictions: {name: the same frames of a prediction}.
        options: of the protocol.
    """

    video: str
    truth: MaskFiles
    predictions: Mapping[str, MaskFiles]
    options: SimpleNamespace


@dataclass
class LabelMapScores:
    """The outcome of a video: {prediction: rows}, problems of its files, notes."""

    rows: dict[str, list[dict]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
    counted = {video: names[_counted_frames(options)] for video, names in frames.items()}
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


def _counted_frames(options: SimpleNamespace) -> slice:
    """The frames that count; the others of a prediction are never read."""
    return slice(1, -1) if options.first_last == "drop" else slice(None)


def score_video(job: LabelMapJob) -> LabelMapScores:
    """Scores all predictions of a video."""
    options, result = job.options, LabelMapScores()
    frames = _counted_frames(options)
    truth = MaskFiles(job.truth.storage, job.truth.names[frames])
    ours = {name: MaskFiles(m.storage, m.names[frames]) for name, m in job.predictions.items()}
    if not len(truth):
        result.problems.append(
            f"{job.truth.where(0)}: video of {len(job.truth)} frames, of which the first and the last do not count; "
            "first_last=keep counts them"
        )
        return result
    every_pair = options.assignment == "hungarian"
    pairs, result.problems = score_objects(truth, ours, options.void, every_pair, options.missing)
    try:
        first = job.truth.read(0)
        if options.void != "object":
            first = np.where(first == VOID, np.uint8(0), first)
    except InputError as error:
        result.problems += error.problems
    if result.problems:
        return result
    for name, own_pairs in pairs.items():
        objects = _objects(job.video, own_pairs, first, options, result)
        if problems := _number_problems(job, name, own_pairs, objects):
            result.problems += problems
            continue
        if options.assignment == "hungarian":
            matches = match_by_value(own_pairs, objects, options.empty_empty)
        else:
            matches = match_by_number(own_pairs, objects, options.late_objects, options.empty_empty)
        result.rows[name] = [
            {"video": job.video, **columns, "frames": len(scores), **scores.summary(options.legacy_decay)}
            for columns, scores in matches
        ]
    return result


def _objects(
    video: str, pairs: ObjectPairs, first: np.ndarray, options: SimpleNamespace, result: LabelMapScores
) -> list[int]:
    """Numbers of the objects that count; notes on the others are added to the result."""
    seen = pairs.truths()
    if options.late_objects == "vosbench":
        return seen
    highest = int(first.max())
    gaps = [i for i in range(1, highest + 1) if i not in seen and not (first == i).any()]
    late = [i for i in seen if i > highest]
    if late:
        result.notes.append(
            f"video {video}: object {first_few(late)} is not in the first frame and was not scored, as in the official "
            "code; late_objects=vosbench scores it"
        )
    if gaps and options.void != "object":
        effect = "was left out; the official code scores it 1 (gaps=count)"
        if options.gaps == "count":
            effect = "counts as an object that never appears (gaps=skip leaves it out)"
        result.notes.append(
            f"video {video}: the object numbers of gt have gaps: there is no object {first_few(gaps)}. It {effect}"
        )
    result.notes = list(dict.fromkeys(result.notes))  # once for all predictions
    return [i for i in range(1, highest + 1) if options.gaps == "count" or i not in gaps]


def _number_problems(job: LabelMapJob, name: str, pairs: ObjectPairs, objects: list[int]) -> list[str]:
    """What is wrong with the object numbers of a prediction."""
    options, highest = job.options, pairs.highest()
    if options.assignment == "hungarian":
        if highest <= options.max_proposals:
            return []
        return [
            f"{_first_file(job, name, pairs, highest)}: proposal {highest}, expected numbers up to "
            f"{options.max_proposals} (max_proposals)"
        ]
    unknown = [i for i in pairs.proposals() if i not in objects]
    if not unknown or options.unknown_ids == "ignore":
        return []
    return [
        f"{_first_file(job, name, pairs, unknown[0])}: object {first_few(unknown)}, expected the objects of the ground "
        f"truth: {first_few(objects, 10)}; unknown_ids=ignore ignores others"
    ]


def _first_file(job: LabelMapJob, name: str, pairs: ObjectPairs, i: int) -> str:
    """The first file that shows object i of a prediction; the video if the object covers void pixels only."""
    shown = pairs.shown(i, ["prediction"])
    if not shown.any():
        return f"video {job.video}"
    return job.predictions[name].where(int(np.argmax(shown)) + (job.options.first_last == "drop"))


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
