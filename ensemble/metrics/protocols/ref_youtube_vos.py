"""Ref-YouTube-VOS: its evaluation server no longer exists, but its annotations have been published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.settings import choice, text
from rvos_ensemble.adapters.datasets import ref_youtube_vos
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.palette_truth import PaletteTruth
from rvos_ensemble.ensemble.metrics.protocols.label_maps.labels import Labels
from rvos_ensemble.ensemble.metrics.protocols.shared import expressions
from rvos_ensemble.ensemble.metrics.protocols.shared.expressions import Key, ScoredVideo, TruthReader
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result
from rvos_ensemble.ensemble.metrics.scores import PIXELS_AT_A_TIME


class RefYoutubeVosProtocol(Protocol):
    """Ref-YouTube-VOS: J and F per expression over the frames of its list, mean over expressions.

    gt is the data set's folder, with `meta_expressions/SPLIT/meta_expressions.json`,
    `SPLIT/Annotations/VIDEO/FRAME.png` (label maps) and the objects: `obj_id` in that json, or
    `meta_expressions/SPLIT/obj_ids.json`, {video: {expression: obj_id}}. The video frames are not needed. pred is a
    folder or zip of `[Annotations/]VIDEO/EXPRESSION/FRAME.png`, 0/255 or 0/1.

    Options:
        missing: frames and expressions that are missing from pred: "error", "zero" (they score 0) or "empty" masks.
        empty_empty: the score of a frame where neither gt nor pred shows the object: 1 or 0.
        average: "expressions", or "objects": mean over objects of the mean over the expressions of each object.
        unannotated: frames of the list that are missing from gt: "error", or "skip": they do not count.
        legacy_decay: compute decay as the official DAVIS code does, wrong from 256 frames on.
        split, meta, videos, obj_ids: see the data set ref_youtube_vos.

    Source: Seo et al., URVOS: Unified Referring Video Object Segmentation Network, ECCV 2020.
    """

    defaults = {**expressions.OPTIONS, "obj_ids": text(None), "unannotated": choice("error", "skip")}

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores masks of expressions; see `Protocol.evaluate`."""
        s, notes, videos = self.settings, [], []
        data = {"root": str(gt), "split": s.split, "meta": s.meta, "videos": s.videos, "obj_ids": s.obj_ids}
        clips = ref_youtube_vos.RefYoutubeVOS(**data).clips()
        problems = []
        for clip in clips:
            if clip.truth is None:
                continue
            video = _video(clip)
            if (absent := len(clip) - len(video.frames)) and s.unannotated == "error":
                gone = [f for f in clip.frames if f not in video.frames]
                problems.append(
                    f"{clip.truth.paths[0].parent}: {absent} of {len(clip)} annotations are missing: "
                    f"{first_few([f'{f}.png' for f in gone])}; unannotated=skip leaves such frames out"
                )
            elif absent:
                notes.append(f"video {clip.name}: {absent} of {len(clip)} frames have no annotation and do not count")
            if video.frames:
                videos.append(video)
        if problems:
            raise InputError(problems)
        if not videos:
            raise InputError(
                f"{gt}: nothing to score in split {s.split!r}: expected {s.split}/Annotations/VIDEO/FRAME.png, and "
                f"obj_id of each expression in its json or in meta_expressions/{s.split}/obj_ids.json"
            )
        unscored = len(clips) - len(videos)
        notes += [f"{unscored} of {len(clips)} videos have no ground truth and do not count"] if unscored else []
        return expressions.evaluate(s, videos, pred, workers, notes)


def _video(clip: Clip) -> ScoredVideo:
    """What is scored of a clip: its annotated frames, and the expressions whose objects are known."""
    annotated = [t for t, path in enumerate(clip.truth.paths) if path.is_file()]
    paths = tuple(clip.truth.paths[t] for t in annotated)
    truth = LabelMapTruthReader(replace(clip.truth, paths=paths, images=ImageFiles(paths)))
    scored = [e for e in clip.expressions if e.id in clip.truth.objects]
    return ScoredVideo(clip.name, [clip.frames[t] for t in annotated], scored, truth, dict(clip.truth.objects))


@dataclass(frozen=True)
class LabelMapTruthReader(TruthReader):
    """Reads the label maps of a video; all must have the size of the first."""

    palette: PaletteTruth

    def parts(
        self, keys: Sequence[Key], size: tuple[int, int] | None, problems: list[str]
    ) -> Iterator[tuple[range, tuple[int, int], dict[Key, np.ndarray]]]:
        """Decodes a few frames at a time; see `TruthReader.parts`."""
        wanted = {i for key in keys for i in key}
        try:
            height, width = self.palette.images.size
        except InputError as error:
            problems += error.problems
            return
        seen, count = set(), len(self.palette.paths)
        step = max(1, PIXELS_AT_A_TIME // (height * width))
        for start in range(0, count, step):
            frames = range(start, min(start + step, count))
            labels = Labels.of((self._labels(t, problems) for t in frames), len(frames), (height, width))
            objects = {str(i): labels.packed(i) for i in labels.ids if str(i) in wanted}
            seen |= {i for i, mask in objects.items() if i not in seen and mask.any()}
            nothing = np.zeros((len(frames), height, (width + 7) // 8), np.uint8)
            yield (
                frames,
                (height, width),
                {key: reduce(np.bitwise_or, [objects.get(i, nothing) for i in key]) for key in keys},
            )
        problems += [
            f"{self.palette.paths[0].parent}: object {i!r}, to which an expression refers, is in none of its {count} "
            "annotations; correct its obj_id or leave the video out"
            for i in sorted(wanted - seen)
            if not problems
        ]

    def _labels(self, t: int, problems: list[str]) -> np.ndarray | None:
        """Label map t; None if it cannot be read."""
        try:
            return self.palette.labels(t)
        except InputError as error:
            problems += error.problems
            return None
