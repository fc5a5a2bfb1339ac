"""`results.json` of Sa2VA and SaSaSa2VA: {video: {expression: {answer, frames and their masks}}}.

An expression is {"video_id", "exp_id", "text_prediction": the answer, "frames": [name], "prediction_masks": [RLE]}. An
answer without the token [SEG] has no masks: it is Sa2VA's way of saying that the expression refers to nothing.

Source: projects/sa2va/evaluation/sa2va_eval_ref_vos.py and projects/sasasa2va/evaluation/ref_vos_eval.py of
bytedance/Sa2VA, without `--submit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.readers.coco_rle import CocoRle, Rle, RleReader, checked_runs
from rvos_ensemble.adapters.files.readers.reader import Outline

SEGMENTED = "[SEG]"  # the token of an answer that has a mask


@dataclass(frozen=True)
class Sa2va(CocoRle):
    """Reads the results of Sa2VA.

    Attributes:
        missing: "error", or "empty": frames that the file does not list have empty masks.
        extra: "error", or "ignore": frames that the clip does not have.
    """

    missing: str = "error"
    extra: str = "error"

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The masks of an expression, lazily; presence 0 if the answer has no mask, else 1."""
        where = f"{self.path}: video {clip.name!r}, expression {expression.id!r}"
        entry = self._videos()[clip.name][expression.id]
        masks = self._masks(entry, clip, expression, where)
        rles = tuple(masks.get(frame) for frame in clip.frames)
        read = RleReader(rles, tuple(clip.size), where)
        absent = sum(frame not in masks for frame in clip.frames)
        return MaskSequence(
            LazyMasks((len(clip), *clip.size), np.dtype(bool), read),
            notes={"missing_frames": absent} if absent and masks else {},
            presence=_presence(entry, rles, read),
        )

    def _outline(self, entries: Mapping[str, Any]) -> Outline:
        frames = (e["frames"] for e in entries.values() if isinstance(e, dict) and isinstance(e.get("frames"), list))
        return Outline(tuple(dict.fromkeys(str(f) for listed in frames for f in listed)), dict.fromkeys(entries, ()))

    def _rles(self, entry: Any) -> list:
        masks = entry.get("prediction_masks") if isinstance(entry, dict) else None
        return masks if isinstance(masks, list) else []

    def _masks(self, entry: Any, clip: Clip, expression: Expression, where: str) -> dict[str, Rle | None]:
        """{frame: its mask} of an expression.

        Raises:
            InputError: not such an entry, that of another expression, or other frames than those of the clip.
        """
        expected = '{"frames": [name], "prediction_masks": [RLE]}'
        if not isinstance(entry, dict) or not {"frames", "prediction_masks"} <= entry.keys():
            raise InputError(f"{where}: expected {expected}, found {shown(entry)}")
        for key, wanted in (("video_id", clip.name), ("exp_id", expression.id)):
            if key in entry and entry[key] != wanted:
                raise InputError(f"{where}: its `{key}` is {shown(entry[key])}, expected {wanted!r}")
        frames, masks = entry["frames"], entry["prediction_masks"]
        if masks is None:
            raise InputError(
                f"{where}: no masks: Sa2VA wrote PNG files instead (`--submit`); use the folder Annotations"
            )
        if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
            raise InputError(f"{where}: its `frames` are {shown(frames)}, expected names")
        if not isinstance(masks, list) or (len(masks) != len(frames) and masks):
            count = f"{len(masks)} masks" if isinstance(masks, list) else shown(masks)
            raise InputError(f"{where}: {count} for {len(frames)} frames, expected one for each")
        if not masks:  # an answer without masks
            return {}
        result = dict(zip(frames, masks, strict=True))
        if len(result) < len(frames):
            raise InputError(f"{where}: a frame is listed twice")
        self._check_frames(result, clip, where)
        return result

    def _check_frames(self, masks: dict[str, Rle | None], clip: Clip, where: str) -> None:
        problems, wanted = [], set(clip.frames)
        absent = [frame for frame in clip.frames if frame not in masks]
        if absent and (self.missing == "error" or len(absent) == len(clip)):
            problems.append(f"{where}: {len(absent)} of {len(clip)} frames are missing: {first_few(absent)}")
        if self.extra == "error" and (others := [frame for frame in masks if frame not in wanted]):
            problems.append(
                f"{where}: {first_few(others)} not among the frames of the data set; `extra: ignore` skips such frames"
            )
        if problems:
            raise InputError(problems)


def _presence(entry: dict[str, Any], rles: tuple[Rle | None, ...], read: RleReader) -> float | None:
    """0 without masks, or with empty masks after an answer without their token; None if there is no answer."""
    if all(rle is None for rle in rles):
        return 0.0
    answer = entry.get("text_prediction")
    if not isinstance(answer, str):
        return None
    return float(SEGMENTED in answer or not all(_is_empty(rle, read) for rle in rles))


def _is_empty(rle: Rle | None, read: RleReader) -> bool:
    return rle is None or not checked_runs(rle, read.size, read.where)[1::2].any()
