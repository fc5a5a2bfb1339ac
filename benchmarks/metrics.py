"""Milliseconds per frame of J and F: this package, and the definition written with cv2.dilate and NumPy.

    python -m benchmarks.metrics

CPU time of one thread, the best of several rounds in which all take turns; all numbers of both are compared first.
"""

from __future__ import annotations

import time

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.metrics.scores import j_and_f, score_many, score_sequence

FRAMES, SOURCES, ROUNDS = 24, 8, 5


def naive(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """J and F of bool [H, W], each step of the definition on the full frame."""
    radius = int(np.ceil(0.008 * np.linalg.norm(truth.shape)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    p, g = contour(prediction), contour(truth)
    near_p, near_g = (cv2.dilate(b.astype(np.uint8), disk).astype(bool) for b in (p, g))
    either = (prediction | truth).sum()
    j = (prediction & truth).sum() / either if either else 1.0
    if not p.any() or not g.any():
        return float(j), float(p.any() == g.any())
    precision, recall = (p & near_g).sum() / p.sum(), (g & near_p).sum() / g.sum()
    return float(j), float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def contour(mask: np.ndarray) -> np.ndarray:
    """Pixels whose 2x2 window to the right and below contains both values."""
    wide = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, corner = wide[:-1, 1:], wide[1:, :-1], wide[1:, 1:]
    return (mask ^ right) | (mask ^ below) | (mask ^ corner)


def masks(height: int, width: int, seed: int) -> np.ndarray:
    """bool [FRAMES, H, W]: a moving object of about a tenth of the frame, with a random ragged outline."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    out = []
    for t in range(FRAMES):
        ragged = cv2.resize(rng.standard_normal((height // 16, width // 16)), (width, height))
        distance = np.hypot(y - height * 0.5, (x - width * (0.35 + 0.01 * t)) * 0.8)
        out.append(distance + 0.02 * height * ragged < 0.24 * height)
    return np.stack(out)


def best(*functions, frames: int = FRAMES, rounds: int = ROUNDS) -> list[float]:
    """CPU milliseconds per frame of each function."""
    seconds = [float("inf")] * len(functions)
    for _ in range(rounds):
        for i, function in enumerate(functions):
            start = time.process_time()
            function()
            seconds[i] = min(seconds[i], time.process_time() - start)
    return [1000 * s / frames for s in seconds]


def main() -> None:
    cv2.setNumThreads(1)
    print(f"{'ms per frame':36}{'naive':>8}{'ours':>8}{'ratio':>8}")
    for height, width in ((480, 854), (720, 1280)):
        truth, *sources = (masks(height, width, seed) for seed in range(SOURCES + 1))
        packed_truth, *packed = (MaskSequence.binary(m) for m in (truth, *sources))
        named = {str(i): s for i, s in enumerate(packed)}
        expected = [naive(p, g) for p, g in zip(sources[0], truth, strict=True)]
        assert [j_and_f(p, g) for p, g in zip(sources[0], truth, strict=True)] == expected
        for scores in (score_sequence(packed[0], packed_truth), score_many(named, packed_truth)["0"]):
            assert list(zip(scores.J, scores.F, strict=True)) == expected
        slow, single, sequence, many = best(
            lambda p=sources[0], g=truth: [naive(*pair) for pair in zip(p, g, strict=True)],
            lambda p=sources[0], g=truth: [j_and_f(*pair) for pair in zip(p, g, strict=True)],
            lambda p=packed[0], g=packed_truth: score_sequence(p, g),
            lambda p=named, g=packed_truth: score_many(p, g),
        )
        rows = {
            "frames one by one": single,
            "a sequence in memory": sequence,
            f"each of {SOURCES} against one truth": many / SOURCES,
        }
        for name, ms in rows.items():
            print(f"{f'{height}p  {name}':36}{slow:8.2f}{ms:8.3f}{slow / ms:7.1f}x")


if __name__ == "__main__":
    main()
