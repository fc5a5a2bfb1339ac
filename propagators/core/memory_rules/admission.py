"""Distractor-aware admission: which frames a memory keeps, so that similar objects near the target are told apart.

The memory has two parts. The recent frames show what the object looks like now: the previous frame and one frame in
five, none without the object. The anchors show what the object is not: frames on which the network is sure of its mask
while another of its candidates covers something else too. Anchors are read like key frames, without a position in time.

Source: Videnovic, Lukezic, Kristan, "A Distractor-Aware Memory for Visual Object Tracking with SAM2", CVPR 2025,
arXiv 2411.17576, from the paper. Where the paper leaves a choice, this is ours: the median is that of earlier frames; a
frame on which the object is not visible delays the next recent frame; the key frame counts as the first anchor, so that
the next one is more than `apart` frames later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import cv2
import numpy as np


@dataclass(frozen=True)
class Sighting:
    """What a propagated frame shows of a sequence.

    Attributes:
        area: share of the picture that the mask covers; 0 if the object is not visible.
        iou: the predicted IoU of the mask.
        box_iou: the smallest IoU of the box of the mask with its box when a distractor is added, see `distraction`.
    """

    area: float
    iou: float
    box_iou: float = 1.0


class DistractorRule:
    """The decisions for one sequence, frame by frame.

    Args:
        settings: values for `settings.DISTRACTORS`.
    """

    def __init__(self, settings: Mapping[str, Any]):
        self.settings = dict(settings)
        self.areas: deque[float] = deque(maxlen=settings["window"])
        self.since_anchor = self.since_recent = 0  # frames since the last one that was added

    def fork(self) -> DistractorRule:
        """An independent rule in the same state."""
        copy = DistractorRule(self.settings)
        copy.areas, copy.since_anchor, copy.since_recent = self.areas.copy(), self.since_anchor, self.since_recent
        return copy

    def key_frame(self, area: float) -> None:
        """A key frame, with the area of its mask as a share of the picture."""
        self.areas.append(area)
        self.since_anchor = self.since_recent = 0

    def decide(self, seen: Sighting) -> tuple[bool, bool]:
        """Whether a propagated frame stays among the recent frames, and whether it becomes an anchor.

        It is the previous frame of the next one in any case, if the object is visible.
        """
        s = self.settings
        self.since_anchor += 1
        self.since_recent += 1
        stays = seen.area > 0 and self.since_recent >= s["gap"]
        anchor = (
            seen.iou > s["min_iou"]
            and self._usual(seen.area)
            and seen.box_iou <= s["max_box_iou"]
            and self.since_anchor > s["apart"]
        )
        self.areas.append(seen.area)
        if stays:
            self.since_recent = 0
        if anchor:
            self.since_anchor = 0
        return stays, anchor

    def _usual(self, area: float) -> bool:
        """Whether an area is near the median of the last areas that are not 0."""
        s = self.settings
        known = [a for a in self.areas if a > 0][-s["areas"] :]
        return area > 0 and bool(known) and abs(area / median(known) - 1) <= s["area_change"]


def distraction(mask: np.ndarray, alternatives: Sequence[np.ndarray]) -> float:
    """How much a candidate would extend the box of a mask.

    Of each alternative, the largest connected part outside the mask is added to the mask. The result is the smallest
    IoU of the boxes of the mask before and after that: 1 if no alternative covers anything outside the box.

    >>> mask = np.array([[1, 1, 0, 0]], bool)
    >>> distraction(mask, [np.array([[1, 0, 0, 0]], bool)]), distraction(mask, [np.array([[0, 1, 0, 1]], bool)])
    (1.0, 0.5)

    Args:
        mask: bool [h, w], the chosen candidate.
        alternatives: bool [h, w] each, the other candidates.

    Returns:
        In 0..1; 1 for an empty mask.
    """
    if not mask.any():
        return 1.0
    return min((_box_iou(mask, mask | _largest_part(other & ~mask)) for other in alternatives), default=1.0)


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected component (8 neighbours) of a bool mask, the first of equals; empty of an empty mask."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    return labels == 1 + int(areas.argmax()) if len(areas) else np.zeros_like(mask)


def _box_iou(inner: np.ndarray, outer: np.ndarray) -> float:
    """IoU of the bounding boxes of two bool masks, the first of which lies within the second."""
    return _box_area(inner) / _box_area(outer)


def _box_area(mask: np.ndarray) -> int:
    """Pixels of the bounding box of a mask that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))
