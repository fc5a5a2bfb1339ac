"""J and F of the objects of one video: label maps in, values of every frame out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import cv2
import numpy as np

from adapters.sequence import InputError
from ensemble.bits import pack
from ensemble.jf import Prepared, j_and_f
from ensemble.metrics import PIXELS_AT_A_TIME, Scores
from ensemble.protocols.trees import Masks

VOID = 255
MANY = 32  # up to this object number each is looked for; above, a histogram says which there are


@dataclass(frozen=True)
class Labels:
    """N label maps, taken apart into objects at one bit a pixel.

    Attributes:
        planes: the maps' bits, lowest first, packed: uint8 [N, H, ceil(W / 8)] each. An object is where every bit is
            that of its number.
        size: (H, W).
        ids: the object numbers there may be.
    """

    planes: list[np.ndarray]
    size: tuple[int, int]
    ids: Sequence[int]

    @classmethod
    def of(cls, values: np.ndarray) -> Labels:
        """From uint8 [N, H, W]; 0 is background.

        >>> labels = Labels.of(np.uint8([[[0, 1, 3, 3]]]))
        >>> [int(labels.object(i).area[0]) for i in (1, 2, 3)]
        [1, 0, 2]
        """
        highest = int(values.max())
        if highest == 1:
            return cls([pack(values)], values.shape[1:], [1])
        ids = range(1, highest + 1)
        if highest > MANY:
            counts = cv2.calcHist([values.reshape(-1, values.shape[2])], [0], None, [256], [0, 256])
            ids = [i for i in np.flatnonzero(counts).tolist() if i]
        planes = [pack(values & np.uint8(1 << b)) for b in range(highest.bit_length())]
        return cls(planes, values.shape[1:], ids)

    def packed(self, i: int) -> np.ndarray:
        """The masks of object i, one of `ids`, uint8 [N, H, ceil(W / 8)]."""
        own = [plane for b, plane in enumerate(self.planes) if i >> b & 1]
        others = [plane for b, plane in enumerate(self.planes) if not i >> b & 1]
        mask = reduce(np.bitwise_and, own)
        return mask & ~reduce(np.bitwise_or, others) if others else mask

    def object(self, i: int, void: np.ndarray | None = None) -> Prepared:
        """The masks of object i, one of `ids`, without the void pixels (packed)."""
        return Prepared(self.packed(i) if void is None else self.packed(i) & ~void, self.size)


@dataclass
class Pairs:
    """J and F of objects of a prediction against objects of the ground truth, over the frames of a video.

    Attributes:
        parts: what was found, some frames after the others.
    """

    parts: list[Part] = field(default_factory=list)

    def truths(self) -> list[int]:
        """Numbers of the objects that the ground truth shows."""
        return sorted({i for part in self.parts for i, (empty, _) in part.truth.items() if not empty.all()})

    def proposals(self) -> list[int]:
        """Numbers of the objects that the prediction shows."""
        return sorted({i for part in self.parts for i, (empty, _) in part.prediction.items() if not empty.all()})

    def shown(self, i: int, sides: Sequence[str] = ("truth", "prediction")) -> np.ndarray:
        """In which frames one of the sides has pixels of object i, bool [T]."""
        return np.concatenate([~np.logical_and.reduce([part.empty(s, i)[0] for s in sides]) for part in self.parts])

    def scores(self, proposal: int, truth: int, empty_empty: float = 1.0) -> Scores:
        """J and F of one pair.

        Args:
            proposal, truth: object numbers.
            empty_empty: what a frame scores where both are empty.
        """
        both = [part.scores(proposal, truth, empty_empty) for part in self.parts]
        return Scores(*(np.concatenate(values) for values in zip(*both, strict=True)))


@dataclass
class Part:
    """Some frames of `Pairs`.

    Attributes:
        missing: frames without a prediction that score 0, bool [N].
        truth, prediction: {object: (frames without a pixel of it, frames without a boundary of it), bool [N] each}.
        values: {(object of the prediction, object of the truth): (J, F), float64 [N] each}.
    """

    missing: np.ndarray
    truth: dict[int, tuple[np.ndarray, np.ndarray]]
    prediction: dict[int, tuple[np.ndarray, np.ndarray]]
    values: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]

    def empty(self, side: str, i: int) -> tuple[np.ndarray, np.ndarray]:
        nowhere = np.ones(len(self.missing), bool)
        return getattr(self, side).get(i, (nowhere, nowhere))

    def scores(self, proposal: int, truth: int, empty_empty: float) -> tuple[np.ndarray, np.ndarray]:
        areas, lengths = zip(self.empty("prediction", proposal), self.empty("truth", truth), strict=True)
        both_empty = areas[0] & areas[1]
        if (proposal, truth) in self.values:
            j, f = self.values[proposal, truth]
        else:  # one of them is in none of these frames
            j, f = both_empty.astype(float), (lengths[0] & lengths[1]).astype(float)
        if empty_empty != 1:
            j, f = (np.where(both_empty, empty_empty, v) for v in (j, f))
        return (np.where(self.missing, 0.0, j), np.where(self.missing, 0.0, f)) if self.missing.any() else (j, f)


def score_objects(
    truth: Masks, predictions: Mapping[str, Masks], void: str, every_pair: bool, missing: str
) -> tuple[dict[str, Pairs], list[str]]:
    """Scores predictions of one video; a frame of the ground truth is read and taken apart once for all of them.

    Args:
        truth: the frames that count.
        predictions: {name: the same frames}.
        void: what pixels of 255 in the truth are: "ignore", "background" or "object".
        every_pair: each object of a prediction against each of the truth; else those of one number.
        missing: what becomes of frames without a prediction: "zero" or "empty".

    Returns:
        ({name: its pairs}, problems of the files).
    """
    found, problems = {name: Pairs() for name in predictions}, []
    size = None
    for frames, values in chunks(truth, None, problems):
        size = values.shape[1:]
        values, ignored = without_void(values, void)
        target = Labels.of(values)
        objects = {i: target.object(i, ignored) for i in target.ids}
        for name, masks in predictions.items():
            ours = Labels.of(stack(masks, frames, size, problems, void))
            proposals = {i: ours.object(i, ignored) for i in ours.ids}
            found[name].parts.append(
                Part(
                    np.array([masks.names[t] is None and missing == "zero" for t in frames]),
                    {i: (o.area == 0, o.length == 0) for i, o in objects.items()},
                    {i: (o.area == 0, o.length == 0) for i, o in proposals.items()},
                    {
                        (i, k): pair(p, g)
                        for i, p in proposals.items()
                        for k, g in (objects.items() if every_pair else [(i, objects.get(i))])
                        if g is not None
                    },
                )
            )
    return found, problems


def pair(p: Prepared, g: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """J and F of stacks of masks; cheaper than `j_and_f` where they are far apart."""
    a, b = p.bits, g.bits
    rows = min(a.top + a.words.shape[1], b.top + b.words.shape[1]) - max(a.top, b.top)
    columns = min(a.left + a.words.shape[2], b.left + b.words.shape[2]) - max(a.left, b.left)
    if rows > 0 and columns > 0:
        return j_and_f(p, g)
    return ((p.area + g.area) == 0).astype(float), ((p.length + g.length) == 0).astype(float)


def without_void(values: np.ndarray, void: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Label maps of the truth without void as an object, and the void pixels (packed) where they are to be ignored."""
    if void == "object" or values.max() < VOID:
        return values, None
    undecided = values == VOID
    return np.where(undecided, np.uint8(0), values), pack(undecided) if void == "ignore" else None


