"""Mask logits as networks return them, at a quarter of the input's size; masks are computed when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import Masks


@dataclass(frozen=True)
class LogitMasks:
    """Probabilities [T, H, W] that are stored as small logits: 36 frames take 1 MB instead of the 33 MB of 720p.

    float16 is precise enough: it moves the edge of a mask by about a thousandth of a pixel.

    Attributes:
        logits: T frames, float16 or float32 [h4, w4].
        size: (H, W) of the clip.
        rule: how they are upsampled. "bilinear": directly to the clip's size (ReferFormer, MUTR, SOC). "x4_nearest":
            bilinearly by 4, cropped to the network's input, then to the clip's size by nearest neighbour (UNINEXT);
            "x4_bilinear": the same with a bilinear second step.
        inside: (h, w) of the network's input, without its padding; for the "x4" rules.
    """

    logits: Masks
    size: tuple[int, int]
    rule: Literal["bilinear", "x4_nearest", "x4_bilinear"] = "bilinear"
    inside: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W) of the probabilities."""
        return (self.logits.shape[0], *self.size)

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return np.dtype(np.uint8)

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < self.shape[0]:
            raise IndexError(f"frame {t} of {self.shape[0]}")
        return probability(grow(np.asarray(self.logits[t], np.float32), self.size, self.rule, self.inside))


def grow(
    logits: np.ndarray, size: tuple[int, int], rule: str = "bilinear", inside: tuple[int, int] | None = None
) -> np.ndarray:
    """Logits at the clip's size, float32 [H, W]; pixel centres as in torch with `align_corners=False`.

    Args:
        logits: float32 [h4, w4].
        size, rule, inside: see `LogitMasks`.

    >>> grow(np.float32([[0, 4]]), (1, 4)).tolist()
    [[0.0, 1.0, 3.0, 4.0]]
    """
    if rule == "bilinear":
        return cv2.resize(logits, size[::-1], interpolation=cv2.INTER_LINEAR)
    large = cv2.resize(logits, (4 * logits.shape[1], 4 * logits.shape[0]), interpolation=cv2.INTER_LINEAR)
    if rule == "x4_bilinear":
        return cv2.resize(large[: inside[0], : inside[1]], size[::-1], interpolation=cv2.INTER_LINEAR)
    rows, columns = (_nearest(n, new) for n, new in zip(inside, size, strict=True))
    return large[rows[:, None], columns]


def probability(logits: np.ndarray) -> np.ndarray:
    """sigmoid as uint8, so that `p > 0.5` stays exactly `> 127`; works in place on its input.

    >>> probability(np.float32([[-20, 0, 1e-3, 20]])).tolist()
    [[0, 127, 128, 255]]
    """
    x = np.clip(logits, -80, 80, out=logits)
    cv2.exp(np.negative(x, out=x), dst=x)
    x += 1
    np.divide(255, x, out=x)
    x -= 0.5
    return np.ceil(x, out=x).astype(np.uint8)


def confidence(probability: np.ndarray, over: Literal["frame", "mask"] = "frame") -> float:
    """The mean of a frame's pixel-wise final scores, 0..1: how probable the label is that each pixel gets.

    Args:
        probability: of the object, uint8 [H, W], 0..255.
        over: the pixels it is the mean of: the whole frame, or the mask alone (0 where that is empty).

    Source: Seo et al., URVOS, ECCV 2020: "averaging the pixel-wise final segmentation scores"; which pixels, it does
    not say.

    >>> p = np.uint8([[255, 153, 0, 0]])
    >>> confidence(p), confidence(p, "mask")
    (0.9, 0.8)
    """
    inside = probability > 127
    if over == "frame":
        return float(np.where(inside, probability, 255 - probability).mean() / 255)
    return float(probability[inside].mean() / 255) if inside.any() else 0.0


def _nearest(n: int, new: int) -> np.ndarray:
    """The source index of each of `new` pixels, in torch's single precision."""
    at = np.floor(np.arange(new, dtype=np.float32) * (np.float32(n) / np.float32(new)))
    return np.minimum(at.astype(int), n - 1)
