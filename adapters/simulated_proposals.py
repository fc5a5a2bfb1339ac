"""Object proposals simulated from ground truth with the errors of a segmenter, for tests and the embedded default."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import number, whole


class SimulatedProposals(Adapter):
    """Simulated: the objects of the ground truth, some missed, cut, merged or detected twice, and false detections.

    No network is involved. Scores grow with the overlap with the truth and are noisy, so that some false proposals have
    higher scores than some correct ones.

    Settings:
        seed: selects the errors; several sources with different seeds simulate several segmenters.
        miss, cut, merge, twice: how often an object in a frame is missed; loses a part; is merged with another; is
            detected twice.
        ghosts: mean number of false proposals per frame.
        outline: error of the outline, relative to the size of the object.
    """

    objects = True
    defaults = {
        "seed": whole(0),
        "miss": number(0.15, least=0, most=1),
        "cut": number(0.12, least=0, most=1),
        "merge": number(0.08, least=0, most=1),
        "twice": number(0.25, least=0, most=1),
        "ghosts": number(0.8, least=0, most=100),
        "outline": number(0.06, least=0, most=1),
    }

    def predict(self, clip: Clip) -> Objects:
        """The proposals: the i-th object is the i-th best proposal of every frame."""
        frames = [self._frame(clip, masks, t) for t, masks in enumerate(_truths(clip))]
        objects = Objects()
        for i in range(max(map(len, frames))):
            ith = [f[i] if i < len(f) else (0.0, np.zeros(clip.size, bool)) for f in frames]
            objects[str(i)] = MaskSequence.binary((mask for _, mask in ith), [score for score, _ in ith])
        return objects

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Clips without ground truth."""
        return [
            f"simulated_proposals: clip {c.name!r} has no ground truth to simulate from" for c in clips if not c.truth
        ]

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the ground truth."""
        return clip.truth.fingerprint()

    def label(self) -> str:
        """ "simulated"."""
        return "simulated"

    def _frame(self, clip: Clip, masks: list[np.ndarray], t: int) -> list[tuple[float, np.ndarray]]:
        """(score, mask) of the proposals of a frame, best first."""
        s = self.settings
        rng = np.random.default_rng([s.seed, zlib.crc32(clip.name.encode()), t])
        proposals = []
        for own, mask in enumerate(masks):
            for second in (False, True):
                if not mask.any() or rng.random() < (1 - s.twice if second else s.miss):
                    continue
                guess = _moved(mask, s.outline * (2 if second else 1), rng)
                if rng.random() < s.cut:
                    guess = _cut(guess, rng)
                others = [m for i, m in enumerate(masks) if i != own and m.any()]
                if others and rng.random() < s.merge:
                    guess = guess | others[rng.integers(len(others))]
                if guess.any():
                    iou = np.count_nonzero(guess & mask) / np.count_nonzero(guess | mask)
                    proposals.append((_score(6 * (iou - 0.5), rng), guess))
        for _ in range(rng.poisson(s.ghosts)):
            proposals.append((_score(-1.0, rng), _ghost(clip.size, rng)))
        return sorted(proposals, key=lambda p: -p[0])


def _truths(clip: Clip) -> Iterator[list[np.ndarray]]:
    """For each frame the masks of all objects that expressions refer to, each once, bool [H, W]."""
    if clip.truth is None:
        raise InputError(f"simulated_proposals: clip {clip.name!r} has no ground truth to simulate from")
    sequences = [s for e in clip.expressions if (s := clip.truth.read(e.id)) is not None]
    for t in range(len(clip)):
        masks = [s.mask(t) for s in sequences]
        yield list({mask.tobytes(): mask for mask in masks}.values())  # several sentences refer to one object


def _moved(mask: np.ndarray, error: float, rng: np.random.Generator) -> np.ndarray:
    """The mask, dilated or eroded, and shifted, by an error relative to its size."""
    reach = max(1, round(error * float(np.sqrt(np.count_nonzero(mask)))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    change = (cv2.erode, cv2.dilate)[rng.integers(2)]
    shift = np.float32([[1, 0, rng.integers(-reach, reach + 1)], [0, 1, rng.integers(-reach, reach + 1)]])
    shifted = cv2.warpAffine(mask.view(np.uint8), shift, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return change(shifted, kernel).view(bool)


def _cut(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask without 20 to 60 % of its pixels, on one side of a line."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.nonzero(mask)
    along = np.cos(angle) * x + np.sin(angle) * y
    kept = mask.copy()
    cut = along < np.quantile(along, rng.uniform(0.2, 0.6)) if len(x) else slice(0)
    kept[y[cut], x[cut]] = False
    return kept


def _ghost(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """An ellipse at a random position."""
    mask = np.zeros(size, np.uint8)
    axes = [max(2, int(a)) for a in rng.uniform(0.04, 0.2, 2) * size[0]]
    centre = [int(c) for c in rng.uniform(0, 1, 2) * size[::-1]]
    cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask.view(bool)


def _score(logit: float, rng: np.random.Generator) -> float:
    return float(1 / (1 + np.exp(-logit - 0.8 * rng.normal())))
