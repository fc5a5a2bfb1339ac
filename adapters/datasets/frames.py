"""The files behind a clip: pictures and annotations, read one frame at a time, every fault named with its file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.adapters.core import png
from rvos_ensemble.adapters.core.clip import Frames
from rvos_ensemble.adapters.core.disk import read_file
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.datasets.picture_size import MOST_BYTES, picture_size, size_of

VOID = 255  # palette index of pixels that annotators left undecided; background here
FEW = 3  # problems of one kind that are spelt out per folder
MANY = 100  # of the rest, files that are named


@dataclass(frozen=True)
class ImageFiles:
    """The pictures of a clip, one file a frame.

    Attributes:
        paths: JPEG or PNG files, in order.
    """

    paths: tuple[Path, ...]

    @cached_property
    def size(self) -> tuple[int, int]:
        """(H, W) of the first picture, from its header."""
        return picture_size(self.paths[0])

    def read(self, t: int) -> np.ndarray:
        """Frame t as uint8 [H, W, 3] RGB, as stored: an orientation tag is ignored, as annotations do.

        Raises:
            InputError: the file is missing, damaged, or of another size than the first.
        """
        path, data = self.paths[t], read_bytes(self.paths[t])
        image = None if _cut_off(data) else _decode(data, path)
        if image is None:
            raise InputError(f"{path}: not a readable picture ({len(data)} bytes); copy or unpack it again")
        if image.shape[:2] != self.size:
            raise InputError(_other_size(path, image.shape[:2], self.size))
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def fingerprint(self) -> str:
        """Hash of all contents in order."""
        return content_hash(self.paths)

    def problems(self) -> list[str]:
        """Missing files, unreadable headers, sizes that differ; nothing is decoded."""
        return file_problems(self.paths, picture_size, "frames")

    def inspect(self) -> list[str]:
        """As `problems`, and every picture is decoded."""

        def decoded(path: Path) -> tuple[int, int]:
            return ImageFiles((path,)).read(0).shape[:2]

        return file_problems(self.paths, decoded, "frames")


@dataclass(frozen=True)
class PaletteTruth:
    """Ground truth from annotation PNGs, one for every frame of the clip.

    A palette picture holds object ids, 255 is void and counts as background. A grey picture of 0 and 255 only shows
    one object, number 1; other grey values are ids.

    Attributes:
        paths: one PNG a frame, in order.
        objects: {expression id: ids of the objects it refers to}, their union is its mask. An empty tuple stands for
            the only object there is.
        images: the clip's pictures, which say its size.
    """

    paths: tuple[Path, ...]
    objects: Mapping[str, tuple[str, ...]]
    images: Frames

    def read(self, expression: str) -> MaskSequence | None:
        """Binary masks of the expression's objects, None where the data set does not say which they are.

        Raises:
            InputError: one of the objects is in none of the annotations; on reading a mask: see `labels`.
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
            InputError: the file is missing, damaged, or of another size than the pictures.
        """
        values = png.read(self.paths[t]).labels
        if values.shape != tuple(self.images.size):
            raise InputError(_other_size(self.paths[t], values.shape, self.images.size))
        if values.max() == VOID:
            values[values == VOID] = 0
        return values

    def fingerprint(self) -> str:
        """Hash of all annotations and of which object belongs to which expression."""
        return _hash(content_hash(self.paths), sorted(self.objects.items()))

    def problems(self) -> list[str]:
        """Missing annotations, sizes other than the pictures', objects that no annotation has."""
        found = file_problems(self.paths, png.size, "annotations", self._size())
        if found or not self._size():
            return found
        try:
            return [sentence for expression in self.objects for sentence in self._absent(expression)]
        except InputError as error:
            return error.problems

    def inspect(self) -> list[str]:
        """As `problems`, and every annotation is decoded."""
        seen: list[np.ndarray] = []  # of every frame, what it shows

        def decoded(path: Path) -> tuple[int, int]:
            labels = png.read(path).labels
            seen.append(np.flatnonzero(np.bincount(labels.ravel(), minlength=VOID)[1:VOID]) + 1)
            return labels.shape

        found = file_problems(self.paths, decoded, "annotations", self._size())
        if found or not self._size():
            return found
        present = set(np.concatenate(seen).tolist())
        for expression, objects in self.objects.items():
            found += self._nowhere(expression, [i for i in objects if _number(i) not in present])
            if not objects:
                found += [_several(p, ids) for p, ids in zip(self.paths, seen, strict=True) if len(ids) > 1][:FEW]
        return list(dict.fromkeys(found))

    def _size(self) -> tuple[int, int] | None:
        """(H, W) of the pictures; None where these have a problem of their own, and annotations are only compared."""
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
            raise InputError(_several(self.paths[t], ids))
        return mask

    def _absent(self, expression: str) -> list[str]:
        """One sentence for every object of the expression that no annotation has; stops when all were seen."""
        left = list(self.objects[expression])
        for t in range(len(self.paths)):
            if not left:
                break
            labels = self.labels(t)
            left = [i for i in left if not (_number(i) and (labels == _number(i)).any())]
        return self._nowhere(expression, left)

    def _nowhere(self, expression: str, objects: Iterable[str]) -> list[str]:
        return [
            f"{self.paths[0].parent}: expression {expression!r} refers to object {i!r}, which is in none of the "
            f"{len(self.paths)} annotations; correct its obj_id or leave the video out"
            for i in objects
        ]


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        InputError: it cannot be read, or is larger than pictures are.
    """
    return read_file(path, MOST_BYTES)


def names_in(folder: Path) -> list[str]:
    """Names of what a folder holds, but for hidden files.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no such folder") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def is_there(path: Path) -> bool:
    """Whether there is anything of that name; also where it cannot be told, so that whoever reads it tells why."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        pass
    return True


def content_hash(paths: Iterable[Path]) -> str:
    """Changes whenever the content or the order of the files does."""
    return _hash(*(hashlib.blake2b(read_bytes(path), digest_size=16).hexdigest() for path in paths))


def file_problems(
    paths: Sequence[Path],
    size_of: Callable[[Path], tuple[int, int]],
    what: str,
    size: tuple[int, int] | None = None,
) -> list[str]:
    """What is wrong with the files of one clip, found from names and headers.

    Args:
        paths: of one folder, in order of frames.
        size_of: reads (H, W) from a header.
        what: "frames" or "annotations", for the sentences.
        size: what all should have; default that of the first readable file.
    """
    folder = paths[0].parent
    if trouble := _folder_trouble(folder):
        return [f"{folder}: {trouble}, expected {len(paths)} {what} in it, {paths[0].name} to {paths[-1].name}"]
    missing = [path.name for path in paths if not os.path.lexists(path)]
    found = [f"{folder}: {len(missing)} of {len(paths)} {what} missing: {few(missing)}"] if missing else []
    gone, unreadable, differing = set(missing), [], []
    for path in paths:
        if path.name in gone:
            continue
        try:
            this = size_of(path)
        except InputError as error:
            unreadable.append((path.name, error.problems[0]))
            continue
        size = size or this
        if this != size:
            differing.append((path.name, _other_size(path, this, size)))
    for faults in (unreadable, differing):
        found += [sentence for _, sentence in faults[:FEW]]
        if rest := [name for name, _ in faults[FEW:]]:
            found.append(f"{folder}: and {len(rest)} more {what} like this: {few(rest, MANY)}")
    return found


def _folder_trouble(folder: Path) -> str | None:
    try:
        os.stat(os.path.join(folder, "."))  # which asks for the right to look into it, too
        return None
    except FileNotFoundError:
        return "no such folder"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def few(names: Sequence[str], most: int = FEW) -> str:
    """The first names of a long list.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - most
    told = ", ".join(names[:most]).encode("utf-8", "backslashreplace").decode()
    return told + (f" and {more} more" if more > 0 else "")


def _decode(data: bytes, path: Path) -> np.ndarray | None:
    """BGR pixels as stored, None where OpenCV cannot.

    Raises:
        InputError: no picture, a PNG with a damaged part, or a header that asks for more pixels than are decoded here.
    """
    size_of(data, path)
    if data.startswith(png.SIGNATURE):
        png.verify(data, str(path))  # OpenCV makes up what a PNG lacks
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None


def _number(object_id: str) -> int:
    """An object's number in annotations; 0 for what cannot be one."""
    return int(object_id) if object_id.isdecimal() and len(object_id) < 4 else 0


def _several(path: Path, ids: np.ndarray) -> str:
    return (
        f"{path}: objects {ids.min()} and {ids.max()} are annotated, and the expression does not say which one it "
        "means; give it an `obj_id`"
    )


def _cut_off(data: bytes) -> bool:
    """A JPEG without its end marker after the last scan, which some decoders fill with grey instead of refusing."""
    return data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _other_size(path: Path, size: Sequence[int], expected: Sequence[int]) -> str:
    return f"{path}: {size[0]}x{size[1]} (HxW), expected {expected[0]}x{expected[1]} like the clip's other frames"


def _hash(*parts) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
