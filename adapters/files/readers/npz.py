"""numpy arrays: one .npz with `VIDEO/EXPRESSION/masks` and `.../scores`, or a file VIDEO/EXPRESSION.npz for each.

`masks` is [T, H, W]: bool (binary), uint8 (probabilities, 0..255 means 0..1) or a float, interpreted by `kind`.
Pickled arrays are refused.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.lib import format as npy

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.readers.reader import Outline, Reader, outlines_of
from rvos_ensemble.adapters.files.scores import as_scores
from rvos_ensemble.adapters.files.storage import Folder, open_zip, read_member
from rvos_ensemble.adapters.files.values import check_range, mask_kind, to_mask

MOST_HEADER = 1 << 16  # bytes; numpy itself takes 10 000


@dataclass(frozen=True)
class Npz(Reader):
    """Reads one .npz for all videos."""

    path: str
    kind: str | None

    def expressions(self, clip: Clip) -> list[str] | None:
        """Ids of the expressions of the clip in the file, None if it does not have the video."""
        expressions = [e for video, _, e in (key.rpartition("/") for key in self._keys()) if video == clip.name]
        return expressions or None

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The masks of an expression, lazily."""
        return _sequence(self.path, f"{clip.name}/{expression.id}/", clip, self.kind)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the file."""
        return file_hash(file_stamp(self.path))

    def contents(self) -> str:
        """The videos in the file, in words."""
        return f"it has {first_few(dict.fromkeys(key.rpartition('/')[0] for key in self._keys()))}"

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the first masks of a video."""
        keys = (key for key in self._keys() if key.rpartition("/")[0] == video)
        return next((_shape(self.path, f"{key}/")[1:] for key in keys), None)

    def outlines(self) -> dict[str, Outline]:
        """{video: its frames and expressions}."""
        shapes = {key: _shape(self.path, f"{key}/") for key in self._keys()}
        return outlines_of({tuple(key.rpartition("/")[::2]): shape for key, shape in shapes.items()})

    def _keys(self) -> list[str]:
        """VIDEO/EXPRESSION of every array of masks."""
        tail = "/masks.npy"
        return [n.removesuffix(tail) for n in open_npz(self.path).members if n.endswith(tail)]


@dataclass(frozen=True)
class NpzTree(Reader):
    """Reads a folder with one .npz per expression."""

    root: str
    kind: str | None

    def expressions(self, clip: Clip) -> list[str] | None:
        """Ids of the expressions of the clip that have a file, None if the video has no folder."""
        files = [f.removesuffix(".npz") for f in Folder(self.root).entries(clip.name)[1] if f.endswith(".npz")]
        return files or None

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The masks of an expression, lazily."""
        return _sequence(self._path(clip, expression), "", clip, self.kind)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the clip's files."""
        paths = [self._path(clip, e) for e in clip.expressions]
        return " ".join(file_hash(file_stamp(p)) if os.path.isfile(p) else "-" for p in paths)

    def contents(self) -> str:
        """The entries at the top of the folder, in words."""
        folders, files = Folder(self.root).entries("")
        return f"at the top: {first_few(folders + files)}"

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the first masks of a video."""
        return next((_shape(path, "")[1:] for path in self._files(video).values()), None)

    def outlines(self) -> dict[str, Outline]:
        """{video: its frames and expressions}."""
        videos = Folder(self.root).entries("")[0]
        return outlines_of({(v, e): _shape(path, "") for v in videos for e, path in self._files(v).items()})

    def _files(self, video: str) -> dict[str, str]:
        """{expression: its file} of a video."""
        files = (f for f in Folder(self.root).entries(video)[1] if f.endswith(".npz"))
        return {f.removesuffix(".npz"): os.path.join(self.root, video, f) for f in files}

    def _path(self, clip: Clip, expression: Expression) -> str:
        return os.path.join(self.root, clip.name, f"{expression.id}.npz")


def _shape(path: str, prefix: str) -> tuple[int, ...]:
    """[T, H, W] of an array of masks.

    Raises:
        InputError: another number of dimensions.
    """
    shape = array_header(path, f"{prefix}masks").shape
    if len(shape) != 3:
        raise InputError(f"{path}: {prefix}masks: shape {shown(list(shape))}, expected [T, H, W]")
    return shape


def _sequence(path: str, prefix: str, clip: Clip, kind: str | None) -> MaskSequence:
    where, wanted = f"{path}: {prefix}masks", (len(clip), *clip.size)
    head = array_header(path, f"{prefix}masks")
    if head.shape != wanted:
        raise InputError(f"{where}: shape {shown(list(head.shape))}, expected {list(wanted)} ([T, H, W] of the clip)")
    mask_type = mask_kind(head.dtype, kind, where)
    scores = None
    if f"{prefix}scores.npy" in open_npz(path).members:
        scores = _scores(path, f"{prefix}scores", len(clip))
    read = _NpzReader(path, f"{prefix}masks", kind)
    return MaskSequence(
        LazyMasks(wanted, np.dtype(bool if mask_type == "binary" else np.uint8), read), mask_type, scores=scores
    )


def _scores(path: str, key: str, frames: int) -> np.ndarray:
    head, where = array_header(path, key), f"{path}: {key}"
    if len(head.shape) != 1 or head.dtype.kind not in "fiu":
        array = f"an array of {head.dtype} {shown(head.shape)}"
        raise InputError(f"{where}: {array}, expected {frames} numbers, one for every frame")
    if head.shape[0] != frames:
        raise InputError(f"{where}: {head.shape[0]} scores, expected {frames}, one for every frame")
    return as_scores(read_array(path, key), frames, where)


class _NpzReader:
    """Reads frame t; the first call decompresses the whole array, which is kept as long as the sequence exists."""

    def __init__(self, path: str, key: str, kind: str | None):
        self.path, self.key, self.kind = path, key, kind
        self.masks: np.ndarray | PackedMasks | None = None

    def __call__(self, t: int) -> np.ndarray:
        if self.masks is None:
            self.masks = self._load()
        return self.masks[t]

    def __reduce__(self):  # pickled without its masks
        return _NpzReader, (self.path, self.key, self.kind)

    def _load(self) -> np.ndarray | PackedMasks:
        where = f"{self.path}: {self.key}"
        array = read_array(self.path, self.key)
        check_range(float(array.min()), float(array.max()), array.dtype, self.kind, where)
        frames = (to_mask(frame, self.kind, f"{where}, frame {t}") for t, frame in enumerate(array))
        if mask_kind(array.dtype, self.kind, where) == "binary":
            return PackedMasks.pack(frames)
        return array if array.dtype == np.uint8 else np.stack(list(frames))


@dataclass(frozen=True)
class ArrayHeader:
    """The header of an array, and its length in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    length: int


