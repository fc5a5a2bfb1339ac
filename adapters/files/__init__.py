"""Mask sequences of any model, on disk.

The setting `path` names a file, a folder, or a stem: for `preds/soc`, exactly one of `soc/`, `soc.zip`, `soc.json`,
`soc.npz` and `soc.pth` must exist. These formats are read:

- PNG tree or zip, a folder per expression: `[Annotations/]VIDEO/EXPRESSION/FRAME.png`, single-channel 0/255, 0/1 or
  1-bit; with `kind: prob`, grey levels 0..255 are probabilities.
- PNG tree or zip, object ids: `VIDEO/FRAME.png` as in DAVIS; the mask of an expression is the union of its objects.
- COCO RLE, `.json`: {video: {expression: [RLE or null per frame]}}, and beside the videos, optionally,
  "scores": {video: {expression: [score per frame]}}. RLE is {"size": [H, W], "counts": string}; null is an empty mask.
- `results.json` of Sa2VA and SaSaSa2VA; an answer without [SEG] has presence 0.
- `.npz`: arrays `VIDEO/EXPRESSION/masks` [T, H, W] and, optionally, `VIDEO/EXPRESSION/scores` [T]; or a folder with a
  file per expression, `VIDEO/EXPRESSION.npz` with `masks` and `scores`. bool masks are binary, uint8 are probabilities
  (0..255 means 0..1), floats need `kind`.
- `.npz` of ReferDINO, one per video, in a folder: the union of the queries that `threshold` keeps; presence 0 without.
- `.pth` as the 2023 winner's tools exchange them, or a folder of such chunks: {video: {expression: {"mask_logits":
  float [T, H, W], "class_info": [score per frame]}}}; needs `kind`, since some of those files hold probabilities.

Two optional files beside a stem are read as well: `STEM.scores.json`, {video: {expression: [score per frame]}}, which
takes precedence over scores in the file itself, and `STEM.about.json`, {"label": a remark for tables}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.hashing import digest, file_stamp
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.prediction import Prediction, sequence_problems
from rvos_ensemble.adapters.core.settings import choice, number, path
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.files.formats import SUFFIXES, beside, mask_path, open_reader
from rvos_ensemble.adapters.files.readers.reader import Outline, Reader, decoding_problems
from rvos_ensemble.adapters.files.remembered import remember
from rvos_ensemble.adapters.files.scores import key_frame_of, load_json, scores_of, text_of
from rvos_ensemble.adapters.files.tools.referdino import THRESHOLD
from rvos_ensemble.adapters.files.values import KINDS


class Files(Adapter):
    """Mask sequences on disk: PNG trees and zips, COCO RLE and Sa2VA json, npz, ReferDINO's npz, .pth of 2023.

    Settings:
        path: file, folder or stem.
        kind: "binary", "prob" or "logits", where the format does not determine it.
        scores: file {video: {expression: [score per frame]}}; by default `STEM.scores.json`, if it exists.
        key_frames: file {video: {expression: {"index_info": {"class_index": k}}}}, the winner's `key_frame.json`, or
            {video: {expression: k}}; stored as the note `key_frame` of each sequence.
        objects: "expression": masks are 0/255, or object ids from which the expression's own are selected; "any": every
            value but 0 is foreground.
        extra: "error" or "ignore": expressions and frames that the data set does not list for a video. Videos that the
            data set does not list are always ignored, so that predictions of all 507 videos serve the 202.
        missing: "error", or "empty" for tools that write nothing where nothing is found: missing expressions become
            empty masks of presence 0, and missing frames of PNG files and of Sa2VA empty masks. They have the notes
            `missing` and `missing_frames`, and a run prints how many there are. A video without any entry or folder is
            still an error.
        threshold: of the scores of ReferDINO's queries, see `kept_queries` in `tools/referdino.py`.
    """

    stored = False
    defaults = {
        "path": path(endings=("", *SUFFIXES)),
        "kind": choice(None, *KINDS),
        "scores": path(None),
        "key_frames": path(None),
        "objects": choice("expression", "any"),
        "extra": choice("error", "ignore"),
        "missing": choice("error", "empty"),
        "threshold": number(THRESHOLD, least=0, most=1),
    }

    def predict(self, clip: Clip) -> Prediction:
        """The masks of every expression, lazily."""
        reader = self._reader()
        problems = self._expression_problems(reader, clip)
        prediction = {}
        for e in clip.expressions if not problems else ():
            try:
                prediction[e.id] = remember(self._sequence(reader, clip, e))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        return prediction

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Checks names, counts, sizes and the files beside the stem completely, and pixels by samples.

        Of PNGs, the header of every frame and the pixels of the first frame of each expression are read; the runs of
        every RLE are added up; of npz and .pth, whose values `kind` interprets, one expression is read.
        """
        try:
            reader = self._reader()
            problems = reader.problems(clips)
        except InputError as error:
            return error.problems
        problems += self._about_problems()
        sampled = False
        for clip in clips:
            of_clip = self._expression_problems(reader, clip)
            problems += of_clip
            for e in clip.expressions if not of_clip else ():
                try:
                    sequence = self._sequence(reader, clip, e)
                    if (reader.samples_all or not sampled) and not sequence.notes.get("missing"):
                        problems += reader.sample_problems(sequence)
                        sampled = True
                except InputError as error:
                    problems += error.problems
        return list(dict.fromkeys(problems))

    def inspect(self, clip: Clip) -> list[str]:
        """Reads every mask of every expression."""
        try:
            reader = self._reader()
            problems = self._expression_problems(reader, clip)
        except InputError as error:
            return error.problems
        for e in clip.expressions if not problems else ():
            try:
                masks = self._sequence(reader, clip, e).masks
            except InputError as error:
                problems += error.problems
                continue
            problems += decoding_problems(masks)
        return list(dict.fromkeys(problems))

    def traits(self, clip: Clip) -> Traits:
        """The traits of the sequences, without reading a mask; unknown where `check` would report a problem."""
        try:
            reader = self._reader()
            if self._expression_problems(reader, clip):
                return Traits()
            return Traits(sequences={e.id: self._sequence(reader, clip, e) for e in clip.expressions})
        except InputError:
            return Traits()

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the masks of the clip, and of its scores and key frames in separate files."""
        parts = [self._reader().fingerprint(clip)]
        for file in (self._scores_file(), self._key_frame_file()):
            parts.append(load_json(file_stamp(file)).get(clip.name) if file else None)
        return digest(json.dumps(parts, sort_keys=True))

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the masks of a video, None if the files do not state it or cannot be read, see `check`."""
        try:
            return self._reader().size(video)
        except InputError:
            return None

    def videos(self) -> list[str]:
        """Names of all videos in the files; none if the files do not say or cannot be read, see `check`."""
        try:
            return self._reader().videos()
        except InputError:
            return []

    def outlines(self) -> dict[str, Outline]:
        """{video: its frames and expressions} of everything in the files.

        Raises:
            InputError: the files cannot be read, or do not say what they contain.
        """
        return self._reader().outlines()

    def label(self) -> str:
        """The label in `STEM.about.json`; empty if that file is damaged, which `check` reports."""
        try:
            return self._about()
        except InputError:
            return ""

    def _about(self) -> str:
        about = beside(self._path(), "about")
        return text_of(about, "label") if os.path.lexists(about) else ""

    def _about_problems(self) -> list[str]:
        try:
            self._about()
        except InputError as error:
            return error.problems
        return []

    def _sequence(self, reader: Reader, clip: Clip, expression: Expression) -> MaskSequence:
        if self.settings.missing == "empty" and expression.id not in (reader.expressions(clip) or ()):
            return self._missing(clip)
        sequence = reader.sequence(clip, expression)
        if file := self._scores_file():
            sequence = sequence.with_(scores=scores_of(file, clip, expression.id))
        if file := self._key_frame_file():
            k = key_frame_of(file, clip, expression.id)
            sequence = sequence.with_(notes={**sequence.notes, "key_frame": k})
        problems = sequence_problems(sequence, clip, expression.id, str(self._path()))
        if problems:
            raise InputError(problems)
        return sequence

    def _missing(self, clip: Clip) -> MaskSequence:
        """The empty masks of an expression that the files do not have."""
        shape = (len(clip), *clip.size)
        masks = PackedMasks(np.zeros((*shape[:2], -(-shape[2] // 8)), np.uint8), shape[2])
        notes = {"missing": True} | ({"key_frame": 0} if self._key_frame_file() else {})
        return MaskSequence(masks, scores=np.zeros(len(clip), np.float32), notes=notes, presence=0.0)

    def _expression_problems(self, reader: Reader, clip: Clip) -> list[str]:
        """Expressions of a clip that are missing, and those that the data set does not list."""
        s, path = self.settings, self._path()
        try:
            present = reader.expressions(clip)
            if present is None:
                more = "; an empty entry or folder of that name means no masks" if s.missing == "empty" else ""
                if path.name == clip.name:
                    more += "; if this is the folder of that video, give the folder above: that of a model"
                return [f"{path}: no masks of video {clip.name!r}; {reader.contents()}{more}"]
        except InputError as error:
            return error.problems
        wanted, problems = [e.id for e in clip.expressions], []
        if s.missing == "error":
            problems = [
                f"{path}: video {clip.name!r}: no masks of expression {i!r}; `missing: empty` means that such an "
                "expression refers to nothing"
                for i in wanted
                if i not in present
            ]
        if s.extra == "error":
            problems += [
                f"{path}: video {clip.name!r}: expression {i!r} is not in the data set (it has {', '.join(wanted)}); "
                "`extra: ignore` skips such expressions"
                for i in present
                if i not in wanted
            ]
        return problems

    def _reader(self) -> Reader:
        """The reader of the files at the path; cheap, since it opens them only when it is asked for something."""
        s = self.settings
        return open_reader(self._path(), s.kind, s.objects, s.extra, s.missing, s.threshold)

    def _path(self) -> Path:
        return mask_path(self.settings.path)

    def _scores_file(self) -> Path | None:
        if self.settings.scores is not None:
            return user_path(self.settings.scores)
        file = beside(self._path(), "scores")
        return file if os.path.lexists(file) else None

    def _key_frame_file(self) -> Path | None:
        return None if self.settings.key_frames is None else user_path(self.settings.key_frames)
