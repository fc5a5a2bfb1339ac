"""Object proposals of an instance segmenter, on disk: what a clip holds, whoever may mean it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rvos_ensemble.adapters.core import png
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.disk import user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.hashing import Stamp, file_hash, file_stamp
from rvos_ensemble.adapters.core.json_text import read_json
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import path
from rvos_ensemble.adapters.files.coco_rle import Rle, checked_runs, decode
from rvos_ensemble.adapters.files.scores import load_json
from rvos_ensemble.adapters.files.storage import Folder, Zip

ON_THE_WAY = ("", "Annotations/")  # where a folder of palette pictures has its videos
VOID = 255

Detections: TypeAlias = dict[str, dict[str, list[tuple[Rle, float]]]]
"""{video: {frame: [(mask, score)]}}"""


class Proposals(Adapter):
    """Object proposals on disk: palette PNG, COCO results json, RLE json with scores.

    Frames without proposals are allowed, also frames that are not there: most people segment a few a video. What has
    the same number in two frames is one object only where the segmenter tracks; nothing here relies on it.

    - a folder or .zip of palette pictures, `[Annotations/]VIDEO/FRAME.png`, where 1..254 are proposals, all of score 1;
    - COCO results, a .json list of {"image_id", "segmentation": RLE, "score"};
    - a .json {video: {frame: [{"size": [H, W], "counts": string, "score": number}]}}.

    Settings:
        path: the file or folder.
        images: of COCO results, the data set's json with `images`: [{"id", "file_name": ".../VIDEO/FRAME.jpg"}];
            without it, image ids are "VIDEO/FRAME".
    """

    stored = False
    objects = True
    defaults = {"path": path(), "images": path(None)}

    def predict(self, clip: Clip) -> Objects:
        return Objects(self._reader().objects(clip))

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Sizes, scores and runs of everything; no mask is decoded."""
        problems = []
        for clip in clips:
            try:
                problems += self._reader().problems(clip)
            except InputError as error:
                problems += error.problems
        return list(dict.fromkeys(problems))

    def inspect(self, clip: Clip) -> list[str]:
        """Every picture is decoded; run lengths are looked at by `check` already."""
        try:
            reader = self._reader()
            return list(dict.fromkeys(reader.problems(clip) or reader.faults(clip)))
        except InputError as error:
            return error.problems

    def fingerprint(self, clip: Clip) -> str:
        return self._reader().fingerprint(clip)

    def _reader(self) -> Pictures | Json:
        path = user_path(self.settings.path)
        if os.path.isdir(path):
            return Pictures(Folder(str(path)))
        if path.suffix == ".zip":
            return Pictures(Zip(str(path)))
        if path.suffix != ".json":
            raise InputError(f"{path}: no proposals there; expected a folder or .zip of palette pictures, or a .json")
        images = file_stamp(user_path(self.settings.images)) if self.settings.images else None
        return Json(file_stamp(path), images)


