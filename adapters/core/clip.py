"""Clip and Expression: a video, and the sentences that refer to its objects. All sizes are (H, W)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import name_problem
from rvos_ensemble.adapters.core.io.json_text import lone_surrogate
from rvos_ensemble.adapters.core.masks import Truth
from rvos_ensemble.adapters.core.messages import shown


@dataclass(frozen=True)
class Expression:
    """A sentence that refers to one or several objects of a clip.

    Attributes:
        clip: name of the clip.
        id: the id in the data set, a string ("0", "1", ..., "10").
        text: the sentence.
        objects: ids of the objects it refers to, if the data set publishes them; else empty.
    """

    clip: str
    id: str
    text: str
    objects: tuple[str, ...] = ()


class Frames(Protocol):
    """The frames of a clip. They must be picklable, because clips are sent to worker processes."""

    size: tuple[int, int]

    def read(self, t: int) -> np.ndarray:
        """Frame t as uint8 [H, W, 3] RGB."""

    def fingerprint(self) -> str:
        """A hash that changes whenever a frame does."""

    def problems(self) -> list[str]:
        """What is wrong with the files of the frames, without decoding them."""


@dataclass(frozen=True)
class Clip:
    """A video to segment.

    Attributes:
        name: name in the data set; also the folder name of its results.
        frames: frame names in order, without suffix; results have the same names.
        expressions: in the order of the data set (numeric order of ids).
        images: the frames, read lazily.
        truth: ground truth, if there is one.
        in_pairs: whether the data set lists two expressions per object, in order, as Ref-YouTube-VOS does.
    """

    name: str
    frames: tuple[str, ...]
    expressions: tuple[Expression, ...]
    images: Frames
    truth: Truth | None = None
    in_pairs: bool = False

    def __post_init__(self):
        where = f"clip {shown(self.name)}"
        problems = [] if self.frames else [f"{where}: no frames"]
        if len(set(self.frames)) != len(self.frames):
            problems.append(f"{where}: a frame name is listed twice")
        ids = [e.id for e in self.expressions]
        if len(set(ids)) != len(ids):
            problems.append(f"{where}: an expression id is listed twice")
        names = [("clip", self.name)] + [(f"{where}: expression", i) for i in ids]
        names += [(f"{where}: frame", frame) for frame in self.frames]
        problems += [problem for what, name in names if (problem := name_problem(name, what))]  # they become file names
        problems += [
            f"{where}, expression {shown(e.id)}: its text has half a character (a lone surrogate such as \\ud800), "
            "which no file can hold; write the text in UTF-8"
            for e in self.expressions
            if lone_surrogate(e.text)
        ]
        if problems:
            raise InputError(problems)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels, from the first frame."""
        return self.images.size

    def read(self, t: int) -> np.ndarray:
        """Frame t as uint8 [H, W, 3] RGB."""
        return self.images.read(t)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that changes whenever a frame of the clip does."""
        return self.images.fingerprint()

    def problems(self) -> list[str]:
        """What is wrong with its frames and annotations, without decoding them."""
        return [p for part in (self.images, self.truth) if part is not None for p in part.problems()]

    def inspect(self) -> list[str]:
        """What is wrong with its frames and annotations; all of them are decoded.

        Images and truths may have their own `inspect`, which is called; of others, every frame is read.
        """
        problems: list[str] = []
        for part, read in ((self.images, self._read_images), (self.truth, self._read_truth)):
            if part is not None:
                own = getattr(part, "inspect", None)
                problems += own() if own else [*part.problems(), *_reading_problems(read())]
        return list(dict.fromkeys(problems))

    def _read_images(self) -> Iterator[Callable[[], Any]]:
        return (partial(self.images.read, t) for t in range(len(self)))

    def _read_truth(self) -> Iterator[Callable[[], Any]]:
        for e in self.expressions:
            try:
                truth = self.truth.read(e.id)
            except InputError:
                yield partial(self.truth.read, e.id)  # which raises the error again
            else:
                yield from (partial(truth.mask, t) for t in range(len(truth) if truth else 0))


class BadClips(InputError):
    """Some clips of a data set cannot be used, but the others can.

    Attributes:
        clips: the usable clips, in order.
        bad: {name of an unusable clip: its problems}. Names are printable; they need not be possible file names.
    """

    def __init__(self, clips: Iterable[Clip], bad: Mapping[str, list[str]]):
        self.clips, self.bad = list(clips), dict(bad)
        super().__init__(problem for problems in self.bad.values() for problem in problems)

    def __reduce__(self):
        return BadClips, (self.clips, self.bad)


def _reading_problems(readings: Iterable[Callable[[], Any]]) -> list[str]:
    """The problems that these calls raise."""
    problems = []
    for read in readings:
        try:
            read()
        except InputError as error:
            problems += error.problems
    return problems
