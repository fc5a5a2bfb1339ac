"""Clip, Expression, MaskSequence: the three nouns that everything passes along.

Masks are indexed `[t]` by frame and are `[H, W]` at the clip's size. Sizes are always (H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

Kind = Literal["binary", "prob", "votes"]


class InputError(ValueError):
    """Something the user gave is wrong; carries every problem found, one line each."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self):  # pickled whole, so that workers can report all problems
        return InputError, (self.problems,)


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


class Truth(Protocol):
    """The ground truth of a clip, for scoring only."""

    def read(self, expression: str) -> MaskSequence | None:
        """Binary masks of the expression's objects, None where the data set has none."""

    def fingerprint(self) -> str:
        """Changes whenever any mask does."""

    def problems(self) -> list[str]:
        """What is wrong with the files behind it; empty when nothing is."""


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
        from adapters.disk import half_character, name_problem  # here: that file imports this one
        from adapters.settings import shown

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
            if half_character(e.text)
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


class Masks(Protocol):
    """T masks of one size. A numpy array [T, H, W] is one; lazy readers are others."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, t: int) -> np.ndarray: ...


@dataclass(frozen=True)
class LazyMasks:
    """Masks that are read one frame at a time.

    Attributes:
        shape: (T, H, W).
        dtype: of every mask.
        read: t -> [H, W] of that dtype.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[int], np.ndarray]

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < self.shape[0]:
            raise IndexError(f"frame {t} of {self.shape[0]}")
        return self.read(t)


@dataclass(frozen=True)
class PackedMasks:
    """Binary masks in memory at one bit a pixel: a 36-frame 720p sequence takes 4 MB instead of 33.

    Attributes:
        bits: uint8 [T, H, ceil(W / 8)], `np.packbits` order.
        width: W.
    """

    bits: np.ndarray
    width: int

    @classmethod
    def pack(cls, masks: Iterable[np.ndarray]) -> PackedMasks:
        """Packs T bool masks [H, W], taken one at a time."""
        rows, width = [], 0
        for mask in masks:
            rows.append(np.packbits(mask, axis=1))
            width = mask.shape[1]
        return cls(np.stack(rows), width)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.bits.shape[:2], self.width)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(bool)

    def __getitem__(self, t: int) -> np.ndarray:
        return np.unpackbits(self.bits[t], axis=1, count=self.width).view(bool)


@dataclass(frozen=True)
class MaskSequence:
    """One prediction for one (clip, expression): T masks at the clip's size.

    Attributes:
        masks: T masks [H, W]; may be lazy.
        kind: "binary" (bool), "prob" (uint8, 0..255 means 0..1) or "votes" (uint8 or uint16 counts).
        total: "votes" only: what the counts are out of.
        scores: P, the model's confidence per frame, float32 [T]; None where the model has none.
        notes: where it comes from, for the manifest (key frames, score source, propagator, ...); JSON values.
    """

    masks: Masks
    kind: Kind = "binary"
    total: int | None = None
    scores: np.ndarray | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def binary(cls, masks: Iterable[np.ndarray], scores=None, **notes) -> MaskSequence:
        """From T bool masks [H, W] (an array or any iterable), kept packed.

        >>> s = MaskSequence.binary(np.eye(4, dtype=bool)[None])
        >>> len(s), s.size, s.mask(0)[0].tolist()
        (1, (4, 4), [True, False, False, False])
        """
        return cls(PackedMasks.pack(masks), "binary", scores=_as_scores(scores), notes=notes)

    @classmethod
    def prob(cls, masks: Masks, scores=None, **notes) -> MaskSequence:
        """From uint8 probabilities [T, H, W]; see `quantise` for floats."""
        return cls(masks, "prob", scores=_as_scores(scores), notes=notes)

    def __len__(self) -> int:
        return self.masks.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return tuple(self.masks.shape[1:])

    def mask(self, t: int) -> np.ndarray:
        """Frame t as bool [H, W]; a probability counts as foreground above 0.5.

        Raises:
            ValueError: the sequence holds votes, which need a threshold first.
        """
        if self.kind == "votes":
            raise ValueError("a vote map has no mask before it is thresholded: give the vote step a `threshold`")
        mask = self.masks[t]
        return mask if self.kind == "binary" else mask > 127

    def prob_at(self, t: int) -> np.ndarray:
        """Frame t as probabilities, uint8 [H, W]."""
        mask = self.masks[t]
        if self.kind == "votes":
            return quantise(mask / np.float32(self.total))
        return mask if self.kind == "prob" else mask.view(np.uint8) * np.uint8(255)

    def with_(self, **changes) -> MaskSequence:
        """A copy with some attributes changed."""
        return replace(self, **changes)

    def problems(self, clip: Clip, expression: str, source: str) -> list[str]:
        """What is wrong with it as a prediction of `source` for that expression; empty when nothing is."""
        where = f"{source}: clip {clip.name!r}, expression {expression!r}"
        dtypes = {"binary": (np.bool_,), "prob": (np.uint8,), "votes": (np.uint8, np.uint16)}
        found = []
        if len(self) != len(clip):
            found.append(f"{where}: {len(self)} masks, expected {len(clip)}, one for every frame of the clip")
        if self.size != tuple(clip.size):
            found.append(f"{where}: masks of size {_hw(self.size)}, expected the clip's {_hw(clip.size)}")
        if self.kind not in dtypes:
            found.append(f"{where}: kind {self.kind!r}, expected one of {', '.join(dtypes)}")
        elif self.masks.dtype not in dtypes[self.kind]:
            names = " or ".join(np.dtype(d).name for d in dtypes[self.kind])
            found.append(f"{where}: masks of dtype {self.masks.dtype}, expected {names} for kind {self.kind!r}")
        if self.kind == "votes" and (self.total is None or self.total < 1):
            found.append(f"{where}: votes out of {self.total}, expected the number of votes as `total`")
        if self.scores is not None:
            if self.scores.shape != (len(clip),):
                found.append(f"{where}: scores of shape {self.scores.shape}, expected one a frame: ({len(clip)},)")
            elif not np.isfinite(self.scores).all():
                found.append(f"{where}: score of frame {int(np.argmin(np.isfinite(self.scores)))} is not finite")
        return found


