"""Clip and Expression: a video, and the sentences that refer to its objects. Sizes are always (H, W)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np

from rvos_ensemble.adapters.core.disk import name_problem
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.json_text import lone_surrogate
from rvos_ensemble.adapters.core.masks import Truth
from rvos_ensemble.adapters.core.messages import shown


@dataclass(frozen=True)
class Expression:
    """A sentence that refers to one or several objects of a clip.

    Attributes:
        clip: name of the clip.
        id: the data set's id, a string ("0", "1", ..., "10").
        text: the sentence.
        objects: ids of the objects it refers to, where the data set says so to everyone; else empty.
    """

    clip: str
    id: str
    text: str
    objects: tuple[str, ...] = ()


class Frames(Protocol):
    """The pictures of a clip. Must be picklable: clips travel to worker processes."""

    size: tuple[int, int]

    def read(self, t: int) -> np.ndarray:
        """Frame t as uint8 [H, W, 3] RGB."""

    def fingerprint(self) -> str:
        """Changes whenever any picture does."""

    def problems(self) -> list[str]:
        """What is wrong with the files behind it, found without decoding pictures; empty when nothing is."""


@dataclass(frozen=True)
class Clip:
    """A video to segment.

    Attributes:
        name: its name in the data set; also the folder name of its results.
        frames: frame names in order, without suffix; results carry the same names.
        expressions: in the data set's order (numeric order of ids).
        images: the pictures, read lazily.
        truth: ground truth where there is one.
        in_pairs: whether its data set lists two expressions an object, in order, as Ref-YouTube-VOS does.
    """

    name: str
    frames: tuple[str, ...]
    expressions: tuple[Expression, ...]
    images: Frames
    truth: Truth | None = None
    in_pairs: bool = False

    def __post_init__(self):
        this = f"clip {shown(self.name)}"
        problems = [] if self.frames else [f"{this}: no frames"]
        if len(set(self.frames)) != len(self.frames):
            problems.append(f"{this}: a frame name is listed twice")
        ids = [e.id for e in self.expressions]
        if len(set(ids)) != len(ids):
            problems.append(f"{this}: an expression id is listed twice")
        names = [("clip", self.name)] + [(f"{this}: expression", i) for i in ids]
        names += [(f"{this}: frame", frame) for frame in self.frames]
        problems += [problem for what, name in names if (problem := name_problem(name, what))]  # they become file names
        problems += [
            f"{this}, expression {shown(e.id)}: its text has half a character (a lone surrogate such as \\ud800), "
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
        """Changes whenever any picture of the clip does."""
        return self.images.fingerprint()

    def problems(self) -> list[str]:
        """What is wrong with its pictures and annotations, found without decoding them; empty when nothing is."""
        return [p for part in (self.images, self.truth) if part is not None for p in part.problems()]

    def inspect(self) -> list[str]:
        """What is wrong with its pictures and annotations, found by decoding all of them; empty when nothing is.

        Images and truths that have an `inspect` of their own are asked; of others, everything is read.
        """
        found: list[str] = []
        for part, read in ((self.images, self._read_images), (self.truth, self._read_truth)):
            if part is not None:
                own = getattr(part, "inspect", None)
                found += own() if own else [*part.problems(), *_complaints(read())]
        return list(dict.fromkeys(found))

    def _read_images(self) -> Iterator[Callable[[], Any]]:
        return (partial(self.images.read, t) for t in range(len(self)))

    def _read_truth(self) -> Iterator[Callable[[], Any]]:
        for e in self.expressions:
            try:
                truth = self.truth.read(e.id)
            except InputError:
                yield partial(self.truth.read, e.id)  # which says it again
            else:
                yield from (partial(truth.mask, t) for t in range(len(truth) if truth else 0))


class BadClips(InputError):
    """Some clips of a data set cannot be used; the others can.

    Attributes:
        clips: those that can, in order.
        bad: {name of a clip that cannot: its problems}. A name is shown as it can be printed; it need not be one that
            a file could have.
    """

    def __init__(self, clips: Iterable[Clip], bad: Mapping[str, list[str]]):
        self.clips, self.bad = list(clips), dict(bad)
        super().__init__(problem for found in self.bad.values() for problem in found)

    def __reduce__(self):
        return BadClips, (self.clips, self.bad)


def _complaints(readings: Iterable[Callable[[], Any]]) -> list[str]:
    """What these say that cannot be read."""
    found = []
    for read in readings:
        try:
            read()
        except InputError as error:
            found += error.problems
    return found
