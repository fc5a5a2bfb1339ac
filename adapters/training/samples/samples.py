"""What trainings learn from: short clips with objects numbered and sentences that refer to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core import png
from rvos_ensemble.adapters.core.disk import exists, names_in, user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import natural, parse, read_videos
from rvos_ensemble.adapters.datasets.shapes.clips import film
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS, SMALLEST, SPLITS

LENGTH = 24  # frames of a clip of `shapes`
ENDLESS = 2**31  # samples are made as they are asked for
VOID = 255
FURTHEST = 5  # annotated frames from one frame of a sample to the next, in data sets of YouTube-VOS' kind
TRIES = 20  # clips drawn until one shows an object in its first frame


@dataclass(frozen=True)
class Sample:
    """A few frames of a video.

    Attributes:
        images: uint8 [T, H, W, 3] RGB.
        ids: uint8 [T, H, W], the object seen at each pixel, from 1; 0 is background, 255 undecided.
        expressions: (sentence, object id).
    """

    images: np.ndarray
    ids: np.ndarray
    expressions: tuple[tuple[str, int], ...] = ()


def same_size(sizes: Sequence[tuple[int, int]]) -> None:
    """That the samples of a batch can lie in one array.

    Raises:
        InputError: they cannot; videos of several sizes are taken one at a time.
    """
    if len(set(sizes)) > 1:
        told = " and ".join(f"{h}x{w}" for h, w in sorted(set(sizes)))
        raise InputError(
            f"pictures of {told} (HxW) in one batch; train with batch=1, and accumulate={len(sizes)} for as many a step"
        )


class RenderedClips(Dataset):
    """Clips of `shapes`, drawn as they are asked for: sample i depends on the arguments and i alone.

    At random are: kind of scene, number of things, looks, twins, paths, sizes, turns, bending, columns and depth order,
    ground, camera, light, focus, shutter, noise, the frames taken and the sentences; how much of it is a matter of the
    level, see `adapters.datasets.shapes.scenes.OF_LEVEL`. Sentences are true of the frames taken: the fewer and closer
    these are, the fewer sentences are about motion.

    Args:
        seed: another seed, other samples.
        frames: of each sample, 1 to 24.
        size: (H, W) in pixels.
        split: "train", "val" or "test"; no sample of one is in another.
        level: "easy", "medium" or "hard"; None for all in turn.
        spread: frames all over the clip, as sentences about motion need; else 1 to 4 steps apart, somewhere in it.

    Raises:
        InputError: naming every argument that cannot be.
    """

    def __init__(
        self,
        seed: int,
        frames: int,
        size: tuple[int, int],
        split: str = "train",
        level: str | None = None,
        spread: bool = False,
    ):
        problems = []
        if not 0 <= seed < 2**32:
            problems.append(f"rendered clips: `seed` is {seed}, expected 0 to {2**32 - 1}")
        if not 1 <= frames <= LENGTH:
            problems.append(f"rendered clips: `frames` is {frames}, expected 1 to {LENGTH}")
        if min(size) < SMALLEST:
            problems.append(f"rendered clips: `size` is {size}, expected at least {SMALLEST} pixels each")
        if split not in SPLITS:
            problems.append(f"rendered clips: `split` is {split!r}, expected one of {', '.join(SPLITS)}")
        if level not in (None, *LEVELS):
            problems.append(f"rendered clips: `level` is {level!r}, expected one of {', '.join(LEVELS)}, or None")
        if problems:
            raise InputError(problems)
        self.seed, self.frames, self.size = seed, frames, tuple(size)
        self.split, self.level, self.spread = split, level, spread

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([SPLITS.index(self.split), self.seed, index, self.frames])
        times = self._taken(rng) / (LENGTH - 1)
        shot = film(self.split, self.seed, index, self.level, times, self.size, least=0, most=4)
        expressions = tuple((sentence.text, own) for sentence, own in shot.expressions)
        return Sample(np.stack([p.image for p in shot.pictures]), shot.ids, expressions)

    def _taken(self, rng: np.random.Generator) -> np.ndarray:
        """Numbers of the frames, in order, at random."""
        if self.spread:
            return _spread(LENGTH, self.frames, rng)
        step = int(rng.integers(1, min(4, (LENGTH - 1) // max(self.frames - 1, 1)) + 1))
        return int(rng.integers(LENGTH - step * (self.frames - 1))) + step * np.arange(self.frames)


def _spread(length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """One frame of each of `count` parts of a video, int [count]."""
    cuts = np.arange(count + 1) * length // count
    return rng.integers(cuts[:-1], cuts[1:])


@dataclass(frozen=True)
class _Video:
    """The annotated frames of a video, in order, and (sentence, palette index) of its expressions."""

    images: ImageFiles
    masks: tuple[Path, ...]
    expressions: tuple[tuple[str, int], ...]

    def labels(self, t: int) -> np.ndarray:
        """Object ids of frame t, uint8 [H, W].

        Raises:
            InputError: the file is damaged, or of another size than the pictures.
        """
        labels = png.read(self.masks[t]).labels
        if labels.shape != tuple(self.images.size):
            told = "{}x{} (HxW), expected {}x{} like its pictures".format(*labels.shape, *self.images.size)
            raise InputError(f"{self.masks[t]}: {told}")
        return labels


class FolderClips(Dataset):
    """Random clips of a folder in the layout of YouTube-VOS or DAVIS: sample i depends on the seed and i alone.

    `ROOT/JPEGImages/VIDEO/FRAME.jpg` and `ROOT/Annotations/VIDEO/FRAME.png` (in DAVIS both with a `480p` between);
    frames without annotation are passed over. Sentences come from `meta_expressions.json` in ROOT, or, as
    Ref-YouTube-VOS has it, from `ROOT/../meta_expressions/NAME_OF_ROOT/`; those of several objects are left out. The
    objects that a sample shows are numbered anew, from 1. At random are the video, the first frame and the step.

    Args:
        root: the folder.
        frames: of each sample; a shorter video is played forth and back.
        size: (H, W) to resize to; None leaves pictures as they are.
        seed: another seed, other samples.
        spread: frames all over the video; else 1 to 5 annotated frames apart, somewhere in it.
        told: every sample has at least one expression.

    Raises:
        InputError: no such folders, no annotated videos, or expressions that are malformed, or missing where asked for.
    """

    def __init__(
        self,
        root: str | Path,
        frames: int,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        spread: bool = False,
        told: bool = False,
    ):
        self.frames, self.size, self.seed, self.spread, self.told = frames, size and tuple(size), seed, spread, told
        self.root = Path(os.path.realpath(user_path(root)))
        self.videos = _videos(self.root)
        if told:
            self.videos = [v for v in self.videos if v.expressions]
            if not self.videos:
                raise InputError(
                    f"{self.root}: no annotated video has an expression of one object; expected "
                    f"{' or '.join(map(str, _places(self.root)))}"
                )

    @property
    def sentences(self) -> list[str]:
        """All that is said of its videos."""
        return [text for video in self.videos for text, _ in video.expressions]

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        for _ in range(TRIES):
            video = self.videos[rng.integers(len(self.videos))]
            taken = self._taken(len(video.masks), rng)
            ids = [video.labels(t) for t in taken]
            named = {own for _, own in video.expressions}
            if self.told and any(np.isin(mask, [*named]).any() for mask in ids):
                break
            if not self.told and ((ids[0] > 0) & (ids[0] < VOID)).any():
                break
        else:
            if self.told:
                raise InputError(f"{self.root}: {TRIES} clips in a row show no object that an expression means")
        images = [video.images.read(t) for t in taken]
        if self.size:
            wide = self.size[::-1]
            images = [cv2.resize(image, wide, interpolation=cv2.INTER_AREA) for image in images]
            ids = [cv2.resize(mask, wide, interpolation=cv2.INTER_NEAREST) for mask in ids]
        ids = np.stack(ids)
        objects = [k for k in np.unique(ids).tolist() if 0 < k < VOID]
        number = np.zeros(256, np.uint8)
        number[objects], number[VOID] = np.arange(1, len(objects) + 1), VOID
        expressions = tuple((text, int(number[own])) for text, own in video.expressions if own in objects)
        return Sample(np.stack(images), number[ids], expressions)

    def _taken(self, length: int, rng: np.random.Generator) -> list[int]:
        """Numbers of the frames, in order."""
        if self.spread and length >= self.frames:
            return _spread(length, self.frames, rng).tolist()
        step = int(rng.integers(1, max(1, min(FURTHEST, (length - 1) // max(self.frames - 1, 1))) + 1))
        first = int(rng.integers(max(1, length - step * (self.frames - 1))))
        there = [first + step * t for t in range(self.frames)]
        forth_and_back = 2 * max(length - 1, 1)
        return [min(t % forth_and_back, forth_and_back - t % forth_and_back) if length > 1 else 0 for t in there]


def _videos(root: Path) -> list[_Video]:
    images, annotations = root / "JPEGImages", root / "Annotations"
    missing = [
        f"{folder}: no such folder, expected one folder a video in it"
        for folder in (images, annotations)
        if not exists(folder)
    ]
    if missing:
        raise InputError(missing)
    if exists(images / "480p"):
        images, annotations = images / "480p", annotations / "480p"
    sentences = _sentences(root)
    found, problems, absent = [], [], []
    for name in names_in(annotations):
        if os.path.isfile(annotations / name):
            continue
        try:
            there = names_in(images / name) if (masks := _masks(annotations / name)) else []
        except InputError as error:
            problems += error.problems
            continue
        pictures = tuple(images / name / f"{path.stem}.jpg" for path in masks)
        absent += [str(picture) for picture in pictures if picture.name not in there]
        if masks:
            found.append(_Video(ImageFiles(pictures), masks, sentences.get(name, ())))
    if absent:
        problems.append(f"{images}: {len(absent)} annotated frames have no picture: {first_few(absent, 3)}")
    if problems:
        raise InputError(problems)
    if not found:
        raise InputError(f"{annotations}: no annotations; expected VIDEO/FRAME.png")
    return found


def _masks(folder: Path) -> tuple[Path, ...]:
    names = [name for name in names_in(folder) if name.endswith(".png")]
    return tuple(sorted((folder / name for name in names), key=lambda path: natural(path.stem)))


def _places(root: Path) -> tuple[Path, Path]:
    """Where sentences may lie."""
    return root / "meta_expressions.json", root.parent / "meta_expressions" / root.name / "meta_expressions.json"


def _sentences(root: Path) -> dict[str, tuple[tuple[str, int], ...]]:
    """{video: its (sentence, palette index)}, of sentences about one object."""
    meta = next((path for path in _places(root) if exists(path)), None)
    if meta is None:
        return {}
    found, problems = {}, []
    for name, entry in read_videos(meta).items():
        try:
            single = [e for e in parse(name, entry, meta)[1] if len(e.objects) == 1]
        except InputError as error:
            problems += error.problems
            continue
        problems += [
            f"{meta}: video {shown(name)}: expression {shown(e.id)} refers to object {shown(e.objects[0])}, expected a "
            "palette index of 1 to 254"
            for e in single
            if not is_index(e.objects[0])
        ]
        found[name] = tuple((e.text, int(e.objects[0])) for e in single if is_index(e.objects[0]))
    if problems:
        raise InputError(problems)
    return found


def is_index(object_id: str) -> bool:
    """Whether an object's id is one that an annotation can hold."""
    return object_id.isdecimal() and len(object_id) < 4 and 0 < int(object_id) < VOID
