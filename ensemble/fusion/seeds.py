"""Connected components of a mask, each of which may be an instance."""

from __future__ import annotations

import cv2
import numpy as np

MIN_SHARE = 0.05  # of the area of the mask; own choice: specks are no instances


def components(mask: np.ndarray, min_share: float = MIN_SHARE) -> list[np.ndarray]:
    """The connected components of a mask, the largest first; pixels that touch at a corner are connected.

    Args:
        mask: bool [H, W].
        min_share: components with a smaller share of the area of the mask are left out.

    Returns:
        bool [H, W] each; none of an empty mask.

    >>> [c.astype(int).tolist() for c in components(np.array([[1, 0, 1, 1]], bool))]
    [[[0, 0, 1, 1]], [[1, 0, 0, 0]]]
    >>> len(components(np.array([[1, 0, 1, 1]], bool), min_share=0.5))
    1
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = [i for i in range(count - 1) if areas[i] >= min_share * areas.sum()]
    return [labels == i + 1 for i in sorted(large, key=lambda i: -areas[i])]
