"""J and F of the objects of one video: label maps in, values of every frame out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import cv2
import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.fusion.bits import pack
from rvos_ensemble.ensemble.metrics.jf import Prepared, j_and_f
from rvos_ensemble.ensemble.metrics.protocols.trees import Masks
from rvos_ensemble.ensemble.metrics.scores import PIXELS_AT_A_TIME, Scores

VOID = 255
MANY = 32  # up to this object number each is looked for; above, a histogram says which there are


@dataclass(frozen=True)
class Labels:
    """N label maps, taken apart into objects at one bit a pixel.

    Attributes:
        planes: the maps' bits, lowest first, packed: uint8 [N, H, ceil(W / 8)] each. An object is where all bits are
            those of its number.
        size: (H, W).
        ids: the object numbers there may be.
    """

    planes: list[np.ndarray]
    size: tuple[int, int]
    ids: Sequence[int]

    @classmethod
    def of(cls, maps: Iterable[np.ndarray | None], count: int, size: tuple[int, int]) -> Labels:
        """Takes maps one at a time, so that memory is used again and again: half of the time would go into new pages.

        Args:
            maps: uint8 [H, W] each; 0 is background, None is all background.
            count: how many.
            size: (H, W).

        >>> labels = Labels.of([np.uint8([[0, 1, 3, 3]])], 1, (1, 4))
        >>> [int(labels.object(i).area[0]) for i in (1, 2, 3)]
        [1, 0, 2]
        """
        planes, ids = [], set()
        for n, m in enumerate(maps):
            top = 0 if m is None else int(m.max())
            for b in range(top.bit_length()):
                if b == len(planes):
                    planes.append(np.zeros((count, size[0], (size[1] + 7) // 8), np.uint8))
                planes[b][n] = pack(m if top == 1 else m & np.uint8(1 << b))
            if top <= MANY:
                ids.update(range(1, top + 1))
            else:
                ids.update(np.flatnonzero(cv2.calcHist([m], [0], None, [256], [0, 256])).tolist())
        return cls(planes, size, sorted(ids - {0}))

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

    def highest(self) -> int:
        """Highest number in the prediction, be it on void pixels only; 0 if there is none."""
        return max((i for part in self.parts for i in part.prediction), default=0)

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
    for frames, size, maps in chunks(truth, problems):
        target = Labels.of(maps, len(frames), size)
        undecided = void != "object" and VOID in target.ids
        ignored = target.packed(VOID) if undecided and void == "ignore" else None
        objects = {i: target.object(i, ignored) for i in target.ids if not (undecided and i == VOID)}
        for name, masks in predictions.items():
            ours = Labels.of(read(masks, frames, size, problems, void), len(frames), size)
            proposals = {i: ours.object(i, ignored) for i in ours.ids}
            values = {
                (i, k): pair(p, g)
                for i, p in proposals.items()
                for k, g in (objects if every_pair else {i: objects[i]} if i in objects else {}).items()
            }
            absent = np.array([masks.names[t] is None and missing == "zero" for t in frames])
            found[name].parts.append(Part(absent, _empty(objects), _empty(proposals), values))
    return found, problems


def _empty(objects: Mapping[int, Prepared]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    return {i: (o.area == 0, o.length == 0) for i, o in objects.items()}


def pair(p: Prepared, g: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """J and F of stacks of masks; cheaper than `j_and_f` where they are far apart."""
    a, b = p.bits, g.bits
    rows = min(a.top + a.words.shape[1], b.top + b.words.shape[1]) - max(a.top, b.top)
    columns = min(a.left + a.words.shape[2], b.left + b.words.shape[2]) - max(a.left, b.left)
    if rows > 0 and columns > 0:
        return j_and_f(p, g)
    return ((p.area + g.area) == 0).astype(float), ((p.length + g.length) == 0).astype(float)


def chunks(masks: Masks, problems: list[str]) -> Iterator[tuple[range, tuple[int, int], Iterator[np.ndarray | None]]]:
    """All frames, a few at a time so that they stay in the processor's cache: (frame numbers, (H, W), label maps)."""
    start, size = 0, None
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
        yield frames, size, read(masks, frames, size, problems)
        start = frames.stop


def read(
    masks: Masks, frames: range, size: tuple[int, int], problems: list[str], void: str = "object"
) -> Iterator[np.ndarray | None]:
    """Some label maps, uint8 [H, W] each; None where there is no file, or where it is a problem.

    Args:
        void: "object" if 255 may be an object's number; in predictions it never is void.
    """
    for t in frames:
        values = None
        try:
            values = None if masks.names[t] is None else masks.read(t, size)
            if void != "object" and values is not None and values.max() == VOID:
                raise InputError(_not_a_label_map(masks.where(t), values))
        except InputError as error:
            problems += error.problems
        yield values


def _not_a_label_map(where: str, values: np.ndarray) -> str:
    if ((values > 0) & (values < VOID)).any():
        return f"{where}: holds 255, which is void in a ground truth; expected the numbers of objects, 0 for none"
    return (
        f"{where}: a 0/255 mask, expected a label map: 0 for background, 1 for object 1, ...; if all of gt and pred "
        "are masks of 0/255 of one object each, say `void=object`"
    )
