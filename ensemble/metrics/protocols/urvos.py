"""URVOS: prec@X, the share of sequences whose mean IoU is above X."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import choice, names, text, whole
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import read_videos
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.files import Files
from rvos_ensemble.ensemble.metrics.protocols.shared.parallel import map_videos
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
EPS = np.float32(1e-5)


class URVOSProtocol(Protocol):
    """URVOS prec@X: the share of sequences whose IoU, averaged over frames, is above X (X itself does not count).

    gt is a root of Ref-YouTube-VOS: `meta_expressions/SPLIT/meta_expressions.json` and palette PNGs
    `SPLIT/Annotations/VIDEO/FRAME.png`; the objects of the expressions are read from `obj_id` there, from `obj_ids`, or
    from the layout of 2020. The video frames are not needed. pred is a folder or zip of
    `[Annotations/]VIDEO/EXPRESSION/FRAME.png`.

    The IoU of a frame is I / (U + 1e-5) in float32. A frame where both masks are empty therefore scores 0, while it
    scores 1 in every other protocol: an object that leaves the frame costs points here even if the prediction is empty.

    The evaluation of the authors is `unit=object frames=object size=320`.

    Options:
        split, meta, obj_ids, videos: see the data set `ref_youtube_vos`.
        unit: "expression": every expression is a sequence; "object": only the first expression of every object is.
        frames: "all": all frames of the video; "object": the frames that the json lists for the object (`objects` in
            the layout of 2020, else `SPLIT/meta.json`).
        size: masks are resized to a square of this many pixels per side (nearest neighbour) before they are compared;
            by default they are not resized.

    Source: Seo et al., URVOS, ECCV 2020, Sec. 5; the authors' code, Baseline/trainer.py of skynbe/Refer-Youtube-VOS.
    """

    defaults = {
        "split": text("valid"),
        "meta": text(None),
        "obj_ids": text(None),
        "videos": names(None),
        "unit": choice("expression", "object"),
        "frames": choice("all", "object"),
        "size": whole(None, least=1, most=1 << 14),
    }

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores masks of expressions; see `Protocol.evaluate`."""
        s = self.settings
        data = {"split": s.split, "meta": s.meta, "obj_ids": s.obj_ids, "videos": s.videos}
        clips = _with_truth(RefYoutubeVOS(root=str(gt), **data).clips(), Path(gt))
        files = Files(path=str(pred))
        problems = [sentence for clip in clips for sentence in clip.truth.problems()] + files.check(clips)
        listed = None
        if s.frames == "object":
            try:
                listed = _listed(clips, Path(gt), s.split, s.meta)
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        jobs = [SequenceJob(clip, files, _units(clip, s.unit, listed), s.size) for clip in clips]
        masks = sum(len(frames) for job in jobs for frames in job.units.values())
        scored = map_videos(score_clip, jobs, workers, masks)
        if problems := [sentence for clip in scored for sentence in clip.problems]:
            raise InputError(problems)
        rows = pd.DataFrame([row for clip in scored for row in clip.rows])
        summary = {f"prec@{x}": float(np.mean(rows["J"] > x)) for x in THRESHOLDS}
        summary["J"] = _mean(rows["J"])
        notes = [f"{len(rows)} sequences, one for every {s.unit}; {masks} masks"]
        if empty := sum(clip.empty for clip in scored):
            notes.append(f"{empty} masks are empty like their ground truth: 0 here, 1 in every other protocol")
        return Result(rows, summary, tuple(notes))


@dataclass(frozen=True)
class SequenceJob:
    """One video to score.

    Attributes:
        clip: a clip with ground truth.
        files: the predictions.
        units: {expression: numbers of the frames to score}.
        size: the side to which masks are resized; None does not resize them.
    """

    clip: Clip
    files: Files
    units: Mapping[str, Sequence[int]]
    size: int | None


@dataclass(frozen=True)
class SequenceScores:
    """The outcome of a video: rows, problems of its files, and the number of masks that are empty on both sides."""

    rows: list[dict]
    problems: list[str]
    empty: int = 0


