"""What the DAVIS protocols have in common: label maps of ground truth and predictions, scores per object."""

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
from rvos_ensemble.ensemble.metrics.protocols.assignment import assign
from rvos_ensemble.ensemble.metrics.protocols.inventory import LABELS, check_layout, missing, settle_missing, strays
from rvos_ensemble.ensemble.metrics.protocols.objects import VOID, Pairs, score_objects
from rvos_ensemble.ensemble.metrics.protocols.protocol import MEASURES, Result, spread
from rvos_ensemble.ensemble.metrics.protocols.trees import Masks, Tree, prediction_tree, truth_tree

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
# the same where proposals are given to objects, and all frames count
OF_PROPOSALS: dict[str, Any] = {
    **OPTIONS,
    "first_last": OPTIONS["first_last"].at("keep"),
    "void": OPTIONS["void"].at("ignore"),
    "assignment": OPTIONS["assignment"].at("hungarian"),
}


def relations(given: dict[str, Any]) -> Iterable[str]:
    """What is wrong with options that do not go together; see `Component.relations`."""
    if given.get("late_objects") == "vosbench" and given.get("assignment") == "hungarian":
        yield "late_objects=vosbench asks which object a prediction shows: it needs assignment=identity"


@dataclass(frozen=True)
class Job:
    """One video.

    Attributes:
        video: its name.
        truth: all frames of the ground truth.
        predictions: {name: the same frames of a prediction}.
        options: of the protocol.
    """

    video: str
    truth: Masks
    predictions: Mapping[str, Masks]
    options: SimpleNamespace


