"""Simulated segmenters, on `shapes`: imperfect masks in the manner of the models of the 2023 winner.

They corrupt the ground truth, which gives masks to fuse at no cost. Each has the known errors of its model, at the
rates below. They show how a pipeline behaves, not how good a model is.

    model             fails by
    soc               misunderstanding motion: it follows another object for a long part of the video
    mutr              ragged edges; its score is the same in every frame, so that it has no score per frame
    referformer       flicker: missing or partial masks, and short switches to another object
    uninext           grounding every frame independently: good edges, but the object changes from frame to frame,
                      especially where a single frame is ambiguous (twins, motion)
    uninext_convnext  the same, slightly worse, with its own errors

Their errors are independent, but the same cases are difficult for all: some sentences (`HARD`), and frames that show
little of the object. While the object is not visible, each may segment something else, as the real models do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rvos_ensemble.adapters.datasets.shapes.grounds import smooth_noise
from rvos_ensemble.adapters.datasets.shapes.things import Scene

NOWHERE = -1000.0  # margin of a pixel that is far from all objects
HARD, EASY, HARD_SHARE = 2.0, 0.67, 0.25  # factors of the error rates of hard and easy sentences; share of hard ones
ROWS = 180  # lengths below are pixels in an image of this height


@dataclass(frozen=True)
class Segmenter:
    """The error rates of a simulated model.

    Attributes:
        seed: of its own errors.
        wrong: probability of following another object for 40 to 100 % of the video, by sentences (appearance, motion).
        switch: probability per frame of a switch to another object, by sentences (appearance, motion).
        switch_length: mean length of such a switch, frames.
        miss: probability per frame of an empty mask.
        part: probability per frame that a part of the object is missing.
        merge: probability per frame that a neighbour is included.
        ghost: probability of segmenting another object while this one is not visible.
        edge: error of the outline in blobs of 22 pixels, standard deviation in pixels.
        memory: correlation of that error from frame to frame.
        ragged: error of the outline in blobs of 5 pixels, standard deviation in pixels.
        doubt: noise of the score, in logits; None for a model without scores.
    """

    seed: int
    wrong: tuple[float, float]
    switch: tuple[float, float]
    switch_length: float
    miss: float
    part: float
    merge: float
    edge: float
    memory: float
    ragged: float
    doubt: float | None
    ghost: float = 0.5


SEGMENTERS = {
    "soc": Segmenter(
        seed=1, wrong=(0.08, 0.35), switch=(0.01, 0.02), switch_length=6, miss=0.02, part=0.05, merge=0.02,
        edge=1.0, memory=0.8, ragged=0.4, doubt=1.2,
    ),
    "mutr": Segmenter(
        seed=2, wrong=(0.08, 0.22), switch=(0.01, 0.02), switch_length=5, miss=0.02, part=0.05, merge=0.04,
        edge=1.2, memory=0.7, ragged=1.8, doubt=None,
    ),
    "referformer": Segmenter(
        seed=3, wrong=(0.08, 0.22), switch=(0.02, 0.04), switch_length=2.5, miss=0.06, part=0.08, merge=0.03,
        edge=1.2, memory=0.3, ragged=0.6, doubt=1.2,
    ),
    "uninext": Segmenter(
        seed=4, wrong=(0.05, 0.10), switch=(0.07, 0.22), switch_length=1, miss=0.04, part=0.05, merge=0.04,
        edge=0.8, memory=0.0, ragged=0.3, doubt=0.8,
    ),
    "uninext_convnext": Segmenter(
        seed=5, wrong=(0.06, 0.12), switch=(0.08, 0.26), switch_length=1, miss=0.05, part=0.06, merge=0.05,
        edge=0.9, memory=0.0, ragged=0.4, doubt=0.8,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """A rendered clip as the segmenters see it.

    Attributes:
        scene: its scene.
        ids: uint8 [T, H, W], the visible object at each pixel.
        margins: float32 [T, objects + 1, H, W]; signed distance to each object's outline in pixels, positive inside.
            Entry 0, for no object, is very negative everywhere.
    """

    scene: Scene
    ids: np.ndarray
    margins: np.ndarray

    @classmethod
    def of(cls, scene: Scene, ids: np.ndarray) -> View:
        margins = np.full((len(ids), len(scene.objects) + 1, *ids.shape[1:]), NOWHERE, np.float32)
        for t, k in np.ndindex(len(ids), len(scene.objects)):
            mask = (ids[t] == k + 1).view(np.uint8)
            if mask.any():
                inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (mask, 1 - mask))
                margins[t, k + 1] = np.where(mask, inside - 0.5, 0.5 - outside)
        return cls(scene, ids, margins)

    def rival(self, t: int, own: int) -> int:
        """The object most easily confused with object `own` at frame t: its twin, the nearest visible one, or 0."""
        appearance = self.scene.objects[own - 1].appearance
        seen = [k for k in range(1, self.margins.shape[1]) if k != own and self.margins[t, k].max() > 0]
        twins = [k for k in seen if self.scene.objects[k - 1].appearance == appearance]
        own_mask = self.margins[t, own] > 0
        if twins or not own_mask.any():
            return (twins or seen or [0])[0]
        return max(seen, key=lambda k: self.margins[t, k][own_mask].max(), default=0)

    def strain(self, own: int) -> np.ndarray:
        """Difficulty of each frame, float [T]: 1 where object `own` is most visible, up to 3 where it is hidden."""
        areas = (self.ids == own).sum((1, 2))
        return 3 - 2 * np.sqrt(areas / max(areas.max(), 1))


def segment(model: Segmenter, view: View, own: int, by_appearance: bool, seed: Sequence[int]):
    """The prediction of a model for a sentence.

    Args:
        model: the model.
        view: the clip.
        own: id of the object that the sentence refers to.
        by_appearance: whether one frame is enough to understand the sentence.
        seed: of the clip and the sentence.

    Returns:
        margins float32 [T, H, W], positive inside the mask, in pixels; scores float32 [T], or None.
    """
    difficulty = HARD if np.random.default_rng(seed).random() < HARD_SHARE else EASY  # the same for every model
    rng = np.random.default_rng([*seed, model.seed])
    targets = _targets(model, view, own, by_appearance, difficulty, rng)
    margins = np.stack(list(_margins(model, view, targets, rng)))
    return margins, None if model.doubt is None else _scores(model, view, own, targets, margins > 0, rng)


def _targets(model: Segmenter, view: View, own: int, by_appearance: bool, difficulty: float, rng) -> list[int]:
    """The object that the model follows at each frame, 0 for none."""
    length, kind = len(view.ids), 0 if by_appearance else 1
    strain = view.strain(own)
    lost = np.zeros(length, bool)
    if rng.random() < model.wrong[kind] * difficulty:
        span = int(rng.uniform(0.4, 1) * length)
        start = rng.integers(length - span + 1)
        lost[start : start + span] = True
    for t in np.flatnonzero(rng.random(length) < model.switch[kind] * strain):
        lost[t : t + rng.geometric(1 / model.switch_length)] = True
    missed, ghost = rng.random(length) < model.miss * strain, rng.random(length) < model.ghost
    targets, other = [], 0
    for t in range(length):
        seen = (view.margins[t, own] > 0).any()
        keeps = other and t and lost[t - 1] and (view.margins[t, other] > 0).any()  # keeps the same other object
        other = other if keeps else view.rival(t, own)
        if missed[t] or (not seen and not lost[t] and not ghost[t]):
            targets.append(0)
        else:
            targets.append(other if lost[t] or not seen else own)
    return targets


def _margins(model: Segmenter, view: View, targets: list[int], rng):
    """The margin of every frame in turn, float32 [H, W]."""
    size = view.ids.shape[1:]
    pixel = size[0] / ROWS
    swell = rng.normal(0, 0.4)
    blots = smooth_noise(size, max(int(22 * pixel), 2), rng)
    for t, target in enumerate(targets):
        fresh = smooth_noise(size, max(int(22 * pixel), 2), rng)
        blots = model.memory * blots + np.sqrt(1 - model.memory**2) * fresh
        fringe = smooth_noise(size, max(int(5 * pixel), 1), rng)
        part, merge = rng.random() < model.part, rng.random() < model.merge
        margin = view.margins[t, target]
        if part and target:
            margin = np.minimum(margin, _half_plane(margin, rng))
        if merge and target:
            margin = np.maximum(margin, view.margins[t, view.rival(t, target)])
        yield margin + np.float32(pixel) * (swell + model.edge * blots + model.ragged * fringe).astype(np.float32)


def _half_plane(margin: np.ndarray, rng) -> np.ndarray:
    """Signed distance to a line that separates 15 to 60 % of the mask, float32 [H, W]."""
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[: margin.shape[0], : margin.shape[1]]
    along = np.float32(np.cos(angle) * xs + np.sin(angle) * ys)
    return along - np.quantile(along[margin > 0], rng.uniform(0.15, 0.6))


def _scores(model: Segmenter, view: View, own: int, targets: list[int], masks: np.ndarray, rng) -> np.ndarray:
    """P grows with the true quality, but is more than half as high for a wrong object, and noisy."""
    length = len(masks)
    offset, drift, noise = rng.normal(), np.cumsum(rng.normal(size=length)) / np.sqrt(length), rng.normal(size=length)
    scores = []
    for t, target in enumerate(targets):
        right = _iou(masks[t], view.ids[t] == own) if masks[t].any() else 0.0
        followed = _iou(masks[t], view.ids[t] == target) if target else 0.0
        conviction = 0.4 * right + 0.6 * followed
        doubt = model.doubt * (0.5 * offset + 0.5 * drift[t] + 0.7 * noise[t])
        scores.append(1 / (1 + np.exp(-(5 * (conviction - 0.55) + doubt))))
    return np.float32(scores)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0
