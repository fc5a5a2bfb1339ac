"""PNG masks in a folder or a zip: a folder per expression, or a PNG of object ids per frame.

The content of a video's folder determines the layout: folders (one per expression), or PNG files (object ids).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.files.readers.label_maps import objects_of, only_object
from rvos_ensemble.adapters.files.readers.reader import Outline, Reader
from rvos_ensemble.adapters.files.storage import Storage
from rvos_ensemble.adapters.files.values import two_valued
from rvos_ensemble.adapters.files.video_folders import find_parent, parent_of_all


@dataclass(frozen=True)
class PngMasks(Reader):
    """Reads PNG trees and zips."""

    storage: Storage
    kind: str | None
    objects: str
    extra: str
    missing: str = "error"
    samples_all = True

    def __post_init__(self):
        if self.kind == "logits":
            raise InputError(f"{self.storage.root}: PNG masks cannot be `kind: logits`, but binary or prob")

    def expressions(self, clip: Clip) -> list[str] | None:
        """Ids of the expressions of the clip that have masks, None if the video has no folder."""
        at = self._video(clip)
        if at is None:
            return None
        if self._layout(at) == "ids":
            return [e.id for e in clip.expressions]
        return sorted(self.storage.entries(at)[0], key=lambda i: (len(i), i))

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The masks of an expression, lazily."""
        at = self._video(clip)
        ids: tuple[int, ...] | Literal["only"] | None = None
        if self._layout(at) == "ids":
            only = not expression.objects and len(clip.expressions) == 1
            ids = () if self.objects == "any" else "only" if only else self._ids(expression)
        else:
            at = f"{at}/{expression.id}"
            ids = () if self.objects == "any" else None
        absent = self._missing_frames(clip, at)
        names = tuple(None if frame in absent else f"{at}/{frame}.png" for frame in clip.frames)
        prob = self.kind == "prob"
        read = _PngReader(self.storage, names, tuple(clip.size), "prob" if prob else ids)
        shape, dtype = (len(clip), *clip.size), np.dtype(np.uint8 if prob else bool)
        masks = LazyMasks(shape, dtype, read, read.packed if read.foreground is None else None)
        kind, presence = "prob" if prob else "binary", 0.0 if len(absent) == len(clip) else None
        return MaskSequence(masks, kind, notes={"missing_frames": len(absent)} if absent else {}, presence=presence)

    def sample_problems(self, sequence: MaskSequence) -> list[str]:
        """Checks every header, and the pixels of the first frame."""
        read: _PngReader = sequence.masks.read
        problems = []
        for name in filter(None, read.names):
            problems += header_problems(self.storage, name, read.size, "a mask: mode L or P")
        if not problems:
            read(0)
        return problems

    def problems(self, clips: Sequence[Clip]) -> list[str]:
        """Names that occur twice in a zip, and videos of different layouts."""
        layouts: dict[str, list[str]] = {}
        for clip in clips:
            try:
                if at := self._video(clip):
                    layouts.setdefault(self._layout(at), []).append(clip.name)
            except InputError:
                pass  # reported when the clip itself is checked
        problems = self.storage.problems()
        if len(layouts) > 1:
            problems.append(
                f"{self.storage.root}: mixed layouts: a folder per expression in video "
                f"{first_few(layouts['expressions'])}; one PNG per frame in video {first_few(layouts['ids'])}"
            )
        return problems

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the clip's PNGs."""
        at = self._video(clip)
        if at is None:
            return ""
        folders = [at] if self._layout(at) == "ids" else [f"{at}/{e.id}" for e in clip.expressions]
        wanted = {f"{frame}.png" for frame in clip.frames}
        return self.storage.fingerprint(
            f"{folder}/{file}" for folder in folders for file in self.storage.entries(folder)[1] if file in wanted
        )

    def contents(self) -> str:
        """The expected layout, and the entries at the top, in words."""
        folders, files = self.storage.entries("")
        return f"expected a folder of that name at the top or in Annotations/; at the top: {first_few(folders + files)}"

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the first mask of a video, from its header."""
        parent = find_parent(self.storage, [video])
        for at in [] if parent is None else self._folders(f"{parent}{video}"):
            for file in self.storage.entries(at)[1]:
                if file.endswith(".png"):
                    name = f"{at}/{file}"
                    return png.header(self.storage.read(name, 33), self.storage.where(name)).size
        return None

    def videos(self) -> list[str]:
        """Names of the folders of all videos."""
        return self.storage.entries(parent_of_all(self.storage))[0]

    def outlines(self) -> dict[str, Outline]:
        """{video: its frames and expressions}; label maps are read, because only their pixels name the objects."""
        parent = parent_of_all(self.storage)
        return {video: self._outline(f"{parent}{video}") for video in self.videos()}

    def _outline(self, at: str) -> Outline:
        folders = self._folders(at)
        files = {file for folder in folders for file in self.storage.entries(folder)[1] if file.endswith(".png")}
        frames = tuple(sorted(file.removesuffix(".png") for file in files))
        if self._layout(at) == "expressions":
            return Outline(frames, {folder.rpartition("/")[2]: () for folder in folders})
        if self.objects == "any":
            return Outline(frames, {"0": ()})
        return Outline(frames, objects_of(self.storage, [f"{at}/{frame}.png" for frame in frames]))

    def _folders(self, at: str) -> list[str]:
        """The folders with the masks of a video: its own, or one for each expression."""
        return [at] if self._layout(at) == "ids" else [f"{at}/{folder}" for folder in self.storage.entries(at)[0]]

    def _video(self, clip: Clip) -> str | None:
        """The folder of a clip; None if there is none."""
        parent = find_parent(self.storage, [clip.name])
        return None if parent is None else f"{parent}{clip.name}"

    def _layout(self, at: str) -> Literal["expressions", "ids"]:
        folders, files = self.storage.entries(at)
        pngs = [f for f in files if f.endswith(".png")]
        if folders and pngs:
            raise InputError(
                f"{self.storage.where(at)}: both folders ({first_few(folders)}) and PNG files ({first_few(pngs)}); "
                "expected either a folder per expression or one PNG of object ids per frame"
            )
        return "ids" if pngs else "expressions"

    def _ids(self, expression: Expression) -> tuple[int, ...]:
        valid = [o for o in expression.objects if o.isdecimal() and 0 < int(o) < 256]
        if not valid or len(valid) != len(expression.objects):
            raise InputError(
                f"{self.storage.root}: one PNG of object ids per frame, but the data set gives no ids from 1 to 255 "
                f"for clip {expression.clip!r}, expression {expression.id!r} (only {first_few(expression.objects)}); "
                "set `objects: any` if every id belongs to it, or write a folder per expression"
            )
        return tuple(map(int, valid))

    def _missing_frames(self, clip: Clip, at: str) -> set[str]:
        """The frames without a file, where `missing: empty` permits them."""
        folders, files = self.storage.entries(at)
        problems, present, wanted = [], set(files), {f"{frame}.png" for frame in clip.frames}
        if (missing := sorted(wanted - present)) and self.missing == "error":
            problems.append(
                f"{self.storage.where(at)}: {len(missing)} of {len(wanted)} frames are missing: {', '.join(missing)}"
            )
        if self.extra == "error" and (others := sorted(present - wanted) + [f"{f}/" for f in folders]):
            problems.append(
                f"{self.storage.where(at)}: {first_few(others)} not among the frames of the data set; "
                "`extra: ignore` skips such files"
            )
        if problems:
            raise InputError(problems)
        return {name.removesuffix(".png") for name in missing}


@dataclass(frozen=True)
class _PngReader:
    """Reads frame t of one sequence.

    Attributes:
        names: a file for each frame; None for an empty mask.
        foreground: "prob": grey levels are probabilities; None: a 0/255 or 0/1 mask; ids: the pixels of these objects;
            no ids: every value but 0; "only": the pixels of the only object.
    """

    storage: Storage
    names: tuple[str | None, ...]
    size: tuple[int, int]
    foreground: Literal["prob", "only"] | tuple[int, ...] | None

    def __call__(self, t: int) -> np.ndarray:
        name = self.names[t]
        if name is None:
            return np.zeros(self.size, np.uint8 if self.foreground == "prob" else bool)
        image, where = self._decode(name)
        if self.foreground == "prob":
            return _probabilities(image, where)
        if self.foreground is None:
            return image.spread(_binary(image.rows, where))
        values = image.values
        if self.foreground == "only":
            return only_object(values, where)
        if not self.foreground:
            return values != 0
        if values.max() == 255 and not ((values > 0) & (values < 255)).any():
            raise InputError(
                f"{where}: a 0/255 mask, expected object ids ({first_few(self.foreground)} for this expression); set "
                "`objects: any` if every value but 0 belongs to each expression of the video"
            )
        mask = values == self.foreground[0]
        for i in self.foreground[1:]:
            mask |= values == i
        return mask

    def packed(self, t: int) -> np.ndarray:
        """A 0/255 or 0/1 mask at one bit per pixel; rows that repeat the row above are packed once."""
        name = self.names[t]
        if name is None:
            return np.zeros((self.size[0], -(-self.size[1] // 8)), np.uint8)
        image, where = self._decode(name)
        return image.spread(np.packbits(_binary(image.rows, where), axis=1))

    def _decode(self, name: str) -> tuple[png.Png, str]:
        """The picture of a file, of the clip's size, and the name of the file for messages."""
        where = self.storage.where(name)
        image = png.decode(self.storage.read(name), where)
        if problems := size_problems(image.shape, self.size, where):
            raise InputError(problems)
        return image, where


