"""Reads the annotated videos and the expressions of a folder in the layout of YouTube-VOS or DAVIS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import exists, names_in
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import natural, parse, read_videos
from rvos_ensemble.adapters.training.samples.sample import VOID


@dataclass(frozen=True)
class AnnotatedVideo:
    """The annotated frames of a video.

    Attributes:
        images: the frames in order.
        masks: PNG files of the same frames.
        expressions: pairs (text, palette index).
    """

    images: ImageFiles
    masks: tuple[Path, ...]
    expressions: tuple[tuple[str, int], ...]

    def labels(self, t: int) -> np.ndarray:
        """Object ids of frame t, uint8 [H, W].

        Raises:
            InputError: the file is damaged, or its size differs from that of the images.
        """
        labels = png.read(self.masks[t]).labels
        if labels.shape != tuple(self.images.size):
            sizes = "{}x{} (HxW), expected {}x{} like its images".format(*labels.shape, *self.images.size)
            raise InputError(f"{self.masks[t]}: {sizes}")
        return labels


def read_annotated(root: Path) -> list[AnnotatedVideo]:
    """The annotated videos of a folder, see `FolderClips`.

    Raises:
        InputError: naming missing folders, annotated frames without an image, and malformed expressions.
    """
    images, annotations = root / "JPEGImages", root / "Annotations"
    missing = [
        f"{folder}: no such folder, expected a folder that contains one folder per video"
        for folder in (images, annotations)
        if not exists(folder)
    ]
    if missing:
        raise InputError(missing)
    if exists(images / "480p"):
        images, annotations = images / "480p", annotations / "480p"
    expressions = _expressions(root)
    videos, problems, absent = [], [], []
    for name in names_in(annotations):
        if os.path.isfile(annotations / name):
            continue
        try:
            present = names_in(images / name) if (masks := _mask_files(annotations / name)) else []
        except InputError as error:
            problems += error.problems
            continue
        frames = tuple(images / name / f"{path.stem}.jpg" for path in masks)
        absent += [str(frame) for frame in frames if frame.name not in present]
        if masks:
            videos.append(AnnotatedVideo(ImageFiles(frames), masks, expressions.get(name, ())))
    if absent:
        problems.append(f"{images}: {len(absent)} annotated frames have no image: {first_few(absent, 3)}")
    if problems:
        raise InputError(problems)
    if not videos:
        raise InputError(f"{annotations}: no annotations; expected VIDEO/FRAME.png")
    return videos


def meta_paths(root: Path) -> tuple[Path, Path]:
    """The files in which the expressions of a folder are looked for."""
    return root / "meta_expressions.json", root.parent / "meta_expressions" / root.name / "meta_expressions.json"


def is_palette_index(object_id: str) -> bool:
    """Whether an annotation can contain an object of this id."""
    return object_id.isdecimal() and len(object_id) < 4 and 0 < int(object_id) < VOID


def _mask_files(folder: Path) -> tuple[Path, ...]:
    names = [name for name in names_in(folder) if name.endswith(".png")]
    return tuple(sorted((folder / name for name in names), key=lambda path: natural(path.stem)))


def _expressions(root: Path) -> dict[str, tuple[tuple[str, int], ...]]:
    """{video: its pairs (text, palette index)} of all expressions that refer to one object."""
    meta = next((path for path in meta_paths(root) if exists(path)), None)
    if meta is None:
        return {}
    expressions, problems = {}, []
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
            if not is_palette_index(e.objects[0])
        ]
        expressions[name] = tuple((e.text, int(e.objects[0])) for e in single if is_palette_index(e.objects[0]))
    if problems:
        raise InputError(problems)
    return expressions
