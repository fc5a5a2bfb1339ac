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
from rvos_ensemble.ensemble.metrics.protocols.protocol import Protocol, Result, spread

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
EPS = np.float32(1e-5)


class URVOS(Protocol):
    """URVOS prec@X: the share of sequences whose IoU, averaged over frames, is above X (not at X).

    gt is a root of Ref-YouTube-VOS: `meta_expressions/SPLIT/meta_expressions.json` and palette PNGs
    `SPLIT/Annotations/VIDEO/FRAME.png`; the objects of the expressions come from `obj_id` there, from `obj_ids`, or
    from the layout of 2020. No pictures are needed. pred is a folder or zip of
    `[Annotations/]VIDEO/EXPRESSION/FRAME.png`.

    The IoU of a frame is I / (U + 1e-5) in float32, so that a frame where both masks are empty scores 0, and 1 in every
    other protocol: an object that leaves the picture costs points here even if that is seen.

    The authors' own evaluation is `unit=object frames=object size=320`.

    Options:
        split, meta, obj_ids, videos: as for the data set `ref_youtube_vos`.
        unit: "expression": every expression is a sequence; "object": only the first expression of every object.
        frames: "all": all frames of the video; "object": those that the json lists for the object (`objects` in the
            layout of 2020, else `SPLIT/meta.json`).
        size: masks are resized to this many pixels squared, nearest pixel, before they are compared; none by default.

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
        jobs = [Job(clip, files, _units(clip, s.unit, listed), s.size) for clip in clips]
        masks = sum(len(frames) for job in jobs for frames in job.units.values())
        found = spread(score_clip, jobs, workers, masks)
        if problems := [sentence for clip in found for sentence in clip.problems]:
            raise InputError(problems)
        rows = pd.DataFrame([row for clip in found for row in clip.rows])
        summary = {f"prec@{x}": float(np.mean(rows["J"] > x)) for x in THRESHOLDS}
        summary["J"] = _mean(rows["J"])
        notes = [f"{len(rows)} sequences, one for every {s.unit}; {masks} masks"]
        if empty := sum(clip.empty for clip in found):
            notes.append(f"{empty} masks are empty like their ground truth: 0 here, 1 in every other protocol")
        return Result(rows, summary, tuple(notes))


@dataclass(frozen=True)
class Job:
    """One video.

    Attributes:
        clip: with truth.
        files: the predictions.
        units: {expression: numbers of the frames to score}.
        size: side to which masks are resized; None leaves them.
    """

    clip: Clip
    files: Files
    units: Mapping[str, Sequence[int]]
    size: int | None


@dataclass(frozen=True)
class Found:
    """What became of a video: rows, problems of its files, how many masks are empty in both."""

    rows: list[dict]
    problems: list[str]
    empty: int = 0


def score_clip(job: Job) -> Found:
    """The sequences of a video, each with its mean IoU."""
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
        return Found([], error.problems)
    rows = [
        {"video": job.clip.name, "expression": i, "object": ",".join(truth.objects[i]), "J": _mean(values)}
        for i, values in ious.items()
    ]
    return Found(rows, [], empty)


def _overlap(mask: np.ndarray, target: np.ndarray, size: int | None) -> tuple[int, int]:
    """Pixels in both, and in either."""
    if size is not None:
        mask, target = (
            cv2.resize(m.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0 for m in (mask, target)
        )
    return np.count_nonzero(mask & target), np.count_nonzero(mask | target)


def _mean(values) -> float:
    """One after the other in float64, as the authors add up: `np.mean` adds in another order."""
    return float(np.cumsum(np.asarray(values, np.float64))[-1] / len(values))


def _with_truth(clips: Sequence[Clip], root: Path) -> list[Clip]:
    """The clips, with annotations in place of the pictures, and only expressions whose objects are known."""
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
    """{expression: numbers of the frames to score} of those that are sequences of their own."""
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
    """{(video, object): names of its frames}, of the expressions' json in the layout of 2020, else of meta.json.

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
