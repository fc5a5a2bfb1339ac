"""MeViS and MeViSv2: expressions of motion, which may refer to several objects or, in MeViSv2, to none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import choice
from rvos_ensemble.adapters.datasets import mevis
from rvos_ensemble.adapters.files.readers.coco_rle import decode
from rvos_ensemble.ensemble.fusion.bits import pack
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore, existence
from rvos_ensemble.ensemble.metrics.protocols.shared import expressions
from rvos_ensemble.ensemble.metrics.protocols.shared.expressions import Key, ScoredVideo, TruthReader
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result
from rvos_ensemble.ensemble.metrics.scores import PIXELS_AT_A_TIME


class MevisProtocol(Protocol):
    """MeViS and MeViSv2: J and F per expression against the union of its objects; N-acc, T-acc and Final.

    gt is the data set's folder with `SPLIT/meta_expressions.json` (or a list of MeViSv2, see the data set mevis) and
    `SPLIT/mask_dict.json`, or the folder of the split itself. The video frames are not needed. pred is a folder or zip
    of `VIDEO/EXPRESSION/FRAME.png`, 0/255 or 0/1.

    N-acc, T-acc and Final exist if any expression refers to nothing, see `metrics/existence.py`. A prediction answers
    "nothing" if the masks of all frames are present and empty.

    Options:
        missing: frames and expressions that are missing from pred: "zero" (they score 0), "error" or "empty" masks. The
            official script scores a missing video 0, and omits an expression with a missing frame from the mean. With
            "zero", an expression without masks is not the answer "nothing": N-acc and T-acc count it as wrong.
        jf_over: J and F are means over "all" expressions, or over those with "targets". Which one MeViSv2's server uses
            is not published.
        empty_empty, average, legacy_decay: see the protocol ref_youtube_vos. For average=objects, the expressions of a
            video that refer to nothing count as those of one object.
        split, version, meta, videos: see the data set mevis.

    Source: Ding et al., MeViS: A Large-scale Benchmark for Video Segmentation with Motion Expressions, ICCV 2023; Ding
    et al., MeViS: A Multi-Modal Dataset for Referring Motion Expression Video Segmentation, TPAMI 2025.
    """

    defaults = {
        **expressions.OPTIONS,
        "missing": expressions.OPTIONS["missing"].at("zero"),
        "jf_over": choice("all", "targets"),
        "split": expressions.OPTIONS["split"].at("valid_u"),
        "version": mevis.Mevis.defaults["version"],
    }

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores masks of expressions; see `Protocol.evaluate`."""
        s = self.settings
        is_split = any((gt / name).is_file() for names in mevis.LISTS.values() for name in names)
        root, split = (gt.parent, gt.name) if is_split else (gt, s.split)
        clips = mevis.Mevis(root=str(root), split=split, version=s.version, meta=s.meta, videos=s.videos).clips()
        videos = [
            ScoredVideo(
                clip.name,
                clip.frames,
                [e for e in clip.expressions if e.id in clip.truth.annotations],
                RleTruthReader(clip.truth.runs, f"{clip.truth.path}: video {clip.name!r}", len(clip)),
                dict(clip.truth.annotations),
            )
            for clip in clips
            if clip.truth is not None
        ]
        if not videos:
            raise InputError(
                f"{root / split}: nothing to score: expected mask_dict.json, and anno_id of each expression in "
                "meta_expressions.json; only the splits train and valid_u are published with them"
            )
        unscored = len(clips) - len(videos)
        notes = [f"{unscored} of {len(clips)} videos have no ground truth and do not count"] if unscored else []
        result = expressions.evaluate(s, videos, pred, workers, notes)
        return _with_existence(s, result) if "no_target" in result.rows else result


def _with_existence(options: SimpleNamespace, result: Result) -> Result:
    """The result with N-acc, T-acc and Final; J and F are means over the expressions that `jf_over` names."""
    rows, notes = result.rows, list(result.notes)
    counted = rows if options.jf_over == "all" else rows[~rows["no_target"]]
    if counted.empty:
        raise InputError(
            "jf_over=targets: no expression has a target; jf_over=all includes those that refer to nothing"
        )
    summary = expressions.summary_of(counted, options.average)
    answers = zip(rows["J-Mean"], rows["F-Mean"], rows["no_target"], rows["empty"], strict=True)
    summary |= existence((ExpressionScore(*answer) for answer in answers), summary["J&F-Mean"]).named()
    if absent := int((rows["no_target"] & rows["empty"].isna()).sum()):
        notes.append(
            f"{absent} of {int(rows['no_target'].sum())} expressions that refer to nothing have no (or too few) masks; "
            'that is not the answer "nothing" and counts as wrong: submit empty masks, or set missing=empty'
        )
    return Result(rows, summary, tuple(notes))


@dataclass(frozen=True)
class RleTruthReader(TruthReader):
    """Reads the RLE annotations of a video.

    Attributes:
        runs: {annotation: one RLE per frame, None where the object is not visible}.
        where: the name of the annotations for messages.
        length: number of frames.
    """

    runs: Mapping[str, Sequence[dict | None]]
    where: str
    length: int

    def parts(
        self, keys: Sequence[Key], size: tuple[int, int] | None, problems: list[str]
    ) -> Iterator[tuple[range, tuple[int, int], dict[Key, np.ndarray]]]:
        """Decodes a few frames at a time; see `TruthReader.parts`."""
        own = next((rle.get("size") for rles in self.runs.values() for rle in rles if isinstance(rle, dict)), None)
        height, width = own or size or (1, 1)  # (1, 1): both sides are empty
        step = max(1, PIXELS_AT_A_TIME // (height * width))
        for start in range(0, self.length, step):
            frames = range(start, min(start + step, self.length))
            nothing, masks = np.zeros((len(frames), height, (width + 7) // 8), np.uint8), {}
            for i, rles in self.runs.items():
                masks[i] = nothing.copy()
                for n, t in enumerate(frames):
                    if rles[t] is None:
                        continue
                    try:
                        where = f"{self.where}, annotation {i!r}, frame number {t}"
                        masks[i][n] = pack(decode(rles[t], (height, width), where))
                    except InputError as error:
                        problems += error.problems
            yield (
                frames,
                (height, width),
                {key: reduce(np.bitwise_or, [masks[i] for i in key], nothing) for key in keys},
            )
