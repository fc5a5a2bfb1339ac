"""Scene cuts: neighbouring frames whose colours differ so much that they belong to different shots.

Source: the scene-change test of SeC, Zhang et al., "SeC: Advancing Complex Video Object Segmentation via Progressive
Concept Construction", arXiv 2507.15852.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.propagators.core.propagator import Frame

BINS = (60, 80)  # of hue and saturation
DISTANCE = 0.35  # a larger distance of neighbouring frames is a cut


def histogram(image: np.ndarray) -> np.ndarray:
    """The histogram of hue and saturation, over all pixels.

    The image is not made smaller: with fewer pixels per bin, the distance between two frames of one shot increases (the
    largest of five DAVIS clips is 0.13 at 480x854, and 0.19 with every third row and column).

    Args:
        image: uint8 [H, W, 3] RGB.

    Returns:
        float32 [60, 80], the number of pixels.
    """
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    return cv2.calcHist([hsv], [0, 1], None, list(BINS), [0, 180, 0, 256])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Bhattacharyya distance of two histograms, sqrt(1 - sum sqrt(p q)) with p and q normalised to sum 1.

    >>> distance(np.float32([[4, 0]]), np.float32([[2, 0]])), distance(np.float32([[4, 0]]), np.float32([[0, 1]]))
    (0.0, 1.0)

    Args:
        a, b: histograms of the same shape, not all zero.

    Returns:
        0 for equal distributions, 1 for distributions without a common bin.
    """
    p, q = (x.astype(np.float64) / x.sum(dtype=np.float64) for x in (a, b))
    return float(np.sqrt(max(0.0, 1 - np.sqrt(p * q).sum())))


def distances(images: Iterable[np.ndarray]) -> np.ndarray:
    """The distance of every frame to the previous one; only two histograms are in memory at a time.

    Args:
        images: T frames, uint8 [H, W, 3] RGB.

    Returns:
        float64 [T], 0 for the first frame.
    """
    result, previous = [], None
    for image in images:
        current = histogram(image)
        result.append(0.0 if previous is None else distance(previous, current))
        previous = current
    return np.array(result)


def shots(distances: np.ndarray, threshold: float = DISTANCE) -> list[range]:
    """The shots of a clip.

    >>> shots(np.array([0, 0.1, 0.8, 0.2]))
    [range(0, 2), range(2, 4)]

    Args:
        distances: of every frame to the previous one, [T], from `distances`.
        threshold: a shot begins where the distance is larger.

    Returns:
        Ranges of frame indices that cover the clip in order.
    """
    starts = [0, *(int(t) for t in np.flatnonzero(distances > threshold) if t > 0), len(distances)]
    return [range(a, b) for a, b in pairwise(starts)]


class ClipShots:
    """The shots of a clip. Its frames are decoded at the first call, once whatever the number of calls."""

    def __init__(self, clip: Clip):
        self.clip, self.distances = clip, None

    def __call__(self, threshold: float) -> Sequence[range]:
        """See `shots`."""
        if self.distances is None:
            self.distances = distances(self.clip.read(t) for t in range(len(self.clip)))
        return shots(self.distances, threshold)


class CutDetector:
    """Tells a sweep at which frames the shot changes; the histogram of a frame is computed once for both sweeps.

    Args:
        threshold: the distance above which neighbouring frames belong to different shots; None: there are no cuts, and
            nothing is computed.
    """

    def __init__(self, threshold: float | None):
        self.threshold, self.previous = threshold, None

    def is_cut(self, frame: Frame) -> bool:
        """Whether the shot changes between the frame of the previous call, its neighbour, and this frame."""
        if self.threshold is None:
            return False
        if "hsv histogram" not in frame.memo:
            frame.memo["hsv histogram"] = histogram(frame.image)
        previous, self.previous = self.previous, frame.memo["hsv histogram"]
        return previous is not None and distance(previous, self.previous) > self.threshold

    def reset(self) -> None:
        """The next frame is no neighbour of the previous one."""
        self.previous = None
