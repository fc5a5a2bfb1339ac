"""Connected components of a mask, each of which may be an instance."""

from __future__ import annotations

import cv2
import numpy as np

MIN_SHARE = 0.05  # of the area of the largest component; own choice: specks are no instances


def components(mask: np.ndarray, min_share: float = MIN_SHARE) -> list[np.ndarray]:
    """The connected components of a mask, the largest first; pixels that touch at a corner are connected.

    Args:
        mask: bool [H, W].
        min_share: components with less than this share of the area of the largest are left out; at most 1.

    Returns:
        bool [H, W] each, at least one; none of an empty mask.

    >>> [c.astype(int).tolist() for c in components(np.array([[1, 0, 1, 1]], bool))]
    [[[0, 0, 1, 1]], [[1, 0, 0, 0]]]
    >>> len(components(np.array([[1, 0, 1, 1]], bool), min_share=0.75))
    1
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = [i for i in range(count - 1) if areas[i] >= min_share * areas.max()]
    return [labels == i + 1 for i in sorted(large, key=lambda i: -areas[i])]