@dataclass(frozen=True)
class Pictures:
    """Palette pictures in a folder or zip."""

    storage: Folder | Zip

    def objects(self, clip: Clip) -> dict[str, MaskSequence]:
        """{number: its masks}, by number."""
        names = self._names(clip)
        frames: dict[int, list[int]] = {}  # {number: frames}
        for t, name in names.items():
            for i in np.unique(_picture(self.storage, name, tuple(clip.size))).tolist():
                frames.setdefault(i, []).append(t)
        found = {}
        for i in sorted(frames.keys() - {0, VOID}):
            there = dict.fromkeys(frames[i])
            masks = _Numbered(self.storage, {t: names[t] for t in there}, tuple(clip.size), i)
            found[str(i)] = _sequence(clip, masks, {t: 1.0 for t in there})
        return found

    def problems(self, clip: Clip) -> list[str]:
        found = []
        for name in self._names(clip).values():
            where = self.storage.where(name)
            try:
                head = png.header(self.storage.read(name, 33), where)
            except InputError as error:
                found += error.problems
                continue
            found += _size_problem(head.size, clip, where)
            if head.colour not in (png.GREY, png.PALETTE):
                found.append(f"{where}: a {png.COLOURS[head.colour]} picture, expected numbers: mode P or L")
        return found

    def faults(self, clip: Clip) -> list[str]:
        """What is wrong with the pixels."""
        found = []
        for name in self._names(clip).values():
            try:
                _picture(self.storage, name, tuple(clip.size))
            except InputError as error:
                found += error.problems
        return found

    def fingerprint(self, clip: Clip) -> str:
        return self.storage.fingerprint(self._names(clip).values())

    def _names(self, clip: Clip) -> dict[int, str]:
        """{frame: file}"""
        for way in ON_THE_WAY:
            files = set(self.storage.entries(f"{way}{clip.name}")[1])
            names = {
                t: f"{way}{clip.name}/{frame}.png" for t, frame in enumerate(clip.frames) if f"{frame}.png" in files
            }
            if names:
                return names
        raise InputError(
            f"{self.storage.root}: no proposals of video {clip.name!r}: no {clip.name}/{clip.frames[0]}.png"
        )


@dataclass(frozen=True)
class Json:
    """Run lengths with scores in one file."""

    file: Stamp
    images: Stamp | None

    def objects(self, clip: Clip) -> dict[str, MaskSequence]:
        """{number in its frame: the masks of that number}."""
        frames = self._frames(clip)
        numbers = range(max(map(len, frames.values()), default=0))
        found = {}
        for i in numbers:
            here = {t: detections[i] for t, detections in frames.items() if i < len(detections)}
            masks = _Runs({t: rle for t, (rle, _) in here.items()}, tuple(clip.size), f"{self.file[0]}: {clip.name!r}")
            found[str(i)] = _sequence(clip, masks, {t: score for t, (_, score) in here.items()})
        return found

    def problems(self, clip: Clip) -> list[str]:
        found = []
        for t, detections in self._frames(clip).items():
            for i, (rle, _) in enumerate(detections):
                try:
                    where = f"{self.file[0]}: video {clip.name!r}, frame {clip.frames[t]!r}, proposal {i}"
                    checked_runs(rle, tuple(clip.size), where)
                except InputError as error:
                    found += error.problems
        return found

    def faults(self, clip: Clip) -> list[str]:
        return []

    def fingerprint(self, clip: Clip) -> str:
        return " ".join(file_hash(stamp) for stamp in (self.file, self.images) if stamp)

    def _frames(self, clip: Clip) -> dict[int, list[tuple[Rle, float]]]:
        videos = _detections(self.file, self.images)
        if clip.name not in videos:
            raise InputError(f"{self.file[0]}: no proposals of video {clip.name!r}; it has {first_few(videos)}")
        return {t: videos[clip.name][f] for t, f in enumerate(clip.frames) if f in videos[clip.name]}


@lru_cache(maxsize=4)
def _detections(file: Stamp, images: Stamp | None) -> Detections:
    """A json file of either layout.

    Raises:
        InputError: not json, or a detection without mask, score or frame.
    """
    content = read_json(file[0], complaint="cannot be read as json")
    rows = _coco_rows(content, images, file[0]) if isinstance(content, list) else _own_rows(content, file[0])
    found: Detections = {}
    for number, (video, frame, rle, score) in enumerate(rows):
        if type(score) not in (int, float) or not 0 < score <= 1:
            raise InputError(f"{file[0]}: detection {number} has the score {shown(score)}, expected a number in (0, 1]")
        found.setdefault(video, {}).setdefault(frame, []).append((rle, float(score)))
    return found


