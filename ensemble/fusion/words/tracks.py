"""What is measured of each tracklet in some frames: place, size, and colours; nothing is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.fusion.words import colour
from rvos_ensemble.ensemble.fusion.words.camera import camera_path, small_picture

PIXELS = 4000  # of a mask and frame whose colours are looked at


@dataclass(frozen=True)
class Tracks:
    """Measurements of P tracklets in F frames; NaN where a tracklet has no mask. Lengths are shares of the frame.

    Attributes:
        names: of the tracklets.
        frames: indices of the frames.
        x, y: centre of the mask, float64 [P, F], 0..1; y grows downwards.
        bottom: lower edge of the box, float64 [P, F], 0..1.
        height: of the box, float64 [P, F], 0..1.
        area: share of the frame, float64 [P, F]; 0 where a tracklet has no mask.
        camera: displacement of the background since the first frame, float64 [F, 2], (x, y); zeros if unknown.
        colours: shares of the basic colours, float64 [P, 11].
    """

    names: tuple[str, ...]
    frames: tuple[int, ...]
    x: np.ndarray
    y: np.ndarray
    bottom: np.ndarray
    height: np.ndarray
    area: np.ndarray
    camera: np.ndarray
    colours: np.ndarray

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over the frames in which each tracklet is visible, [P]; 0 for one that never is."""
        seen = np.isfinite(values)
        return np.where(seen, values, 0).sum(1) / np.maximum(seen.sum(1), 1)

    @property
    def visible(self) -> np.ndarray:
        """Share of the frames in which each tracklet has a mask, [P]."""
        return (self.area > 0).mean(1)


def measure(
    objects: Mapping[str, MaskSequence], frames: Sequence[int], read: Callable[[int], np.ndarray], moves: bool = True
) -> Tracks:
    """Measures tracklets.

    Args:
        objects: P of them, at least one.
        frames: indices of the F frames, ascending.
        read: frame as uint8 [H, W, 3] RGB.
        moves: whether the motion of the camera is wanted.
    """
    shape = len(objects), len(frames)
    x, y, bottom, height = (np.full(shape, np.nan) for _ in range(4))
    area, colours, background = np.zeros(shape), np.zeros((*shape, len(colour.BASIC))), []
    for f, t in enumerate(frames):
        frame, anything = read(t), None
        for p, sequence in enumerate(objects.values()):
            mask = np.ascontiguousarray(sequence.mask(t))
            anything = mask if anything is None else anything | mask
            if not mask.any():
                continue
            h, w = mask.shape
            moments, (_, top, _, tall) = cv2.moments(mask.view(np.uint8), True), cv2.boundingRect(mask.view(np.uint8))
            area[p, f] = moments["m00"] / (h * w)
            x[p, f] = (moments["m10"] / moments["m00"] + 0.5) / w
            y[p, f] = (moments["m01"] / moments["m00"] + 0.5) / h
            bottom[p, f], height[p, f] = (top + tall) / h, tall / h
            pixels = frame[mask]
            colours[p, f] = colour.shares(pixels[:: max(1, len(pixels) // PIXELS)])
        if moves:
            background.append(small_picture(frame, ~anything))
    camera = camera_path(background) if moves else np.zeros((len(frames), 2))
    count = np.maximum((area > 0).sum(1), 1)[:, None]
    return Tracks(tuple(objects), tuple(frames), x, y, bottom, height, area, camera, colours.sum(1) / count)
