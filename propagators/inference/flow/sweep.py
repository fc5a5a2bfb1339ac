"""One pass of the propagator `flow`, see `propagators/flow.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import cv2
import numpy as np

from rvos_ensemble.adapters.core.masks import quantise
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.flow.appearance import AppearanceModel, features
from rvos_ensemble.propagators.inference.flow.fields import box, guided_filter, log_odds, motion_score, warp

PRESETS = {"ultrafast": 0, "fast": 1, "medium": 2}  # DISOPTICAL_FLOW_PRESET_*


class FlowSweep:
    """One pass: the mask of each sequence at the working size [h, w] and the appearance model of its object.

    Args:
        settings: those of `Flow`.
        size: (H, W) of the frames.
    """

    def __init__(self, settings: SimpleNamespace, size: tuple[int, int]):
        scale = settings.max_side / max(size)
        scale = max(min(1, scale), 32 / min(size))  # DIS needs a few patches per side
        self.settings = settings
        self.full = size[::-1]  # (W, H) as OpenCV expects
        self.work = tuple(max(32, round(side * scale)) for side in self.full)
        self.dis = cv2.DISOpticalFlow_create(PRESETS[settings.preset])
        self.dis.setVariationalRefinementIterations(0)  # they cost 0.02 J of plain warping and 1.6 x the time
        self.masks: dict[int, np.ndarray] = {}
        self.appearance: dict[int, AppearanceModel] = {}
        self.previous: Frame | None = None

    def step(self, frame: Frame, references: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Processes the next frame; see `propagators.core.propagator.Sweep`."""
        results = {}
        # a sequence that has lost its object stays empty
        running = [i for i in self.masks if i not in references and self.masks[i].max() > 0.05]
        if running or references:
            self._prepare(frame)
        flow, check = self._flow(frame) if running else (None, None)
        for i in self.masks:
            if i in running:
                self.masks[i], results[i] = self._propagate(i, frame, flow, check)
            elif i not in references:
                results[i] = np.zeros(self.full[::-1], np.uint8)
        for i, mask in references.items():
            self.masks[i] = cv2.resize(mask.astype(np.float32), self.work, interpolation=cv2.INTER_AREA)
            self.appearance[i] = AppearanceModel(frame.memo["features"], self.masks[i])
            results[i] = mask.astype(np.uint8) * np.uint8(255)
        self.previous = frame
        return results

    def correct(self, masks: Mapping[int, np.ndarray]) -> None:
        """Sequences continue from these masks; see `propagators.core.propagator.Propagator.corrects`."""
        for i, mask in masks.items():
            self.masks[i] = cv2.resize(mask.astype(np.float32) / 255, self.work, interpolation=cv2.INTER_AREA)

    def _prepare(self, frame: Frame) -> None:
        """Computes what depends on the frame alone, unless the other sweep has done it."""
        if "grey" not in frame.memo:
            small = cv2.resize(frame.image, self.work, interpolation=cv2.INTER_AREA)
            frame.memo["grey"] = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
            frame.memo["features"] = features(small)

    def _flow(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        """Flow from this frame to the previous one, [h, w, 2] in pixels, and its reliability, [h, w] in 0..1."""
        back, forth = self._between(frame, self.previous), self._between(self.previous, frame)
        error, length = np.linalg.norm(back + warp(forth, back), axis=2), np.linalg.norm(back, axis=2)
        return back, np.exp(-np.square(error / (1 + 0.1 * length)))

    def _between(self, a: Frame, b: Frame) -> np.ndarray:
        """Flow from frame a to frame b, [h, w, 2] in pixels."""
        if ("flow", b.t) not in a.memo:
            a.memo["flow", b.t] = self.dis.calc(a.memo["grey"], b.memo["grey"], None)
        return a.memo["flow", b.t]

    def _propagate(self, i: int, frame: Frame, flow: np.ndarray, check: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mask of sequence i on this frame: float32 [h, w] for the next step, and uint8 [H, W] as the result."""
        s = self.settings
        prior = warp(self.masks[i], flow)
        odds = (0.3 + 0.7 * check) * log_odds(prior)
        if s.appearance:
            odds += s.appearance * 4 * self.appearance[i].score(frame.memo["features"], self.work)
        if s.motion:
            odds += s.motion * check * motion_score(flow, prior, check)
        reach = max(2, self.work[0] // 40)  # a mask grows by at most 5 % of the width per frame
        near = box(box((prior > 0.5).astype(np.float32), reach), reach)
        mask = 1 / (1 + np.exp(-odds)) * (near > 1e-6)
        grey = frame.memo["grey"].astype(np.float32) / 255
        slope, offset = guided_filter(grey, mask, s.edge_radius) if s.edge_radius else (np.zeros_like(mask), mask)
        if s.learn:
            self.appearance[i].learn(frame.memo["features"], mask, s.learn)
        full_grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        result = cv2.resize(slope, self.full) * full_grey + cv2.resize(offset, self.full)
        return np.clip(slope * grey + offset, 0, 1), quantise(np.clip(result, 0, 1))