def chunks(masks: Masks, size: tuple[int, int] | None, problems: list[str]) -> Iterator[tuple[range, np.ndarray]]:
    """All frames, a few at a time so that they stay in the processor's cache: (frame numbers, uint8 [N, H, W])."""
    start = 0
    while start < len(masks):
        if size is None:
            try:
                size = masks.read(start).shape
            except InputError as error:
                problems += error.problems
                start += 1
                continue
        step = max(1, PIXELS_AT_A_TIME // (size[0] * size[1]))
        frames = range(start, min(start + step, len(masks)))
        yield frames, stack(masks, frames, size, problems)
        start = frames.stop


def stack(
    masks: Masks, frames: range, size: tuple[int, int], problems: list[str], void: str | None = None
) -> np.ndarray:
    """Some frames, uint8 [N, H, W]; empty where there is none, or where it is a problem.

    Args:
        void: of predictions: whether 255 may be an object's number ("object"). It never may be void.
    """
    values = np.zeros((len(frames), *size), np.uint8)
    for n, t in enumerate(frames):
        if masks.names[t] is None:
            continue
        try:
            read = masks.read(t, size)
            if void in ("ignore", "background") and read.max() == VOID:
                raise InputError(_not_a_label_map(masks.where(t), read))
            values[n] = read
        except InputError as error:
            problems += error.problems
    return values


def _not_a_label_map(where: str, values: np.ndarray) -> str:
    if ((values > 0) & (values < VOID)).any():
        return f"{where}: holds 255, which is void in a ground truth; expected the numbers of objects, 0 for none"
    return (
        f"{where}: a 0/255 mask, expected a label map: 0 for background, 1 for object 1, ...; if all of gt and pred "
        "are masks of 0/255 of one object each, say `void=object`"
    )