def score_clip(job: SequenceJob) -> SequenceScores:
    """Scores the sequences of a video, each with its mean IoU."""
    ious: dict[str, list[np.float32]] = {i: [] for i in job.units}
    wanted = {i: set(frames) for i, frames in job.units.items()}
    truth, empty = job.clip.truth, 0
    try:
        prediction = job.files.predict(job.clip)
        for t in sorted(set().union(*wanted.values())):
            labels = truth.labels(t)
            for i in job.units:
                if t in wanted[i]:
                    target = np.isin(labels, [int(o) for o in truth.objects[i]])
                    both, either = _overlap(prediction[i].mask(t), target, job.size)
                    ious[i].append(np.float32(both) / (np.float32(either) + EPS))
                    empty += either == 0
    except InputError as error:
        return SequenceScores([], error.problems)
    rows = [
        {"video": job.clip.name, "expression": i, "object": ",".join(truth.objects[i]), "J": _mean(values)}
        for i, values in ious.items()
    ]
    return SequenceScores(rows, [], empty)


def _overlap(mask: np.ndarray, target: np.ndarray, size: int | None) -> tuple[int, int]:
    """Number of pixels in both masks, and in either."""
    if size is not None:
        mask, target = (
            cv2.resize(m.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0 for m in (mask, target)
        )
    return np.count_nonzero(mask & target), np.count_nonzero(mask | target)


def _mean(values: Sequence[float] | pd.Series) -> float:
    """Mean in float64, summed in order as the authors do; `np.mean` sums in another order."""
    return float(np.cumsum(np.asarray(values, np.float64))[-1] / len(values))


def _with_truth(clips: Sequence[Clip], root: Path) -> list[Clip]:
    """The clips, with their annotations as frames.

    Raises:
        InputError: naming every clip without ground truth and every expression without objects.
    """
    problems = [
        f"{root}: video {clip.name!r}: no ground truth: expected SPLIT/Annotations/{clip.name}/, and the objects of "
        "its expressions as `obj_id` or in `obj_ids`"
        for clip in clips
        if clip.truth is None
    ]
    problems += [
        f"{root}: video {clip.name!r}, expression {e.id!r}: the data set does not say which object it means"
        for clip in clips
        for e in clip.expressions
        if clip.truth is not None and not clip.truth.objects.get(e.id)
    ]
    if problems:
        raise InputError(problems)
    return [
        replace(clip, images=(labels := ImageFiles(clip.truth.paths)), truth=replace(clip.truth, images=labels))
        for clip in clips
    ]


def _units(clip: Clip, unit: str, listed: Mapping[tuple[str, str], set[str]] | None) -> dict[str, list[int]]:
    """{expression: numbers of the frames to score} for every expression that counts as a sequence."""
    units, seen = {}, set()
    for e in clip.expressions:
        objects = clip.truth.objects[e.id]
        if unit == "object" and objects in seen:
            continue
        seen.add(objects)
        frames = range(len(clip))
        if listed is not None:
            names = set().union(*(listed[clip.name, o] for o in objects))
            frames = [t for t in frames if clip.frames[t] in names]
        units[e.id] = list(frames)
    return units


def _listed(clips: Sequence[Clip], root: Path, split: str, meta: str | None) -> dict[tuple[str, str], set[str]]:
    """The frames of each object, from the expressions' json in the layout of 2020, else from meta.json.

    Returns:
        {(video, object): names of its frames}.

    Raises:
        InputError: naming every object without frames.
    """
    own = Path(meta).expanduser() if meta else root / "meta_expressions" / split / "meta_expressions.json"
    videos: dict[str, dict] = {}
    for file in (root / split / "meta.json", own):
        entries = read_videos(file) if file.is_file() else {}
        videos |= {name: entry for name, entry in entries.items() if isinstance(entry, dict) and "objects" in entry}
    listed, problems = {}, []
    for clip in clips:
        for o in sorted({o for objects in clip.truth.objects.values() for o in objects}):
            try:
                listed[clip.name, o] = set(videos[clip.name]["objects"][o]["frames"]) & set(clip.frames)
            except (KeyError, TypeError):
                listed[clip.name, o] = set()
            if not listed[clip.name, o]:
                problems.append(
                    f"{root}: video {clip.name!r}: no frames of object {o!r}; frames=object needs "
                    f'{{"videos": {{video: {{"objects": {{id: {{"frames"}}}}}}}}}} in {split}/meta.json'
                )
    if problems:
        raise InputError(problems)
    return listed
