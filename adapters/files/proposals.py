"""Object proposals on disk: palette PNGs, and run lengths with scores in JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.hashing import Stamp, file_hash
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.readers.coco_rle import Rle, RleReader, checked_runs
from rvos_ensemble.adapters.files.readers.png_masks import header_problems, size_problems
from rvos_ensemble.adapters.files.scores import load_json
from rvos_ensemble.adapters.files.storage import Storage
from rvos_ensemble.adapters.files.video_folders import find_parent

VOID = 255  # palette index of undecided pixels, which is no proposal

Detections: TypeAlias = dict[str, dict[str, list[tuple[Rle, float]]]]
"""{video: {frame: [(mask, score)]}}"""


@dataclass(frozen=True)
class PaletteProposals:
    """Proposals as palette PNGs in a folder or zip, all of score 1."""

    storage: Storage

    def objects(self, clip: Clip) -> dict[str, MaskSequence]:
        """{number: its masks}, sorted by number."""
        names = self._names(clip)
        frames_of: dict[int, list[int]] = {}  # {number: frames that show it}
        for t, name in names.items():
            for i in np.unique(_labels(self.storage, name, tuple(clip.size))).tolist():
                frames_of.setdefault(i, []).append(t)
        objects = {}
        for i in sorted(frames_of.keys() - {0, VOID}):
            frames = frames_of[i]
            read = _LabelReader(self.storage, {t: names[t] for t in frames}, tuple(clip.size), i)
            objects[str(i)] = _sequence(clip, read, dict.fromkeys(frames, 1.0))
        return objects

    def problems(self, clip: Clip) -> list[str]:
        """What is wrong with the headers of the clip's PNGs."""
        return [
            problem
            for name in self._names(clip).values()
            for problem in header_problems(self.storage, name, clip.size, "numbers: mode P or L")
        ]

    def decoding_problems(self, clip: Clip) -> list[str]:
        """What is wrong with the pixels; every PNG is decoded."""
        problems = []
        for name in self._names(clip).values():
            try:
                _labels(self.storage, name, tuple(clip.size))
            except InputError as error:
                problems += error.problems
        return problems

    def fingerprint(self, clip: Clip) -> str:
        """A hash that changes whenever the proposals of the clip do."""
        return self.storage.fingerprint(self._names(clip).values())

    def _names(self, clip: Clip) -> dict[int, str]:
        """{frame: file} of the frames that have proposals."""
        parent = find_parent(self.storage, [clip.name])
        if parent is not None:
            at = f"{parent}{clip.name}"
            files = set(self.storage.entries(at)[1])
            names = {t: f"{at}/{frame}.png" for t, frame in enumerate(clip.frames) if f"{frame}.png" in files}
            if names:
                return names
        raise InputError(
            f"{self.storage.root}: no proposals of video {clip.name!r}: no {clip.name}/{clip.frames[0]}.png"
        )


@dataclass(frozen=True)
class JsonProposals:
    """Proposals as run lengths with scores in one file, see `_detections`."""

    file: Stamp
    images: Stamp | None

    def objects(self, clip: Clip) -> dict[str, MaskSequence]:
        """{position in the list of a frame: the masks at that position}."""
        frames = self._frames(clip)
        objects = {}
        for i in range(max(map(len, frames.values()), default=0)):
            ith = {t: detections[i] for t, detections in frames.items() if i < len(detections)}
            rles = tuple(ith[t][0] if t in ith else None for t in range(len(clip)))
            read = RleReader(rles, tuple(clip.size), f"{self.file[0]}: {clip.name!r}")
            objects[str(i)] = _sequence(clip, read, {t: score for t, (_, score) in ith.items()})
        return objects

    def problems(self, clip: Clip) -> list[str]:
        """What is wrong with the run lengths of the clip."""
        problems = []
        for t, detections in self._frames(clip).items():
            for i, (rle, _) in enumerate(detections):
                try:
                    where = f"{self.file[0]}: video {clip.name!r}, frame {clip.frames[t]!r}, proposal {i}"
                    checked_runs(rle, tuple(clip.size), where)
                except InputError as error:
                    problems += error.problems
        return problems

    def decoding_problems(self, clip: Clip) -> list[str]:
        """None: `problems` has checked all run lengths."""
        return []

    def fingerprint(self, clip: Clip) -> str:
        """A hash that changes whenever the file does."""
        return " ".join(file_hash(stamp) for stamp in (self.file, self.images) if stamp)

    def _frames(self, clip: Clip) -> dict[int, list[tuple[Rle, float]]]:
        videos = _detections(self.file, self.images)
        if clip.name not in videos:
            raise InputError(f"{self.file[0]}: no proposals of video {clip.name!r}; it has {first_few(videos)}")
        return {t: videos[clip.name][f] for t, f in enumerate(clip.frames) if f in videos[clip.name]}


@lru_cache(maxsize=4)
def _detections(file: Stamp, images: Stamp | None) -> Detections:
    """The detections in a JSON file: COCO results, or {video: {frame: [RLE with a score]}}.

    Raises:
        InputError: not JSON, or a detection without mask, score or frame.
    """
    content = read_json(file[0], complaint="cannot be read as json")
    rows = _coco_rows(content, images, file[0]) if isinstance(content, list) else _plain_rows(content, file[0])
    detections: Detections = {}
    for number, (video, frame, rle, score) in enumerate(rows):
        if type(score) not in (int, float) or not 0 < score <= 1:
            raise InputError(f"{file[0]}: detection {number} has the score {shown(score)}, expected a number in (0, 1]")
        detections.setdefault(video, {}).setdefault(frame, []).append((rle, float(score)))
    return detections


def _coco_rows(content: list, images: Stamp | None, where: str) -> Iterable[tuple[str, str, Rle, Any]]:
    names = _image_names(images) if images else {}
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
                f"{where}: detection {number} is of image {shown(image)}, which `images` does not list; set `images` "
                'to the json of the data set, or use ids "VIDEO/FRAME"'
            )
        yield *place, row["segmentation"], row["score"]


def _image_names(images: Stamp) -> dict[str | int, tuple[str, str]]:
    """{image id: (video, frame)} of the JSON of a data set."""
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


def _plain_rows(content: Any, where: str) -> Iterable[tuple[str, str, Rle, Any]]:
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


def _sequence(clip: Clip, read: Callable[[int], np.ndarray], scores: dict[int, float]) -> MaskSequence:
    p = np.zeros(len(clip), np.float32)
    p[list(scores)] = list(scores.values())
    return MaskSequence(LazyMasks((len(clip), *clip.size), np.dtype(bool), read), scores=p)


@dataclass(frozen=True)
class _LabelReader:
    """Reads frame t of one number in palette PNGs; empty in frames without a file."""

    storage: Storage
    names: dict[int, str]
    size: tuple[int, int]
    number: int

    def __call__(self, t: int) -> np.ndarray:
        if t not in self.names:
            return np.zeros(self.size, bool)
        return _labels(self.storage, self.names[t], self.size) == self.number


@lru_cache(maxsize=8)
def _labels(storage: Storage, name: str, size: tuple[int, int]) -> np.ndarray:
    """The numbers in a PNG, uint8 [H, W]; cached, because all proposals of a frame are read together."""
    where = storage.where(name)
    values = png.decode(storage.read(name), where).labels
    if problems := size_problems(values.shape, size, where):
        raise InputError(problems)
    return values
