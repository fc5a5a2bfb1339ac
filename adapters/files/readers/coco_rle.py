"""COCO run-length masks in one json file.

{video: {expression: [RLE or null per frame]}}, RLE = {"size": [H, W], "counts": string}, null = an empty mask;
beside the videos, optionally, "scores": {video: {expression: [score per frame]}}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from pycocotools import mask as coco

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.readers.reader import Outline, Reader, numbered
from rvos_ensemble.adapters.files.scores import SCORES, as_scores, load_json

DIGITS = 6  # most characters of a number: 29 bits and a sign, twice the largest image; pycocotools reads no more

Rle: TypeAlias = dict[str, Any]
"""{"size": [H, W], "counts": string, or list of run lengths}."""


def encode(masks: Iterable[np.ndarray]) -> list[Rle | None]:
    """Encodes masks, bool [H, W] each, as RLE that JSON can hold; an empty mask is None.

    >>> encode([np.zeros((2, 2), bool), np.eye(2, dtype=bool)])
    [None, {'size': [2, 2], 'counts': '0120'}]
    """
    rles = []
    for mask in masks:
        rle = coco.encode(np.asfortranarray(mask, np.uint8)) if mask.any() else None
        rles.append(rle and {"size": list(map(int, rle["size"])), "counts": rle["counts"].decode("ascii")})
    return rles


def decode(rle: Rle | None, size: tuple[int, int], where: str) -> np.ndarray:
    """Decodes a mask, bool [H, W]; nine times faster than pycocotools, which reads past the end of too few runs.

    >>> decode({"size": [2, 2], "counts": "0120"}, (2, 2), "eye").tolist()
    [[True, False], [False, True]]

    Raises:
        InputError: malformed, of another size, or its runs do not fill the mask.
    """
    if rle is None:
        return np.zeros(size, bool)
    lengths = checked_runs(rle, size, where)
    foreground = (np.arange(len(lengths)) & 1).astype(np.uint8)
    return cv2.transpose(np.repeat(foreground, lengths).reshape(size[::-1])).view(bool)  # runs go down columns


def checked_runs(rle: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """The lengths of the runs, int64, background first.

    Raises:
        InputError: malformed, of another size, or the runs do not fill the mask.
    """
    if not isinstance(rle, dict) or type(rle.get("counts")) not in (str, list) or "size" not in rle:
        raise InputError(f'{where}: expected null or {{"size": [H, W], "counts": string}}, found {shown(rle)}')
    stated, pixels = rle["size"], size[0] * size[1]
    if type(stated) is not list or [*map(type, stated)] != [int, int] or stated != list(size):
        raise InputError(f"{where}: size {shown(stated)}, expected the clip's {list(size)} ([H, W])")
    damaged = f"{where}: damaged: its runs do not add up to {size[0]}x{size[1]} pixels"
    try:
        lengths = runs(rle["counts"], pixels)
    except UnicodeEncodeError as error:
        raise InputError(f"{damaged} (not the counts of an RLE)") from error
    except ValueError as error:
        raise InputError(f"{damaged} ({error})") from error
    if int(lengths.sum()) != pixels:
        raise InputError(damaged)
    return lengths


def plain(rle: Any, size: tuple[int, int], where: str) -> Rle:
    """The same mask in the form that is safe for pycocotools: compressed, without empty runs or other keys.

    pycocotools writes past its memory for more runs than pixels, and stops early where both masks have an empty run.

    >>> plain({"size": [2, 2], "counts": [0, 1, 0, 0, 1, 2], "id": 7}, (2, 2), "corner")
    {'size': [2, 2], 'counts': '0111'}

    Raises:
        InputError: see `checked_runs`.
    """
    lengths = checked_runs(rle, size, where)
    counts = rle["counts"]
    if isinstance(counts, list) or not lengths[1:].all():
        joined = {"size": list(size), "counts": _joined(lengths).tolist()}
        counts = coco.frPyObjects(joined, *size)["counts"].decode("ascii")
    return {"size": list(size), "counts": counts}


def runs(counts: str | list[int], most: int = 1 << 27) -> np.ndarray:
    """The lengths of the runs, int64, background first.

    A character has six bits: five of the number, lowest first, and one that is set if more follow; the last character
    of a number carries its sign. From the fourth number on, a number is the difference to the one two before it.

    >>> runs("0120").tolist()
    [0, 1, 2, 1]

    Args:
        counts: the string, or a list of the lengths.
        most: number of pixels, the longest possible run, which also keeps the sums below within 64 bits.

    Raises:
        ValueError: not such a string, or impossible lengths.
    """
    if len(counts) > DIGITS * (2 * most + 2):
        raise ValueError("more runs than pixels")
    if isinstance(counts, str):
        lengths, _ = numbers(counts)
        lengths[1::2] = np.cumsum(lengths[1::2])
        lengths[2::2] = np.cumsum(lengths[2::2])
    elif {*map(type, counts)} == {int} and min(counts) >= 0 and max(counts) <= most:
        lengths = np.array(counts, np.int64)
    else:
        raise ValueError("not whole numbers of pixels")
    if len(lengths) > 2 * most + 2 or lengths.min() < 0 or lengths.max() > most:
        raise ValueError("not runs in a mask")
    return lengths


def _joined(lengths: np.ndarray) -> np.ndarray:
    """The same runs without empty ones, except that the first is always background.

    >>> _joined(np.array([0, 0, 3, 1, 0, 2])).tolist()
    [3, 3]
    """
    value, nonempty = np.arange(len(lengths)) & 1, lengths > 0
    value, lengths = value[nonempty], lengths[nonempty]
    first = np.flatnonzero(np.diff(value, prepend=-1))
    joined = np.add.reduceat(lengths, first)
    return np.concatenate([[0], joined]) if value[0] else joined


def numbers(counts: str) -> tuple[np.ndarray, np.ndarray]:
    """The numbers in the counts of an RLE, before the differences are summed; several RLEs may be concatenated.

    Returns:
        The numbers, and the positions of their first characters, both int64.

    Raises:
        ValueError: not such a string.
    """
    code = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not len(code) or code.min() < 0 or code.max() > 63 or code[-1] & 32:
        raise ValueError("not the counts of an RLE")
    last = np.flatnonzero((code & 32) == 0)
    start = np.concatenate([[0], last[:-1] + 1])
    digits = last - start + 1
    if digits.max() > DIGITS:
        raise ValueError("a run longer than any mask")
    place = np.arange(len(code)) - np.repeat(start, digits)
    values = np.add.reduceat((code & 31) << (5 * place), start)
    values -= np.where(code[last] & 16, np.int64(1) << (5 * digits), 0)
    return values, start


@dataclass(frozen=True)
class CocoRle(Reader):
    """Reads COCO RLE json."""

    path: str
    kind: str | None
    samples_all = True

    def __post_init__(self):
        if self.kind not in (None, "binary"):
            raise InputError(f"{self.path}: RLE masks are binary, they cannot be `kind: {self.kind}`")

    def expressions(self, clip: Clip) -> list[str] | None:
        """Ids of the expressions of the clip in the file, None if it does not have the video."""
        videos = self._videos()
        if clip.name not in videos or clip.name == SCORES:
            return None
        if not isinstance(videos[clip.name], dict):
            raise InputError(f"{self.path}: video {clip.name!r}: expected {{expression: [RLE or null per frame]}}")
        return list(videos[clip.name])

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The masks of an expression, lazily."""
        where = f"{self.path}: video {clip.name!r}, expression {expression.id!r}"
        rles = self._videos()[clip.name][expression.id]
        if not isinstance(rles, list) or len(rles) != len(clip):
            count = f"{len(rles)} masks" if isinstance(rles, list) else f"a {type(rles).__name__}"
            raise InputError(f"{where}: {count}, expected a list of {len(clip)}, one for every frame of the clip")
        masks = LazyMasks((len(clip), *clip.size), np.dtype(bool), RleReader(tuple(rles), tuple(clip.size), where))
        scores = self._scores(clip, expression, where)
        return MaskSequence(masks, "binary", scores=scores)

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the first mask of a video that is not empty."""
        for entry in self._entries(video).values():
            for rle in self._rles(entry):
                if isinstance(rle, Mapping) and isinstance(size := rle.get("size"), list) and len(size) == 2:
                    return tuple(size)
        return None

    def outlines(self) -> dict[str, Outline]:
        """{video: its frames and expressions}."""
        return {video: self._outline(self._entries(video)) for video in self._videos() if video != SCORES}

    def _outline(self, entries: Mapping[str, Any]) -> Outline:
        return Outline(
            numbered(max((len(self._rles(e)) for e in entries.values()), default=0)), dict.fromkeys(entries, ())
        )

    def _entries(self, video: str) -> Mapping[str, Any]:
        """{expression: its entry} of a video; none if the file is wrong, which `check` reports."""
        entries = self._videos().get(video)
        return entries if isinstance(entries, Mapping) else {}

    def _rles(self, entry: Any) -> list:
        """The masks in the entry of an expression."""
        return entry if isinstance(entry, list) else []

    def sample_problems(self, sequence: MaskSequence) -> list[str]:
        """Adds up the runs of every frame."""
        read: RleReader = sequence.masks.read
        problems = []
        for t, rle in enumerate(read.rles):
            try:
                if rle is not None:
                    checked_runs(rle, read.size, f"{read.where}, frame {t}")
            except InputError as error:
                problems += error.problems
        return problems

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the file."""
        return file_hash(file_stamp(self.path))

    def contents(self) -> str:
        """The videos in the file, in words."""
        return f"it has {first_few(name for name in self._videos() if name != SCORES)}"

    def _videos(self) -> Mapping[str, Any]:
        return load_json(file_stamp(self.path))

    def _scores(self, clip: Clip, expression: Expression, where: str) -> np.ndarray | None:
        scores = self._videos().get(SCORES)
        if scores is None:
            return None
        try:
            return as_scores(scores[clip.name][expression.id], len(clip), where)
        except (KeyError, TypeError):
            raise InputError(f"{where}: not among the `{SCORES}` of the file") from None


@dataclass(frozen=True)
class RleReader:
    """Decodes frame t of a sequence of RLEs; None is an empty mask."""

    rles: tuple[Rle | None, ...]
    size: tuple[int, int]
    where: str

    def __call__(self, t: int) -> np.ndarray:
        return decode(self.rles[t], self.size, f"{self.where}, frame {t}")