def _binary(values: np.ndarray, where: str) -> np.ndarray:
    try:
        return two_valued(values, where)
    except InputError as error:
        raise InputError(
            f"{error}; object ids belong into VIDEO/FRAME.png, which is split by the objects of the data set; "
            "`objects: any` takes all ids as foreground; if grey levels are probabilities, set `kind: prob`"
        ) from None


def _probabilities(image: png.Png, where: str) -> np.ndarray:
    if image.palette or image.bits != 8:
        what = "palette" if image.palette else f"{image.bits}-bit"
        raise InputError(f"{where}: a {what} picture cannot be `kind: prob`; expected 8-bit grey, 0..255 for 0..1")
    return image.values


def header_problems(storage: Storage, name: str, size: tuple[int, int], expected: str) -> list[str]:
    """What is wrong with the header of a PNG: damage, another size, or a colour image.

    Args:
        storage: where it lies.
        name: of the file.
        size: (H, W) of the clip.
        expected: what the file should be instead of a colour image, for the message.
    """
    where = storage.where(name)
    try:
        head = png.header(storage.read(name, 33), where)
    except InputError as error:
        return error.problems
    problems = size_problems(head.size, size, where)
    if head.colour not in (png.GREY, png.PALETTE):
        problems.append(f"{where}: a {png.COLOURS[head.colour]} picture, expected {expected}")
    return problems


def size_problems(size: tuple[int, int], expected: tuple[int, int], where: str) -> list[str]:
    """The message about a mask that has another size than its clip; empty if the sizes are equal."""
    if tuple(size) == tuple(expected):
        return []
    return [
        f"{where}: {size[0]}x{size[1]} (HxW), expected the clip's {expected[0]}x{expected[1]}; masks are never resized"
    ]
