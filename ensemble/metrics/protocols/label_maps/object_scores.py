"""J and F of the objects of one video: label maps in, values of every frame out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rvos_ensemble.ensemble.metrics.jf import Prepared, j_and_f
from rvos_ensemble.ensemble.metrics.protocols.label_maps.labels import Labels, chunks, read
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import VOID, MaskFiles
from rvos_ensemble.ensemble.metrics.scores import Scores


@dataclass
class FramePart:
    """Scores of some frames of a video.

    Attributes:
        missing: the frames without a prediction that score 0, bool [N].
        truth: {object of the truth: (frames where it has no pixel, frames where it has no boundary), bool [N] each}.
        prediction: the same for the objects of the prediction.
        values: {(object of the prediction, object of the truth): (J, F), float64 [N] each}.
    """

    missing: np.ndarray
    truth: dict[int, tuple[np.ndarray, np.ndarray]]
    prediction: dict[int, tuple[np.ndarray, np.ndarray]]
    values: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]

    def empty(self, side: str, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames where object i of a side, "truth" or "prediction", has no pixel, and no boundary; bool [N] each."""
        everywhere = np.ones(len(self.missing), bool)
        return getattr(self, side).get(i, (everywhere, everywhere))

    def scores(self, proposal: int, truth: int, empty_empty: float) -> tuple[np.ndarray, np.ndarray]:
        """J and F of one pair of objects, float64 [N] each; see `ObjectPairs.scores`."""
        areas, lengths = zip(self.empty("prediction", proposal), self.empty("truth", truth), strict=True)
        both_empty = areas[0] & areas[1]
        if (proposal, truth) in self.values:
            j, f = self.values[proposal, truth]
        else:  # one of the two is absent from all of these frames
            j, f = both_empty.astype(float), (lengths[0] & lengths[1]).astype(float)
        if empty_empty != 1:
            j, f = (np.where(both_empty, empty_empty, v) for v in (j, f))
        return (np.where(self.missing, 0.0, j), np.where(self.missing, 0.0, f)) if self.missing.any() else (j, f)


@dataclass
class ObjectPairs:
    """J and F of the objects of a prediction against the objects of the ground truth, over the frames of a video.

    Attributes:
        parts: the scores, in the order of the frames.
    """

    parts: list[FramePart] = field(default_factory=list)

    def truths(self) -> list[int]:
        """Numbers of the objects that the ground truth shows."""
        return sorted({i for part in self.parts for i, (empty, _) in part.truth.items() if not empty.all()})

    def proposals(self) -> list[int]:
        """Numbers of the objects that the prediction shows."""
        return sorted({i for part in self.parts for i, (empty, _) in part.prediction.items() if not empty.all()})

    def highest(self) -> int:
        """The highest number in the prediction, including those on void pixels only; 0 if there is no object."""
        return max((i for part in self.parts for i in part.prediction), default=0)

    def shown(self, i: int, sides: Sequence[str] = ("truth", "prediction")) -> np.ndarray:
        """The frames in which one of the sides has pixels of object i, bool [T]."""
        return np.concatenate([~np.logical_and.reduce([part.empty(s, i)[0] for s in sides]) for part in self.parts])

    def scores(self, proposal: int, truth: int, empty_empty: float = 1.0) -> Scores:
        """J and F of one pair of objects.

        Args:
            proposal: number of the object in the prediction.
            truth: number of the object in the ground truth.
            empty_empty: the score of a frame where both are empty.
        """
        both = [part.scores(proposal, truth, empty_empty) for part in self.parts]
        return Scores(*(np.concatenate(values) for values in zip(*both, strict=True)))


def score_objects(
    truth: MaskFiles, predictions: Mapping[str, MaskFiles], void: str, every_pair: bool, missing: str
) -> tuple[dict[str, ObjectPairs], list[str]]:
    """Scores predictions of one video. Each frame of the ground truth is read and split into objects once.

    Args:
        truth: the frames that count.
        predictions: {name: the same frames}.
        void: the meaning of 255 in the truth: "ignore", "background" or "object".
        every_pair: compare each object of a prediction with each object of the truth, instead of only with the object
            of the same number.
        missing: the treatment of frames without a prediction: "zero" or "empty".

    Returns:
        ({name: its pairs}, problems of the files).
    """
    result: dict[str, ObjectPairs] = {name: ObjectPairs() for name in predictions}
    problems: list[str] = []
    for frames, size, maps in chunks(truth, problems):
        target = Labels.of(maps, len(frames), size)
        undecided = void != "object" and VOID in target.ids
        ignored = target.packed(VOID) if undecided and void == "ignore" else None
        objects = {i: target.object(i, ignored) for i in target.ids if not (undecided and i == VOID)}
        for name, masks in predictions.items():
            ours = Labels.of(read(masks, frames, size, problems, void), len(frames), size)
            proposals = {i: ours.object(i, ignored) for i in ours.ids}
            values = {
                (i, k): j_and_f(p, g)
                for i, p in proposals.items()
                for k, g in (objects if every_pair else {i: objects[i]} if i in objects else {}).items()
            }
            absent = np.array([masks.names[t] is None and missing == "zero" for t in frames])
            result[name].parts.append(FramePart(absent, _empty(objects), _empty(proposals), values))
    return result, problems


def _empty(objects: Mapping[int, Prepared]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """{object: (frames where it has no pixel, frames where it has no boundary), bool [N] each}."""
    return {i: (o.area == 0, o.length == 0) for i, o in objects.items()}
