"""The appearance of an object: a pixel classifier that is fitted in milliseconds from one mask, without any weights.

Colour and texture of a pixel at three scales become random Fourier features, which make a kernel classifier linear: to
fit it is to solve one small linear system, and to score a frame is one matrix product. The features do not depend on
the mask.

Source: Rahimi and Recht, Random Features for Large-Scale Kernel Machines, NIPS 2007.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from rvos_ensemble.propagators.inference.flow.fields import box

FEATURES = 128  # random Fourier features per pixel
LEARN_EVERY = 5  # frames between updates


class AppearanceModel:
    """Ridge regression from pixel features to object (+1) or background (-1), weighted by the distance to the object.

    `anchor` are the normal equations of the key frame, `recent` those of later results; both have the same weight.

    Args:
        features: of the key frame, float32 [h, w, FEATURES].
        mask: of the key frame, float32 in 0..1, of any size.
    """

    def __init__(self, features: np.ndarray, mask: np.ndarray):
        self.anchor = self.recent = self._equations(features, mask)
        self.age = 0
        self._solve()

    def score(self, features: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Scores of the pixels of a frame, about -1 (background) to 1 (object).

        Args:
            features: float32 [h, w, FEATURES].
            size: (W, H) of the result.

        Returns:
            float32 [H, W].
        """
        return cv2.resize(features @ self.weights, size)

    def learn(self, features: np.ndarray, mask: np.ndarray, rate: float) -> None:
        """Updates the model with a result, on every fifth call and only if the mask contains an object.

        Args:
            features: float32 [h, w, FEATURES].
            mask: float32 in 0..1, of any size.
            rate: the share of `recent` that is replaced.
        """
        self.age += 1
        if self.age % LEARN_EVERY or mask.max() < 0.7:
            return
        new = self._equations(features, mask)
        self.recent = tuple(old + rate * (n - old) for old, n in zip(self.recent, new, strict=True))
        self._solve()

    def _solve(self) -> None:
        (a, b), (c, d) = self.anchor, self.recent
        self.weights = np.linalg.solve((a + c) / 2 + 1e-3 * np.eye(len(b), dtype=np.float32), (b + d) / 2)

    @staticmethod
    def _equations(features: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The normal equations of a frame: [FEATURES, FEATURES] and [FEATURES]."""
        h, w, n = features.shape
        mask = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA)
        near = box(mask, max(1, round(0.15 * w)))
        near = 0.05 + near / max(near.max(), 1e-6)
        fg, bg = near * mask**2, near * (1 - mask) ** 2
        fg, bg = (0.4 * fg / max(fg.sum(), 1e-6)).ravel(), (0.6 * bg / max(bg.sum(), 1e-6)).ravel()
        x = features.reshape(-1, n)
        return x.T @ (x * (fg + bg)[:, None]), x.T @ (fg - bg)


def features(image: np.ndarray) -> np.ndarray:
    """Random Fourier features of colour and texture at three scales, float32 [h / 2, w / 2, FEATURES].

    Args:
        image: uint8 [h, w, 3] RGB.
    """
    h, w = image.shape[:2]
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) / np.float32([25, 15, 15])
    lab = cv2.resize(lab, (max(1, w // 2), max(1, h // 2)), interpolation=cv2.INTER_AREA)
    light = lab[..., 0]
    scales = [box(lab, r) for r in (1, 4, 10)]
    texture = [np.sqrt(np.maximum(box(light * light, r) - box(light, r) ** 2, 0)) * 2 for r in (1, 4, 10)]
    x = np.dstack([lab, *scales, *texture])
    directions, phase = fourier_basis(x.shape[2])
    return np.cos(x @ directions + phase)


@cache
def fourier_basis(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions [n, FEATURES] and phases [FEATURES] for a Gaussian kernel of width 2, the same in every process."""
    draw = np.random.RandomState(0)  # its stream does not change between NumPy versions
    directions = draw.standard_normal((n, FEATURES)) / 2
    return directions.astype(np.float32), draw.uniform(0, 2 * np.pi, FEATURES).astype(np.float32)