@dataclass
class Found:
    """What became of a video: {prediction: rows}, problems of its files, notes."""

    rows: dict[str, list[dict]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate(
    options: SimpleNamespace, gt: Path, predictions: Mapping[str, Tree], folders: Sequence[str], workers: int
) -> dict[str, Result]:
    """Scores one or more predictions of one ground truth.

    Args:
        options: as `OPTIONS`.
        gt: a DAVIS root, or a folder of VIDEO/FRAME.png.
        predictions: {name: where the folders VIDEO/ are looked for}.
        folders: where in a DAVIS root the annotations lie.
        workers: processes; 0 for one a core.

    Raises:
        InputError: all that is wrong with the options or the files.
    """
    truth = truth_tree(gt, folders)
    videos = _videos(truth, options)
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
    frames = {video: truth.frames(video) for video in videos}
    jobs = [
        Job(v, truth.masks(v, frames[v]), {name: tree.masks(v, frames[v]) for name, tree in trees.items()}, options)
        for v in videos
    ]
    inner = slice(1, -1) if options.first_last == "drop" else slice(None)  # nobody reads the others of a prediction
    counted = {video: names[inner] for video, names in frames.items()}
    gone = {
        n: missing(tree, {v: tree.masks(v, names) for v, names in counted.items()}, counted, "videos")
        for n, tree in trees.items()
    }
    general = settle_missing([sentence for sentences in gone.values() for sentence in sentences], options.missing)
    found = spread(score_video, jobs, workers, sum(len(j.truth) * len(j.predictions) for j in jobs))
    if problems := [sentence for video in found for sentence in video.problems]:
        raise InputError(dict.fromkeys(problems))
    general += [sentence for video in found for sentence in video.notes]
    return {
        name: _result([row for video in found for row in video.rows[name]], [*notes[name], *general])
        for name in predictions
    }


def score_video(job: Job) -> Found:
    """All predictions of a video."""
    options, found = job.options, Found()
    frames = slice(1, -1) if options.first_last == "drop" else slice(None)
    truth = Masks(job.truth.storage, job.truth.names[frames])
    ours = {name: Masks(m.storage, m.names[frames]) for name, m in job.predictions.items()}
    if not len(truth):
        found.problems.append(
            f"{job.truth.where(0)}: video of {len(job.truth)} frames, of which the first and the last do not count; "
            "first_last=keep counts them"
        )
        return found
    pairs, found.problems = score_objects(truth, ours, options.void, options.assignment == "hungarian", options.missing)
    try:
        first = job.truth.read(0)
        if options.void != "object":
            first = np.where(first == VOID, np.uint8(0), first)
    except InputError as error:
        found.problems += error.problems
    if found.problems:
        return found
    for name, of_one in pairs.items():
        objects = _objects(job.video, of_one, first, options, found)
        choose = _by_value if options.assignment == "hungarian" else _by_number
        found.rows[name] = [
            {"video": job.video, **columns, "frames": len(scores), **scores.summary(options.legacy_decay)}
            for columns, scores in choose(job, name, of_one, objects, found.problems)
        ]
    return found


def _objects(video: str, pairs: Pairs, first: np.ndarray, options: SimpleNamespace, found: Found) -> list[int]:
    """Numbers of the objects that count."""
    seen = pairs.truths()
    if options.late_objects == "vosbench":
        return seen
    highest = int(first.max())
    gaps = [i for i in range(1, highest + 1) if i not in seen and not (first == i).any()]
    late = [i for i in seen if i > highest]
    if late:
        found.notes.append(
            f"video {video}: object {first_few(late)} is not in the first frame and was not scored, as in the official "
            "code; late_objects=vosbench scores it"
        )
    if gaps and options.void != "object":
        told = "was left out; the official code scores it 1 (gaps=count)"
        if options.gaps == "count":
            told = "counts as an object that is never to be seen (gaps=skip leaves it out)"
        found.notes.append(
            f"video {video}: the numbers of gt have gaps: there is no object {first_few(gaps)}. It {told}"
        )
    found.notes = list(dict.fromkeys(found.notes))  # once for all predictions
    return [i for i in range(1, highest + 1) if options.gaps == "count" or i not in gaps]


def _by_number(job: Job, name: str, pairs: Pairs, objects: list[int], problems: list[str]):
    """Object i of the prediction is object i of the ground truth."""
    unknown = [i for i in pairs.proposals() if i not in objects]
    if unknown and job.options.unknown_ids == "error":
        problems.append(
            f"{_first_file(job, name, pairs, unknown[0])}: object {first_few(unknown)}, expected the objects of the "
            f"ground truth: {first_few(objects, 10)}; unknown_ids=ignore passes over others"
        )
    for i in objects:
        scores = pairs.scores(i, i, job.options.empty_empty)
        if job.options.late_objects == "vosbench":
            scores = scores[int(np.argmax(pairs.shown(i))) :]
        yield {"object": i}, scores


def _by_value(job: Job, name: str, pairs: Pairs, objects: list[int], problems: list[str]):
    """Proposals go with objects so that the sum of their mean (J + F) / 2 is the greatest; some objects get none.

    In order of proposals, as the official code lists them.
    """
    count = pairs.highest()
    if count > job.options.max_proposals:
        problems.append(
            f"{_first_file(job, name, pairs, count)}: proposal {count}, expected numbers up to "
            f"{job.options.max_proposals} (max_proposals)"
        )
        return
    table = {
        (p, k): pairs.scores(p, i, job.options.empty_empty)
        for p in range(1, max(count, len(objects)) + 1)
        for k, i in enumerate(objects)
    }
    value = np.zeros((max(count, len(objects)), len(objects)))
    for (p, k), scores in table.items():
        value[p - 1, k] = (np.mean(scores.J) + np.mean(scores.F)) / 2
    chosen = assign(value)
    for k in np.argsort(chosen).tolist():
        p = chosen[k] + 1
        yield {"object": objects[k], "proposal": p if p <= count else 0}, table[p, k]


def _first_file(job: Job, name: str, pairs: Pairs, i: int) -> str:
    """The first file that shows object i of a prediction; the video, where it is on void pixels only."""
    shown = pairs.shown(i, ["prediction"])
    if not shown.any():
        return f"video {job.video}"
    return job.predictions[name].where(int(np.argmax(shown)) + (job.options.first_last == "drop"))


def _result(rows: list[dict], notes: list[str]) -> Result:
    if not rows:
        raise InputError("no objects to score: the ground truth shows none in the first frame of any video")
    frame = pd.DataFrame(rows)
    means = {measure: float(np.mean(frame[measure].to_numpy())) for measure in MEASURES}
    means["J&F-Mean"] = (means["J-Mean"] + means["F-Mean"]) / 2
    return Result(frame, means, tuple(notes))


def _videos(truth: Tree, options: SimpleNamespace) -> list[str]:
    """Names of the videos: those of ImageSets/2017/SPLIT.txt where gt is a DAVIS root, else all."""
    names = [video for video in truth.videos() if truth.frames(video)]
    for root in ("", "DAVIS/") if truth.top else ():
        listing = f"{root}ImageSets/2017/{options.split}.txt"
        if "ImageSets" in truth.storage.entries(root)[0]:
            listed = truth.storage.read(listing).decode("ascii", "replace").split()
            if absent := sorted(set(listed) - set(names)):
                raise InputError(f"{truth.where}: no annotations of {first_few(absent)}, which {listing} lists")
            names = listed
    return list(subset(dict.fromkeys(names), options.videos, truth.where))