def open_npz(path: str):
    """The file, with its names verified: scores under a damaged name would silently be missing."""
    archive = open_zip(file_stamp(path), os.getpid())
    if archive.misnamed:
        raise InputError(f"{path}: damaged: {archive.misnamed}")
    return archive


def _member(path: str, key: str) -> zipfile.ZipInfo:
    archive, name = open_npz(path), f"{key}.npy"
    if name not in archive.members:
        raise InputError(f"{path}: no array `{key}`; it has {first_few(archive.members)}")
    if name in archive.twice:
        raise InputError(f"{path}: {key}: twice in the file")
    return archive.members[name]


def array_header(path: str, key: str) -> ArrayHeader:
    """Reads the header, at most as many bytes as one can have, and verifies that the array has the size it states."""
    member = _member(path, key)
    try:
        with open_npz(path).file.open(member) as file:
            start = io.BytesIO(file.read(MOST_HEADER))
        version = npy.read_magic(start)
        shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(start)
        size = math.prod(shape) * dtype.itemsize
    except Exception as error:  # numpy evaluates the header as a Python literal, which can raise anything
        raise InputError(f"{path}: {key}: damaged: {_reason(error)}") from error
    if not dtype.hasobject and member.file_size != start.tell() + size:  # object arrays are refused by their dtype
        raise InputError(f"{path}: {key}: damaged: {dtype} {shown(list(shape))}, but {member.file_size:,} bytes in all")
    return ArrayHeader(shape, dtype, start.tell())


def read_array(path: str, key: str) -> np.ndarray:
    """The array, whose header has been checked, in the byte order of this machine."""
    try:
        with open_npz(path).file.open(_member(path, key)) as file:
            array = npy.read_array(file, allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # zipfile or numpy
        raise InputError(f"{path}: {key}: cannot be read: {_reason(error)}") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def pickled_bytes(path: str, key: str, most: int) -> io.BytesIO:
    """The pickle of an object array without dimensions, which is not unpickled.

    Raises:
        InputError: another array, or one of more than `most` bytes.
    """
    head, where = array_header(path, key), f"{path}: {key}"
    if head.dtype.kind != "O" or head.shape:
        raise InputError(f"{where}: an array of {head.dtype} {shown(head.shape)}, expected one pickled dictionary")
    data = io.BytesIO(read_member(open_npz(path).file, _member(path, key), where, most))
    data.seek(head.length)
    return data


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
