"""Tracklet IoU and NMS compared with dense NumPy arrays, and the memory of a clip's candidates, on one core.

    python -m benchmarks.tracklets [--candidates 70] [--frames 36] [--pairs 0]

Time: 70 tracklets (10 objects, each detected in 7 key frames) of 36 frames at 720p: all IoUs of eq. 3, then NMS. The
dense side evaluates the formula on bool arrays for every pair, as fast as NumPy allows: areas are counted once, and
intersections with `np.count_nonzero(a & b)`. `--pairs N` also times N pairs of `(a & b).sum() / (a | b).sum()`. Our
side starts from packed masks, and also from bool masks, packing included. All must give the same numbers. CPU seconds.

Memory: 7 key frames x 20 candidates of a 36-frame clip at 480x854, from candidates to kept tracklets, in a separate
process: the increase of memory at the peak, compared with `BUDGET`. The propagator only shifts masks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import cv2
import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.ensemble.fusion.tracklets import nms, tracklet_iou
from rvos_ensemble.ensemble.steps.candidates import Candidates
from rvos_ensemble.ensemble.steps.tracklets import Tracklets
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Propagator

H, W = 720, 1280
SMALL = (480, 854)
BUDGET = 400  # MiB, for 140 candidates of 36 frames


def blob(random: np.random.Generator, size: tuple[int, int], centre: np.ndarray, radius: float) -> np.ndarray:
    """A mask with a ragged outline."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = radius * (1 + 0.08 * np.convolve(random.normal(size=60), np.ones(5) / 2, "same"))
    corners = centre + np.stack([outline * np.cos(angle) * 1.3, outline * np.sin(angle)], 1)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [corners.round().astype(np.int32)], 1)
    return mask.view(bool)


def tracks(candidates: int, frames: int) -> list[np.ndarray]:
    """Tracklets, bool [T, H, W] each: seven per object, with random outlines; 1 to 14 % of the frame."""
    tracklets = []
    for k in range(candidates):
        shared, own = np.random.default_rng(k // 7), np.random.default_rng([1, k])
        start, end = shared.uniform(0.1, 0.9, (2, 2)) * (W, H)
        radius = shared.uniform(50, 180)
        steps = np.linspace(0, 1, frames)[:, None]
        tracklets.append(np.stack([blob(own, (H, W), c, radius) for c in start + (end - start) * steps]))
    return tracklets


def dense(masks: list[np.ndarray]) -> np.ndarray:
    """IoU of all pairs of bool arrays, float64 [N, N]."""
    area = [np.count_nonzero(m) for m in masks]
    iou = np.eye(len(masks))
    for i in range(len(masks)):
        for j in range(i):
            common = np.count_nonzero(masks[i] & masks[j])
            iou[i, j] = iou[j, i] = common / (area[i] + area[j] - common)
    return iou


def textbook(masks: list[np.ndarray], pairs: int) -> float:
    """Seconds per pair."""
    started = time.process_time()
    for k in range(pairs):
        a, b = masks[k % len(masks)], masks[(3 * k + 1) % len(masks)]
        (a & b).sum() / (a | b).sum()
    return (time.process_time() - started) / pairs


class Shift(Propagator):
    """Moves every mask by two pixels per frame: a propagator that costs almost nothing."""

    def sweep(self, size, sequences):
        return ShiftSweep()


class ShiftSweep:
    """The sweep of `Shift`."""

    def __init__(self):
        self.masks: dict[int, np.ndarray] = {}

    def step(self, frame, given):
        self.masks = {i: np.roll(m, 2, axis=1) for i, m in self.masks.items()} | dict(given)
        return {i: cv2.blur(m.view(np.uint8) * np.uint8(255), (5, 5)) for i, m in self.masks.items()}


class Grey:
    """Grey frames."""

    size = SMALL

    def read(self, t: int) -> np.ndarray:
        return np.full((*SMALL, 3), 128, np.uint8)

    def fingerprint(self) -> str:
        return ""


def memory(frames: int, key_frames: int, a_frame: int, queue) -> None:
    """Puts (peak MiB above the start, tracklets kept) into the queue."""
    cv2.setNumThreads(1)
    clip = Clip("v", tuple(map(str, range(frames))), (Expression("v", "0", ""),), Grey())
    random = np.random.default_rng(0)
    objects = Objects()
    for i in range(a_frame):
        centre, radius = random.uniform(0.1, 0.9, 2) * SMALL[::-1], random.uniform(20, 110)
        masks = (blob(random, SMALL, centre + 2.0 * t, radius) for t in range(frames))
        objects[str(i)] = MaskSequence.binary(masks, random.random(frames))
    before = memory_mb("VmRSS")
    found = Candidates("c", inputs=["s"], k=key_frames, most=a_frame).run(clip, {"s": objects})
    jobs = [PropagationTask(s, (s.notes["key_frame"],)) for s in found.values()]
    moved = Objects(zip(found, propagate(clip, jobs, Shift()), strict=True))
    kept = Tracklets("n", input="t", scores_from="c").run(clip, {"t": moved, "c": found})
    queue.put((memory_mb("VmHWM") - before, len(found), len(kept)))


def memory_mb(what: str) -> float:
    """Resident memory of this process now (VmRSS) or at most (VmHWM), in MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what)) / 1024


def peak_of(frames: int = 36, key_frames: int = 7, a_frame: int = 20) -> tuple[float, int, int]:
    """(peak in MiB, candidates, tracklets kept), measured in a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=memory, args=(frames, key_frames, a_frame, queue))
    process.start()
    result = queue.get(timeout=600)
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--candidates", type=int, default=70)
    parser.add_argument("--frames", type=int, default=36)
    parser.add_argument("--pairs", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    masks = tracks(options.candidates, options.frames)
    packed = [MaskSequence.binary(m) for m in masks]
    scores = np.random.default_rng(0).random(len(masks))
    results, seconds = {}, {}
    sides = {
        "dense numpy": lambda: dense(masks),
        "ours": lambda: tracklet_iou(packed),
        "ours, packing included": lambda: tracklet_iou([MaskSequence.binary(m) for m in masks]),
    }
    for side, run in sides.items():
        started = time.process_time()
        iou = run()
        kept = nms(iou, scores, 0.5, 10)
        seconds[side] = time.process_time() - started
        results[side] = iou, kept
        assert np.array_equal(iou, results["dense numpy"][0]) and kept == results["dense numpy"][1], side
    area = np.mean([m.mean() for m in masks])
    print(f"{len(masks)} tracklets x {options.frames} frames, {W}x{H}, {100 * area:.1f} % of the frame each")
    for side, took in seconds.items():
        print(f"  {side:24} {took:8.2f} s  {seconds['dense numpy'] / took:6.1f}x")
    if options.pairs:
        pairs = len(masks) * (len(masks) - 1) / 2
        whole = textbook(masks, options.pairs) * pairs
        faster = whole / seconds["ours"]
        print(f"  textbook form            {whole:8.2f} s  (from {options.pairs} pairs); ours is {faster:.0f}x")
    peak, candidates, kept = peak_of()
    print(f"memory: {candidates} candidates, 36 frames, {SMALL[1]}x{SMALL[0]}, {kept} kept: {peak:.0f} MiB of {BUDGET}")


if __name__ == "__main__":
    main()
