"""Training samples of the judge: tracklets of a clip, expressions, and which of them match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.datasets.mevis import Mevis
from rvos_ensemble.adapters.datasets.shapes.mevis.clips import mevis_pair
from rvos_ensemble.adapters.files.readers.coco_rle import decode
from rvos_ensemble.adapters.training.grounding.tracklets import simulate
from rvos_ensemble.adapters.training.samples.rendered import LENGTH
from rvos_ensemble.adapters.training.samples.sample import ENDLESS, spread_indices


@dataclass(frozen=True)
class ReferringClip:
    """Some frames of a clip, its objects, and expressions that refer to any number of them.

    Attributes:
        images: uint8 [T, H, W, 3] RGB.
        ids: uint8 [T, H, W], the object visible at each pixel, from 1; 0 is background.
        expressions: pairs (text, ids of the objects it refers to); () refers to nothing.
    """

    images: np.ndarray
    ids: np.ndarray
    expressions: Sequence[tuple[str, tuple[int, ...]]]


class RenderedReferring:
    """Clips of the MeViSv2 form of `shapes`, rendered on demand; half of the expressions refer to nothing.

    Args:
        seed: another seed gives other clips.
        frames: T, spread over the clip.
        size: (H, W).
        split: "train", "val" or "test".

    Attributes:
        nothing: the share of expressions that refer to nothing.
    """

    nothing = 0.5

    def __init__(self, seed: int, frames: int, size: tuple[int, int], split: str):
        self.seed, self.frames, self.size, self.split = seed, frames, tuple(size), split

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> ReferringClip:
        times = np.round(np.linspace(0, LENGTH - 1, self.frames)) / (LENGTH - 1)
        shot, foils = mevis_pair(self.split, self.seed, index, None, times, self.size)
        expressions = [(e.text, e.objects) for e in shot.expressions] + [(e.text, ()) for e in foils]
        return ReferringClip(np.stack([p.image for p in shot.pictures]), shot.ids, expressions)


class MevisReferring:
    """Clips of a folder in the layout of MeViS, whose frames and annotated objects are read on demand.

    Args:
        root: the folder, with the split `train`.
        seed: another seed gives other clips and frames.
        frames: T, spread over the clip.
        size: (H, W) of the resized frames.

    Attributes:
        nothing: the share of expressions that refer to nothing.

    Raises:
        InputError: no clip with ground truth, no expression that refers to nothing, or files that cannot be read.
    """

    def __init__(self, root: str | Path, seed: int, frames: int, size: tuple[int, int]):
        self.seed, self.frames, self.size = seed, frames, tuple(size)
        clips = Mevis(root=str(root), split="train").clips()
        self.clips: list[Clip] = [clip for clip in clips if clip.truth is not None and len(clip) >= frames]
        if not self.clips:
            raise InputError(f"{root}: no video of the split train has masks and at least {frames} frames")
        targets = [bool(ids) for clip in self.clips for ids in clip.truth.annotations.values()]
        self.nothing = targets.count(False) / len(targets)
        if not 0 < self.nothing < 1:
            kind = "to nothing" if not self.nothing else "to an object"
            raise InputError(
                f"{root}: no expression of the split train refers {kind}, and a judge learns from both kinds"
            )

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> ReferringClip:
        rng = np.random.default_rng([self.seed, index])
        clip = self.clips[rng.integers(len(self.clips))]
        times = spread_indices(len(clip), self.frames, rng)
        images, ids = [], []
        truth, wide = clip.truth, self.size[::-1]
        for t in times:
            images.append(cv2.resize(clip.read(t), wide, interpolation=cv2.INTER_AREA))
            ids.append(np.zeros(self.size, np.uint8))
            for k, (name, runs) in enumerate(truth.runs.items(), 1):
                mask = decode(runs[t], clip.size, f"{truth.path}: annotation {name!r}, frame number {t}")
                ids[-1][cv2.resize(mask.view(np.uint8), wide, interpolation=cv2.INTER_NEAREST) > 0] = k
        number = {name: k for k, name in enumerate(truth.runs, 1)}
        texts = {e.id: e.text for e in clip.expressions}
        expressions = [(texts[e], tuple(number[i] for i in own)) for e, own in truth.annotations.items()]
        return ReferringClip(np.stack(images), np.stack(ids), expressions)


@dataclass(frozen=True)
class JudgeSample:
    """A clip with P tracklets and E expressions.

    Attributes:
        images: normalised frames that the visual encoder sees, float [looks, 3, H, W].
        masks: tracklets in these frames, float [looks, P, h, w].
        paths: of the tracklets in all frames, float [P, points, 4].
        rows: token numbers of each expression.
        match: float [E, P], 1 where the tracklet shows what the expression refers to, or a part of it.
    """

    images: Tensor
    masks: Tensor
    paths: Tensor
    rows: list[list[int]]
    match: Tensor


def tracklets_of(
    clip: ReferringClip, expressions: Sequence[tuple[str, tuple[int, ...]]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Tracklets as segmenters give them, in random order, and which expressions they match.

    They are the objects with errors, unions of those to which one expression refers, and distractors.

    Args:
        clip: objects in T frames.
        expressions: E of its expressions.
        rng: random generator.

    Returns:
        Masks bool [T, P, H, W], and matches float32 [E, P].
    """
    masks = list(simulate(clip.ids, rng).swapaxes(0, 1))  # P of [T, H, W]: the objects come first
    count = int(clip.ids.max(initial=0))
    shown = [{k} if k <= count else set() for k in range(1, len(masks) + 1)]  # the objects of each tracklet
    for own in dict.fromkeys(own for _, own in expressions if len(own) > 1):
        shown.append(set(own))
        masks.append(np.logical_or.reduce([masks[k - 1] for k in own]))
    order = rng.permutation(len(masks))
    match = [[bool(shown[p]) and shown[p] <= {*own} for p in order] for _, own in expressions]
    return np.stack([masks[p] for p in order], 1), np.array(match, np.float32)
