"""Scores one video of label maps: which objects count, and their J and F."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.ensemble.metrics.protocols.label_maps.matching import match_by_number, match_by_value
from rvos_ensemble.ensemble.metrics.protocols.label_maps.object_scores import ObjectPairs, score_objects
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import VOID, MaskFiles


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


def counted_frames(options: SimpleNamespace) -> slice:
    """The frames that count; the others of a prediction are never read."""
    return slice(1, -1) if options.first_last == "drop" else slice(None)


def score_video(job: LabelMapJob) -> LabelMapScores:
    """Scores all predictions of a video."""
    options, result = job.options, LabelMapScores()
    frames = counted_frames(options)
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
            if not any(p.truths() for p in pairs.values()) and _is_binary(job.truth):
                result.problems.append(
                    f"{job.truth.where(0)}: the ground truth looks binary (0/255), but in a label map 255 is void and "
                    "objects are 1, 2, ...; void=object scores masks of one object"
                )
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


def _is_binary(masks: MaskFiles) -> bool:
    """Whether files that show no object show 0 and 255 instead."""
    highest = [int(masks.read(t).max()) for t in range(len(masks)) if masks.names[t] is not None]
    return VOID in highest and set(highest) <= {0, VOID}


def _number_problems(job: LabelMapJob, name: str, pairs: ObjectPairs, objects: list[int]) -> list[str]:
    """What is wrong with the object numbers of a prediction."""
    options, highest = job.options, pairs.highest()
    binary = options.void == "object"  # then a mask of 0/255 shows one object, number 255
    if options.assignment == "hungarian":
        if highest <= options.max_proposals or (binary and pairs.proposals() == [VOID]):
            return []
        return [
            f"{_first_file(job, name, pairs, highest)}: proposal {highest}, expected numbers up to "
            f"{options.max_proposals} (max_proposals)"
        ]
    if binary and {tuple(pairs.truths()), tuple(pairs.proposals())} == {(1,), (VOID,)}:
        ours, theirs = ("0/1", "0/255") if pairs.proposals() == [1] else ("0/255", "0/1")
        where = _first_file(job, name, pairs, pairs.proposals()[0])
        return [
            f"{where}: a mask of {ours}, but the ground truth is one of {theirs}, so that the objects have different "
            "numbers; assignment=hungarian compares them all the same"
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
