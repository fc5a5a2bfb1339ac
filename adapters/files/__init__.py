"""Mask sequences of any model, on disk.

One setting says where: `path`, a file, a folder, or a stem (`preds/soc`: exactly one of `soc/`, `soc.zip`, `soc.json`,
`soc.npz`, `soc.pth` must exist). What it may hold:

- PNG tree or zip, a folder per expression: `[Annotations/]VIDEO/EXPRESSION/FRAME.png`, single-channel 0/255, 0/1 or
  1-bit; with `kind: prob`, grey levels 0..255 are probabilities.
- PNG tree or zip, object ids: `VIDEO/FRAME.png` as DAVIS has them; an expression takes the ids of its objects.
- COCO RLE, `.json`: {video: {expression: [RLE or null per frame]}}, and beside the videos, optionally,
  "scores": {video: {expression: [score per frame]}}. RLE is {"size": [H, W], "counts": string}; null is an empty mask.
- `.npz`: arrays `VIDEO/EXPRESSION/masks` [T, H, W] and, optionally, `VIDEO/EXPRESSION/scores` [T]; or a folder with a
  file per expression, `VIDEO/EXPRESSION.npz` with `masks` and `scores`. bool masks are binary, uint8 are probabilities
  (0..255 means 0..1), floats need `kind`.
- `.pth` as the 2023 winner's tools exchange them, or a folder of such chunks: {video: {expression: {"mask_logits":
  float [T, H, W], "class_info": [score per frame]}}}; needs `kind`, since some of those files hold probabilities.

Beside `STEM` may lie `STEM.scores.json`, {video: {expression: [score per frame]}}, which takes precedence over scores
inside, and `STEM.about.json`, {"label": a remark for tables}.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.disk import user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.hashing import file_stamp
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction, sequence_problems
from rvos_ensemble.adapters.core.settings import choice, path
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.files.challenge_pth import ChallengePth
from rvos_ensemble.adapters.files.coco_rle import CocoRle
from rvos_ensemble.adapters.files.npz import Npz, NpzTree
from rvos_ensemble.adapters.files.png_masks import PngMasks
from rvos_ensemble.adapters.files.reader import Reader, faults
from rvos_ensemble.adapters.files.scores import key_frame_of, load_json, scores_of, text_of
from rvos_ensemble.adapters.files.storage import Folder, Zip
from rvos_ensemble.adapters.files.values import KINDS

SUFFIXES = (".zip", ".json", ".npz", ".pth")


class Files(Adapter):
    """Mask sequences on disk: PNG trees and zips, COCO RLE json, npz, the 2023 winner's .pth.

    Settings:
        path: file, folder or stem.
        kind: "binary", "prob" or "logits", where the format leaves it open.
        scores: side file {video: {expression: [score per frame]}}; by default `STEM.scores.json`, where there is one.
        key_frames: side file {video: {expression: {"index_info": {"class_index": k}}}}, the winner's `key_frame.json`,
            or plainly {video: {expression: k}}; kept as the note `key_frame` of each sequence.
        objects: "expression": masks are 0/255, or object ids of which an expression takes its own; "any": whatever is
            not 0 belongs to it.
        extra: "error" or "ignore": expressions and frames of a video of the data set that the data set does not list.
            Videos that it does not list are always passed over, so that files of all 507 serve the 202.
    """

    stored = False
    defaults = {
        "path": path(endings=("", *SUFFIXES)),
        "kind": choice(None, *KINDS),
        "scores": path(None),
        "key_frames": path(None),
        "objects": choice("expression", "any"),
        "extra": choice("error", "ignore"),
    }

    def predict(self, clip: Clip) -> Prediction:
        reader = self._reader()
        found = self._names(reader, clip)
        prediction = {}
        for e in clip.expressions if not found else ():
            try:
                prediction[e.id] = self._sequence(reader, clip, e)
            except InputError as error:
                found += error.problems
        if found:
            raise InputError(found)
        return prediction

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Names, counts, sizes and side files of all; of the pixels only samples.

        A PNG's header is read for every frame, its pixels for the first frame of each expression; every run of an RLE
        is added up; npz and .pth, whose values are told apart by `kind`, are looked into for one expression.
        """
        try:
            reader = self._reader()
            found = reader.problems(clips)
        except InputError as error:
            return error.problems
        found += self._about_problems()
        looked = False
        for clip in clips:
            names = self._names(reader, clip)
            found += names
            for e in clip.expressions if not names else ():
                try:
                    sequence = self._sequence(reader, clip, e)
                    if reader.look_at_all or not looked:
                        found += reader.look(clip, e, sequence)
                        looked = True
                except InputError as error:
                    found += error.problems
        return list(dict.fromkeys(found))

    def inspect(self, clip: Clip) -> list[str]:
        """Every mask of every expression is read."""
        try:
            reader = self._reader()
            found = self._names(reader, clip)
        except InputError as error:
            return error.problems
        for e in clip.expressions if not found else ():
            try:
                masks = self._sequence(reader, clip, e).masks
            except InputError as error:
                found += error.problems
                continue
            found += faults(masks)
        return list(dict.fromkeys(found))

    def traits(self, clip: Clip) -> Traits:
        """Those of the masks themselves, none of which is read; nothing is known of what `check` would refuse."""
        try:
            reader = self._reader()
            if self._names(reader, clip):
                return Traits()
            return Traits(sequences={e.id: self._sequence(reader, clip, e) for e in clip.expressions})
        except InputError:
            return Traits()

    def fingerprint(self, clip: Clip) -> str:
        reader = self._reader()
        digest = hashlib.blake2b(reader.fingerprint(clip).encode(), digest_size=16)
        for side in (self._scores_file(), self._key_frame_file()):
            part = load_json(file_stamp(side)).get(clip.name) if side else None
            digest.update(json.dumps(part, sort_keys=True).encode())
        return digest.hexdigest()

    def label(self) -> str:
        """The content of `STEM.about.json`; empty where the file is damaged, which `check` reports."""
        try:
            return self._about()
        except InputError:
            return ""

    def _about(self) -> str:
        about = _beside(self._path(), "about")
        return text_of(about, "label") if os.path.lexists(about) else ""

    def _about_problems(self) -> list[str]:
        try:
            self._about()
        except InputError as error:
            return error.problems
        return []

    def _sequence(self, reader: Reader, clip: Clip, expression) -> MaskSequence:
        sequence = reader.sequence(clip, expression)
        if side := self._scores_file():
            sequence = sequence.with_(scores=scores_of(side, clip, expression.id))
        if side := self._key_frame_file():
            k = key_frame_of(side, clip, expression.id)
            sequence = sequence.with_(notes={**sequence.notes, "key_frame": k})
        problems = sequence_problems(sequence, clip, expression.id, str(self._path()))
        if problems:
            raise InputError(problems)
        return sequence

    def _names(self, reader: Reader, clip: Clip) -> list[str]:
        """What is missing or too much among the expressions of a clip."""
        path = self._path()
        try:
            there = reader.expressions(clip)
            if there is None:
                return [f"{path}: no masks of video {clip.name!r}; {reader.holds()}"]
        except InputError as error:
            return error.problems
        wanted = [e.id for e in clip.expressions]
        found = [f"{path}: video {clip.name!r}: no masks of expression {i!r}" for i in wanted if i not in there]
        if self.settings.extra == "error":
            found += [
                f"{path}: video {clip.name!r}: expression {i!r} is not in the data set (it has {', '.join(wanted)}); "
                "pass over such ones with `extra: ignore`"
                for i in there
                if i not in wanted
            ]
        return found

    def _reader(self) -> Reader:
        """The reader of what lies at the path; light, since it opens files only when asked."""
        path, s = self._path(), self.settings
        if path.is_dir():
            suffix = Folder(str(path)).first_suffix((".png", ".npz", ".pth"))
            if suffix == ".pth":
                chunks = [f for f in Folder(str(path)).entries("")[1] if f.endswith(".pth")]
                return ChallengePth(tuple(str(path / f) for f in chunks), s.kind)
            if suffix == ".npz":
                return NpzTree(str(path), s.kind)
            return PngMasks(Folder(str(path)), s.kind, s.objects, s.extra)
        if path.suffix == ".zip":
            return PngMasks(Zip(str(path)), s.kind, s.objects, s.extra)
        if path.suffix == ".pth":
            return ChallengePth((str(path),), s.kind)
        return {".json": CocoRle, ".npz": Npz}[path.suffix](str(path), s.kind)

    def _path(self) -> Path:
        return resolve(self.settings.path)

    def _scores_file(self) -> Path | None:
        if self.settings.scores is not None:
            return user_path(self.settings.scores)
        beside = _beside(self._path(), "scores")
        return beside if os.path.lexists(beside) else None

    def _key_frame_file(self) -> Path | None:
        return None if self.settings.key_frames is None else user_path(self.settings.key_frames)


def resolve(given: str) -> Path:
    """The one folder or file that a path or stem means.

    Raises:
        InputError: nothing there, more than one candidate, or a kind of file that cannot be read.
    """
    path = user_path(given)
    if os.path.isfile(path):
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path}: cannot be read; expected a folder, or one of {', '.join(SUFFIXES)}")
        return path
    candidates = [path] if os.path.isdir(path) else []
    if not given.endswith("/"):  # with it, the folder is meant
        candidates += [p for s in SUFFIXES if os.path.isfile(p := path.parent / f"{path.name}{s}")]
    if len(candidates) > 1:
        names = ", ".join(f"{c}/" if c.is_dir() else str(c) for c in candidates)
        raise InputError(f"{path}: several candidates: {names}; name one of them in full (a folder with / at its end)")
    if not candidates:
        tried = ", ".join(f"{path.name}{s}" for s in ("/", *SUFFIXES))
        raise InputError(f"{path}: no masks there; looked in {path.parent} for {tried}")
    return candidates[0]


def _beside(path: Path, what: str) -> Path:
    stem = path.stem if os.path.isfile(path) else path.name
    return path.parent / f"{stem}.{what}.json"