def _coco_rows(content: list, images: Stamp | None, where: str) -> Iterable[tuple[str, str, Rle, Any]]:
    names = _names_of(images) if images else {}
    for number, row in enumerate(content):
        if not isinstance(row, dict) or not {"image_id", "segmentation", "score"} <= row.keys():
            raise InputError(
                f'{where}: detection {number} is {shown(row)}, expected {{"image_id", "segmentation", "score"}}'
            )
        image = row["image_id"]
        place = names.get(image) if type(image) in (str, int) else None
        if place is None and isinstance(image, str) and "/" in image:
            place = tuple(image.rsplit("/", 1))
        if place is None:
            raise InputError(
                f"{where}: detection {number} is of image {shown(image)}, which `images` does not list; give the data "
                'set\'s json as `images`, or ids "VIDEO/FRAME"'
            )
        yield *place, row["segmentation"], row["score"]


def _names_of(images: Stamp) -> dict[str | int, tuple[str, str]]:
    """{image id: (video, frame)} of a data set's json."""
    listed = load_json(images).get("images")
    expected = '{"images": [{"id": text or number, "file_name": ".../VIDEO/FRAME.jpg"}]}'
    if not isinstance(listed, list):
        raise InputError(f"{images[0]}: no list `images`, expected {expected}")
    names = {}
    for number, image in enumerate(listed):
        name = image.get("file_name") if isinstance(image, dict) else None
        parts = Path(name).parts if isinstance(name, str) else ()
        if len(parts) < 2 or type(image.get("id")) not in (str, int):
            raise InputError(f"{images[0]}: images[{number}] is {shown(image)}, expected {expected}")
        names[image["id"]] = (parts[-2], Path(parts[-1]).stem)
    return names


def _own_rows(content: Any, where: str) -> Iterable[tuple[str, str, Rle, Any]]:
    if not isinstance(content, dict) or not all(isinstance(frames, dict) for frames in content.values()):
        raise InputError(f"{where}: expected a list of COCO results, or {{video: {{frame: [RLE with a score]}}}}")
    for video, frames in content.items():
        for frame, rles in frames.items():
            if not isinstance(rles, list):
                raise InputError(
                    f"{where}: video {video!r}, frame {frame!r}: {shown(rles)}, expected [RLE with a score]"
                )
            for rle in rles:
                yield video, frame, rle, rle.get("score") if isinstance(rle, dict) else None


def _sequence(clip: Clip, read, scores: dict[int, float]) -> MaskSequence:
    p = np.zeros(len(clip), np.float32)
    p[list(scores)] = list(scores.values())
    return MaskSequence(LazyMasks((len(clip), *clip.size), np.dtype(bool), read), scores=p)


@dataclass(frozen=True)
class _Numbered:
    """The pixels of one number in palette pictures."""

    storage: Folder | Zip
    names: dict[int, str]
    size: tuple[int, int]
    number: int

    def __call__(self, t: int) -> np.ndarray:
        if t not in self.names:
            return np.zeros(self.size, bool)
        return _picture(self.storage, self.names[t], self.size) == self.number


@dataclass(frozen=True)
class _Runs:
    """Masks from run lengths."""

    rles: dict[int, Rle]
    size: tuple[int, int]
    where: str

    def __call__(self, t: int) -> np.ndarray:
        return decode(self.rles.get(t), self.size, f"{self.where}, frame {t}")


@lru_cache(maxsize=8)
def _picture(storage: Folder | Zip, name: str, size: tuple[int, int]) -> np.ndarray:
    """Numbers of a picture, uint8 [H, W]; kept, because all of its proposals are read together."""
    where = storage.where(name)
    values = png.decode(storage.read(name), where).labels
    if values.shape != size:
        raise InputError(f"{where}: {values.shape[0]}x{values.shape[1]} (HxW), expected the clip's {size[0]}x{size[1]}")
    return values


def _size_problem(size: tuple[int, int], clip: Clip, where: str) -> list[str]:
    if tuple(size) == tuple(clip.size):
        return []
    return [f"{where}: {size[0]}x{size[1]} (HxW), expected the clip's {clip.size[0]}x{clip.size[1]}"]
