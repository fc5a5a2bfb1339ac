"""MeViS and MeViSv2: expressions of motion, which may refer to several objects or, in MeViSv2, to none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Frames
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import exists, user_path
from rvos_ensemble.adapters.core.io.hashing import digest
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.adapters.core.settings import choice, listed, names, path, switch, text, whole
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.image_files import frames_in
from rvos_ensemble.adapters.datasets.meta import make_clips, object_ids, parse, read_videos, subset
from rvos_ensemble.adapters.files.readers.coco_rle import checked_runs, decode

LISTS = {  # version of MeViS: possible names of the file that lists its expressions
    1: ("meta_expressions.json",),
    2: ("meta_expressions_v2.json", "meta_expressions_v2_release.json", "meta_expressions_text_release.json"),
}


class Mevis(Dataset):
    """MeViS and MeViSv2: any number of objects per expression, ground truth as run lengths in mask_dict.json.

    Version 2 has expressions that refer to nothing, `"anno_id": []`. They are annotated: their masks are empty and
    their presence is 0. An expression without `anno_id` is not annotated. Other keys of an expression, such as the ids
    of its audio, are not read.

    Settings:
        root: folder with `SPLIT/LIST.json`, `SPLIT/JPEGImages/VIDEO/FRAME.jpg` and, for train and valid_u,
            `SPLIT/mask_dict.json`. LIST is meta_expressions (version 1), meta_expressions_v2,
            meta_expressions_v2_release or meta_expressions_text_release (version 2).
        split: train, valid_u (small, with ground truth), valid (the server's) or test.
        version: 1 or 2, if the folder of the split contains the lists of both.
        meta: a json file to use instead of that in root.
        videos: restricts the data set to these videos.
        counts: [videos, expressions of each video] that the server expects; other numbers are an error.
        team_file: whether the server requires team.json in the submission, see `team` of a recipe.
    """

    zip_root: ClassVar = ""

    defaults = {
        "root": path(),
        "split": text("valid_u"),
        "version": choice(None, *LISTS),
        "meta": path(None),
        "videos": names(None),
        "counts": listed(
            whole(least=1), None, least=2, most=2, what="two whole numbers: [videos, expressions of each video]"
        ),
        "team_file": switch(False),
    }

    @property
    def team_file(self) -> bool:
        """Whether the server requires team.json at the root of the zip."""
        return self.settings.team_file

    def clips(self) -> list[Clip]:
        """Every clip of the split, sorted by name; no frame is read.

        Raises:
            BadClips: mask_dict.json lacks an annotation of some clips.
            InputError: a json is missing or malformed, or has not as many videos and expressions as `counts`.
        """
        media = user_path(self.settings.root) / self.settings.split
        meta = user_path(self.settings.meta) if self.settings.meta else self._list(media)
        videos = subset(read_videos(meta), self.settings.videos, meta)
        if problems := self._count_problems(videos, meta):
            raise InputError(problems)
        masks = media / "mask_dict.json"
        runs = read_json(masks) if exists(masks) else None

        def make(name: str, entry: Any) -> Clip:
            frames, expressions = parse(name, entry, meta)
            pictures = media / "JPEGImages"
            images = frames_in(pictures, tuple(pictures / name / f"{frame}.jpg" for frame in frames))
            listed = entry.get("expressions", {})  # missing in the layout of 2020
            where = f"{meta}: video {shown(name)}, anno_id"
            written = {e.id: listed.get(e.id, {}).get("anno_id") for e in expressions}
            annotations = {i: object_ids(ids, where) for i, ids in written.items() if ids is not None}
            truth = None
            if runs is not None and annotations:
                own = _runs_of(annotations, runs, len(frames), name, masks)
                if isinstance(images, NoPictures):
                    images = replace(images, known=_size_of(own))
                truth = RleTruth(annotations, own, images, masks, len(frames))
            return Clip(name, frames, expressions, images, truth)

        return make_clips(videos, make)

    def _count_problems(self, videos: Mapping[str, Any], meta: Path) -> list[str]:
        """Deviations from the numbers of videos and expressions that the server expects."""
        if self.settings.counts is None:
            return []
        number, each = self.settings.counts
        problems = [] if len(videos) == number else [f"{len(videos)} videos, expected {number}"]
        entries = {name: e.get("expressions") if isinstance(e, dict) else None for name, e in videos.items()}
        wrong = [f"{shown(n)} has {len(e)}" for n, e in entries.items() if isinstance(e, dict) and len(e) != each]
        if wrong:
            problems.append(f"{len(wrong)} videos do not have {each} expressions: {first_few(wrong, 3)}")
        way = "the server refuses such a submission; data.counts=null computes what is there"
        return [f"{meta}: {problem}; {way}" for problem in problems]

    def _list(self, folder: Path) -> Path:
        """The only list of expressions in the folder of a split, of the version that the settings name.

        Raises:
            InputError: none, or several.
        """
        version = self.settings.version
        possible = [file for v, files in LISTS.items() if version in (None, v) for file in files]
        present = [file for file in possible if exists(folder / file)]
        if len(present) == 1:
            return folder / present[0]
        if not present:
            split = f"{self.settings.split!r} a split of the MeViS in `root`"
            raise InputError(
                f"{folder}: no such file in it as {' or '.join(possible)}; is {split}"
                f"{f', and {version} its `version`' if version else ''}?"
            )
        ways = [f"data.version={v}" for v, files in LISTS.items() if len({*present} & {*files}) == 1]
        raise InputError(
            f"{folder}: it contains {', '.join(present)}; say which one lists the expressions, with "
            f"{' or '.join([*ways, 'data.meta=FILE'])} (without `data.` for the command `evaluate`)"
        )


@dataclass(frozen=True)
class RleTruth:
    """Ground truth as COCO run lengths.

    Attributes:
        annotations: {expression id: ids of its annotations}; its mask is their union. The ids of an expression that
            refers to nothing are ().
        runs: {annotation id: one RLE per frame, None where the object is not visible}.
        images: the frames of the clip, which have its size.
        path: the file with the runs, for messages.
        length: number of frames.
    """

    annotations: Mapping[str, tuple[str, ...]]
    runs: Mapping[str, list[dict | None]]
    images: Frames
    path: Path
    length: int

    def read(self, expression: str) -> MaskSequence | None:
        """Binary masks of the expression's objects, None if the expression is not annotated.

        `presence` is 0 if the expression refers to nothing, otherwise 1.

        Raises:
            InputError: when a mask is read: its runs are damaged or of another size than the frames.
        """
        if expression not in self.annotations:
            return None
        ids = self.annotations[expression]
        masks = LazyMasks((self.length, *self.images.size), np.dtype(bool), partial(self._mask, ids))
        return MaskSequence(masks, presence=float(bool(ids)))

    def fingerprint(self) -> str:
        """Hash of the run lengths and of the annotations of each expression."""
        return digest(json.dumps([self.annotations, self.runs], sort_keys=True))

    def problems(self) -> list[str]:
        """Masks that are malformed or of another size than the frames, the first of each annotation."""
        return self._mask_problems(1)

    def inspect(self) -> list[str]:
        """Like `problems`, but all such masks."""
        return self._mask_problems(None)

    def _mask_problems(self, most: int | None) -> list[str]:
        try:
            size = self.images.size
        except InputError:  # the frames report it
            return []
        return [p for i in self.runs for p in islice(self._problems_of(i, size), most)]

    def _problems_of(self, i: str, size: tuple[int, int]) -> Iterator[str]:
        for t, rle in enumerate(self.runs[i]):
            try:
                if rle is not None:
                    checked_runs(rle, size, self._where(i, t))
            except InputError as error:
                yield from error.problems

    def _mask(self, ids: tuple[str, ...], t: int) -> np.ndarray:
        size = self.images.size
        masks = (decode(self.runs[i][t], size, self._where(i, t)) for i in ids)
        return reduce(np.logical_or, masks, np.zeros(size, bool))

    def _where(self, i: str, t: int) -> str:
        return f"{self.path}: annotation {i!r}, frame number {t}"


def _size_of(runs: Mapping[str, list]) -> tuple[int, int] | None:
    """(H, W) as the first mask states it; None if all are empty or malformed, which `problems` reports."""
    sizes = (rle.get("size") for masks in runs.values() for rle in masks if isinstance(rle, dict))
    return next((tuple(s) for s in sizes if isinstance(s, list) and len(s) == 2), None)


def _runs_of(annotations: Mapping, runs: Any, length: int, video: str, path: Path) -> dict[str, list]:
    """The part of mask_dict.json that a clip needs, checked; a clip is pickled for workers and must not be large."""
    selected, problems = {}, []
    for i in sorted({i for ids in annotations.values() for i in ids}):
        masks = runs.get(i) if isinstance(runs, dict) else None
        if not isinstance(masks, list) or len(masks) != length:
            count = f"{len(masks)} masks" if isinstance(masks, list) else "no masks"
            problems.append(f"{path}: {count} of annotation {i!r} of video {video!r}, expected {length}, one per frame")
        else:
            selected[i] = masks
    if problems:
        raise InputError(problems)
    return selected
