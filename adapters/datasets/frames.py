"""The files behind a clip: pictures and annotations, read one frame at a time, every fault named with its file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from adapters import png
from adapters.sequence import Frames, InputError, LazyMasks, MaskSequence

VOID = 255  # palette index of pixels that annotators left undecided; background here
FEW = 3  # problems of one kind that are spelt out per folder


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
        image = None if _cut_off(data) else _decode(data)
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
        try:
            size = tuple(self.images.size)
        except InputError:  # the pictures' own problem; here the annotations are compared with each other
            size = None
        found = file_problems(self.paths, png.size, "annotations", size)
        if found or size is None:
            return found
        try:
            return [sentence for expression in self.objects for sentence in self._absent(expression)]
        except InputError as error:
            return error.problems

    def _mask(self, objects: tuple[str, ...], t: int) -> np.ndarray:
        labels = self.labels(t)
        if objects:
            return reduce(np.logical_or, (labels == int(i) for i in objects))
        mask = labels > 0
        ids = labels[mask]
        if ids.size and ids.min() != ids.max():
            raise InputError(
                f"{self.paths[t]}: objects {ids.min()} and {ids.max()} are annotated, and the expression does not say "
                "which one it means; give it an `obj_id`"
            )
        return mask

    def _absent(self, expression: str) -> list[str]:
        """One sentence for every object of the expression that no annotation has; stops when all were seen."""
        left = list(self.objects[expression])
        for t in range(len(self.paths)):
            if not left:
                break
            labels = self.labels(t)
            left = [i for i in left if not (i.isdecimal() and int(i) > 0 and (labels == int(i)).any())]
        return [
            f"{self.paths[0].parent}: expression {expression!r} refers to object {i!r}, which is in none of the "
            f"{len(self.paths)} annotations; correct its obj_id or leave the video out"
            for i in left
        ]


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) of a JPEG or PNG file, from its header alone.

    Raises:
        InputError: the file is missing or not a picture.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return image.height, image.width
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and its own
        raise InputError(f"{path}: not a JPEG or PNG picture; copy or unpack it again") from error


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


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
    if not folder.is_dir():
        return [f"{folder}: no such folder, expected {len(paths)} {what} in it, {paths[0].name} to {paths[-1].name}"]
    missing = [path.name for path in paths if not path.is_file()]
    found = [f"{folder}: {len(missing)} of {len(paths)} {what} missing: {few(missing)}"] if missing else []
    unreadable, differing = [], []
    for path in paths:
        if path.name in missing:
            continue
        try:
            this = size_of(path)
        except InputError as error:
            unreadable += error.problems
            continue
        size = size or this
        if this != size:
            differing.append(_other_size(path, this, size))
    for sentences in (unreadable, differing):
        found += sentences[:FEW]
        if len(sentences) > FEW:
            found.append(f"{folder}: and {len(sentences) - FEW} more {what} like this")
    return found


def few(names: Sequence[str]) -> str:
    """The first names of a long list.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {more} more" if more > 0 else "")


def _decode(data: bytes) -> np.ndarray | None:
    """BGR pixels as stored, None where OpenCV cannot."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # an empty file, or a header that asks for more pixels than OpenCV takes
        return None


def _cut_off(data: bytes) -> bool:
    """A JPEG without its end marker after the last scan, which some decoders fill with grey instead of refusing."""
    return data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _other_size(path: Path, size: Sequence[int], expected: Sequence[int]) -> str:
    return f"{path}: {size[0]}x{size[1]} (HxW), expected {expected[0]}x{expected[1]} like the clip's other frames"


def _hash(*parts) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