Prediction: TypeAlias = dict[str, MaskSequence]
"""The masks of one source or step for one clip: {expression id: MaskSequence}."""


class Objects(dict[str, MaskSequence]):
    """The objects of a clip, whoever may mean them: {a name of its own: MaskSequence}, in any number.

    A candidate found in one frame is a sequence that is empty elsewhere, its confidence the score of that frame.
    """

    def __missing__(self, name: str) -> MaskSequence:
        raise InputError(f"objects {', '.join(list(self)[:3])}... where masks of expressions are wanted: `ground` them")


def check_prediction(prediction: Prediction, clip: Clip, source: str) -> Prediction:
    """Returns the prediction when it fits the clip: every expression once, all sizes, kinds and scores right.

    Objects are called as they like.

    Raises:
        InputError: naming everything that does not fit.
    """
    if not isinstance(prediction, dict):
        raise InputError(
            f"{source}: clip {clip.name!r}: predicted a {type(prediction).__name__}, expected "
            "{expression id: MaskSequence}"
        )
    wanted = list(prediction) if isinstance(prediction, Objects) else [e.id for e in clip.expressions]
    found = [f"{source}: clip {clip.name!r}: no masks for expression {i!r}" for i in wanted if i not in prediction]
    for i, sequence in prediction.items():
        if i not in wanted:
            found.append(f"{source}: clip {clip.name!r}: expression {i!r} is not in the data set (it has {wanted})")
        elif not isinstance(sequence, MaskSequence):
            kind = type(sequence).__name__
            found.append(
                f"{source}: clip {clip.name!r}, expression {i!r}: a {kind}, expected a MaskSequence; "
                "`MaskSequence.binary(masks)` makes one"
            )
        else:
            found += sequence.problems(clip, i, source)
    if found:
        raise InputError(found)
    return prediction


def quantise(probability: np.ndarray) -> np.ndarray:
    """Float probabilities in [0, 1] to uint8, so that `p > 0.5` stays exactly `q > 127`.

    >>> quantise(np.float32([0, 0.5, 0.5000001, 1])).tolist()
    [0, 127, 128, 255]
    """
    return np.ceil(np.asarray(probability, np.float32) * 255 - 0.5).astype(np.uint8)


def _complaints(readings: Iterable[Callable[[], Any]]) -> list[str]:
    """What these say that cannot be read."""
    found = []
    for read in readings:
        try:
            read()
        except InputError as error:
            found += error.problems
    return found


def _as_scores(scores) -> np.ndarray | None:
    return None if scores is None else np.asarray(scores, np.float32)


def _hw(size) -> str:
    return f"{size[0]}x{size[1]} (HxW)"
