"""Ground truth as one annotation PNG per frame, decoded one at a time; every error names its file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.clip import Frames
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.hashing import contents_hash, digest
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.datasets.file_problems import FEW, file_problems, other_size

VOID = 255  # palette index of pixels that annotators left undecided; background here


@dataclass(frozen=True)
class PaletteTruth:
    """Ground truth from annotation PNGs, one for every frame of the clip.

    The values of a palette image are object ids; 255 is void and counts as background. A grey image that has only 0
    and 255 shows one object, number 1; other grey values are ids.

    Attributes:
        paths: one PNG per frame, in order.
        objects: {expression id: ids of the objects it refers to}; its mask is their union. An empty tuple means the
            only annotated object.
        images: the frames of the clip, which have the size that the annotations must have.
    """

    paths: tuple[Path, ...]
    objects: Mapping[str, tuple[str, ...]]
    images: Frames

    def read(self, expression: str) -> MaskSequence | None:
        """Binary masks of the expression's objects, None where the data set does not name the objects.

        Raises:
            InputError: no annotation has one of the objects; when a mask is read, see `labels`.
        """
        if expression not in self.objects:
            return None
        if absent := self._absent(expression):
            raise InputError(absent)
        read = partial(self._mask, self.objects[expression])
        return MaskSequence(LazyMasks((len(self.paths), *self.images.size), np.dtype(bool), read))

    def labels(self, t: int) -> np.ndarray:
        """Object number of every pixel of frame t, uint8 [H, W]; 0 is background.

        Raises:
            InputError: the file is missing, damaged, or of another size than the frames.
        """
        values = png.read(self.paths[t]).labels
        if values.shape != tuple(self.images.size):
            raise InputError(other_size(self.paths[t], values.shape, self.images.size))
        if values.max() == VOID:
            values[values == VOID] = 0
        return values

    def fingerprint(self) -> str:
        """Hash of all annotations and of the objects of each expression."""
        return digest(repr((contents_hash(self.paths), sorted(self.objects.items()))))

    def problems(self) -> list[str]:
        """Missing annotations, sizes that differ from the frames', objects that no annotation has."""
        problems = file_problems(self.paths, png.size, "annotations", self._size())
        if problems or not self._size():
            return problems
        try:
            return [sentence for expression in self.objects for sentence in self._absent(expression)]
        except InputError as error:
            return error.problems

    def inspect(self) -> list[str]:
        """Like `problems`, but every annotation is decoded."""
        ids_by_frame: list[np.ndarray] = []

        def decoded_size(path: Path) -> tuple[int, int]:
            labels = png.read(path).labels
            ids_by_frame.append(np.flatnonzero(np.bincount(labels.ravel(), minlength=VOID)[1:VOID]) + 1)
            return labels.shape

        problems = file_problems(self.paths, decoded_size, "annotations", self._size())
        if problems or not self._size():
            return problems
        present = set(np.concatenate(ids_by_frame).tolist())
        for expression, objects in self.objects.items():
            problems += self._absent_problems(expression, [i for i in objects if _number(i) not in present])
            if not objects:
                frames = zip(self.paths, ids_by_frame, strict=True)
                problems += [_ambiguous(path, ids) for path, ids in frames if len(ids) > 1][:FEW]
        return list(dict.fromkeys(problems))

    def _size(self) -> tuple[int, int] | None:
        """(H, W) of the frames; None where these have a problem themselves: annotations are then only compared."""
        try:
            return tuple(self.images.size)
        except InputError:
            return None

    def _mask(self, objects: tuple[str, ...], t: int) -> np.ndarray:
        labels = self.labels(t)
        if objects:
            return reduce(np.logical_or, (labels == int(i) for i in objects))
        mask = labels > 0
        ids = labels[mask]
        if ids.size and ids.min() != ids.max():
            raise InputError(_ambiguous(self.paths[t], ids))
        return mask

    def _absent(self, expression: str) -> list[str]:
        """One sentence for every object of the expression that no annotation has; stops reading once all are seen."""
        left = list(self.objects[expression])
        for t in range(len(self.paths)):
            if not left:
                break
            labels = self.labels(t)
            left = [i for i in left if not (_number(i) and (labels == _number(i)).any())]
        return self._absent_problems(expression, left)

    def _absent_problems(self, expression: str, objects: Iterable[str]) -> list[str]:
        return [
            f"{self.paths[0].parent}: expression {expression!r} refers to object {i!r}, which is in none of the "
            f"{len(self.paths)} annotations; correct its obj_id or leave the video out"
            for i in objects
        ]


def _number(object_id: str) -> int:
    """The number of an object in annotations; 0 for an id that cannot be one."""
    return int(object_id) if object_id.isdecimal() and len(object_id) < 4 else 0


def _ambiguous(path: Path, ids: np.ndarray) -> str:
    return (
        f"{path}: objects {ids.min()} and {ids.max()} are annotated, and the expression does not say which one it "
        "means; give it an `obj_id`"
    )
