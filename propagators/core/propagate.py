"""Forward and backward from the key frames: all mask sequences of a clip in one sweep in each direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.compressed_masks import CompressedMasks
from rvos_ensemble.propagators.core.frame_cache import FrameCache
from rvos_ensemble.propagators.core.propagator import Propagator, Sweep

CACHE_MB = 1024


@dataclass(frozen=True)
class PropagationTask:
    """One sequence to propagate.

    Attributes:
        sequence: the masks that contain the key masks; binary or prob, at the size of the clip.
        key_frames: indices of the frames to trust.
        empty_key: the result if all key masks are empty: "empty", empty masks on all frames, or "copy", the input
            unchanged (the behaviour of the LSVOS 2023 code).
        sentence: the expression that refers to the object, for propagators that read text; "" if it is not known.
        cuts: first frames of the second shot and later ones, if they are known; or of the part on the other side of
            which a propagation was lost.
        hard: whether masks are kept as 0 and 255 only, which take a tenth of the memory. The scores are those of the
            soft masks.
    """

    sequence: MaskSequence
    key_frames: tuple[int, ...]
    empty_key: Literal["empty", "copy"] = "empty"
    sentence: str = ""
    cuts: tuple[int, ...] = field(default=(), kw_only=True)
    hard: bool = field(default=False, kw_only=True)

    def next_round(self, result: MaskSequence, done: int) -> tuple[PropagationTask | None, dict[str, Any]]:
        """What follows the propagation; a subclass that is propagated in several rounds overrides it.

        Args:
            result: of this task.
            done: the number of rounds so far, this one included.

        Returns:
            (the task of the next round or None, notes that are added to the result).
        """
        return None, {}


def propagate(
    clip: Clip, tasks: Sequence[PropagationTask], propagator: Propagator, cache_mb: int = CACHE_MB
) -> list[MaskSequence]:
    """Propagates the key masks of every task through the whole clip.

    One forward sweep from the first key frame to the end and one backward sweep from the last key frame to the start
    serve all tasks; each sweep has a clean memory. At a key frame the result is the key mask itself. A frame before the
    first or after the last key frame of its task is reached by one sweep only. A frame t between two neighbouring key
    frames a < t < b is reached by both: with probabilities F (forward) and B (backward) the result is the average
    weighted by distance, ((b - t) F + (t - a) B) / (b - a), rounded to the nearest integer, halves down. If a cut of
    the task lies between t and only one of a and b, the result is that of the sweep from the other one.

    Each frame is decoded once: both sweeps read the frames between the first and the last key frame, and these are kept
    together with the propagator's memo up to `cache_mb`; beyond that they are decoded and computed again. Results are
    kept compressed (`CompressedMasks`), so that memory does not grow with frames x pixels x tasks. If all tasks do not
    fit into memory at once, each half of them is propagated separately, and so on: the results are the same, but it is
    slower. It is an error if a single task does not fit, or tasks that influence each other (`Propagator.independent`).

    Args:
        clip: the frames.
        tasks: the sequences; each may have its own key frames.
        propagator: moves a mask from frame to frame.
        cache_mb: memory for frames that the forward sweep keeps for the backward sweep, in MiB.

    Returns:
        One sequence per task, kind prob, with the presence of its input. `scores` is the confidence of the propagation
        in 0..1: the mean probability inside the mask, 0 where it is empty and on all frames if nothing was propagated.
        `signals` are what the propagator stated; on a frame between two key frames, the nearer one's side, the earlier
        one's if both are equally near.
        `notes` contain `key_frames` and `propagator`; `empty_key` if all key masks were empty; `empty_key_frames` if
        some were, which then are no key frames; `split` if memory was short: the number of tasks that were propagated
        together.

    Raises:
        InputError: a task that does not fit the clip, a key frame out of range, a frame of another size.
    """
    problems = [p for n, task in enumerate(tasks) for p in _problems(task, clip, f"task {n}")]
    if problems:
        raise InputError(problems)
    try:
        return _sweeps(clip, tasks, propagator, cache_mb * 2**20)
    except (MemoryError, RuntimeError) as e:
        if len(tasks) == 1 or not propagator.independent or not _memory_is_short(e):
            raise
    half = len(tasks) // 2  # outside the `except`, which would keep the memory of the failed attempt alive
    halves = (tasks[:half], tasks[half:])
    return [
        s.with_(notes={"split": len(part), **s.notes})
        for part in halves
        for s in propagate(clip, part, propagator, cache_mb)
    ]


def _sweeps(clip: Clip, tasks: Sequence[PropagationTask], propagator: Propagator, budget: int) -> list[MaskSequence]:
    """Both sweeps for all tasks at once; `budget` in bytes."""
    results = [_PartialResult(clip, task) for task in tasks]
    keys: dict[int, dict[int, np.ndarray]] = {}  # {frame: {task: mask}}
    for i, result in enumerate(results):
        for t in result.keys:
            keys.setdefault(t, {})[i] = result.masks[t] > 127
    if keys:
        first, last = min(keys), max(keys)
        frames = FrameCache(clip, range(first, last + 1), budget)
        propagator = propagator.for_clip(len(clip), [task.sentence for task in tasks])
        sweep = propagator.sweep(clip.size, len(tasks))
        orders, done = (range(first, len(clip)), range(last, -1, -1)), 0
        for order in orders:
            if order.step < 0:
                sweep = propagator.reverse(sweep, clip.size, len(tasks))
            for t, masks in _run(sweep, frames, order, keys):
                done += 1
                progress.advance(done, sum(map(len, orders)))
                for i, mask in masks.items():
                    results[i].put(t, np.asarray(mask), getattr(mask, "signals", {}), forward=order.step > 0)
    name = type(propagator).__module__.rpartition(".")[2]
    return [result.finish(name) for result in results]


OUT_OF_MEMORY = ("MemoryError", "OutOfMemory", "can't allocate memory", "out of memory", "ALLOC_FAILED", "bad_alloc")


def _memory_is_short(error: Exception) -> bool:
    """Whether the machine or the device ran out of memory; PyTorch reports it in several ways."""
    message = f"{type(error).__name__}: {error}"
    return any(words in message for words in OUT_OF_MEMORY)


def _problems(task: PropagationTask, clip: Clip, name: str) -> list[str]:
    problems = []
    if task.sequence.kind == "votes":
        problems.append(f"propagate: {name} of clip {clip.name!r} is a vote map: set `threshold` in the vote step")
    if len(task.sequence) != len(clip) or task.sequence.size != tuple(clip.size):
        (h, w), (ch, cw) = task.sequence.size, clip.size
        problems.append(
            f"propagate: {name} of clip {clip.name!r} has {len(task.sequence)} masks of {h}x{w} (HxW), "
            f"expected {len(clip)} of {ch}x{cw}"
        )
    if task.empty_key not in ("empty", "copy"):
        problems.append(f"propagate: `empty_key` is {task.empty_key!r}, expected 'empty' or 'copy'")
    outside = [t for t in task.key_frames if not 0 <= t < len(clip)]
    if outside or not task.key_frames:
        problems.append(
            f"propagate: {name} of clip {clip.name!r} has key frames {list(task.key_frames)}, "
            f"expected at least one, from 0 to {len(clip) - 1}"
        )
    return problems


def _run(
    sweep: Sweep, frames: FrameCache, order: range, keys: Mapping[int, Mapping[int, np.ndarray]]
) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
    """Steps through the frames; the masks of a frame are yielded one frame late, so that a device can work ahead.

    Those of a sweep that is `final_at_end` are yielded after the last step.
    """
    if getattr(sweep, "final_at_end", False):
        yield from list(_steps(sweep, frames, order, keys))
    else:
        yield from _steps(sweep, frames, order, keys)


def _steps(
    sweep: Sweep, frames: FrameCache, order: range, keys: Mapping[int, Mapping[int, np.ndarray]]
) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
    waiting, previous = None, None
    for t in order:
        frame = frames.take(t)
        masks = sweep.step(frame, keys.get(t, {}))
        if waiting is not None:
            yield waiting
            frames.put_back(previous)  # not earlier: this step may have added to its memo
        waiting, previous = (t, masks), frame
    yield waiting
    frames.put_back(previous)


class _PartialResult:
    """The result of one task while the sweeps compute it."""

    def __init__(self, clip: Clip, task: PropagationTask):
        self.task, self.length, self.size = task, len(clip), tuple(clip.size)
        key_frames = sorted(set(task.key_frames))
        self.keys = [t for t in key_frames if task.sequence.mask(t).any()]
        self.empty = [t for t in key_frames if t not in self.keys]
        self.masks = CompressedMasks(self.size, self.length)
        self.scores = np.zeros(self.length, np.float32)
        self.signals: dict[str, np.ndarray] = {}
        for t in self.keys:
            self._set(t, task.sequence.prob_at(t))

    def put(self, t: int, mask: np.ndarray, signals: Mapping[str, float], forward: bool) -> None:
        """Stores what a sweep computed for frame t, uint8 [H, W], and its signals; the forward sweep comes first."""
        if t in self.keys:
            return
        kept = False  # whether the signals of the forward sweep stay
        if not forward and t > self.keys[0]:  # between two key frames: the forward sweep has stored a mask
            left, right = max(k for k in self.keys if k < t), min(k for k in self.keys if k > t)
            far_left, far_right = self._cut(left, t), self._cut(t, right)
            if far_right and not far_left:
                return
            if far_left == far_right:
                total = (right - t) * self.masks[t].astype(np.int32) + (t - left) * mask.astype(np.int32)
                mask = ((2 * total + (right - left) - 1) // (2 * (right - left))).astype(np.uint8)
                kept = t - left <= right - t
        if not kept:
            for name, value in signals.items():
                self.signals.setdefault(name, np.full(self.length, np.nan, np.float32))[t] = value
        self._set(t, mask)

    def _cut(self, a: int, b: int) -> bool:
        """Whether frames a < b belong to different shots."""
        return any(a < cut <= b for cut in self.task.cuts)

    def _set(self, t: int, mask: np.ndarray) -> None:
        self.masks[t] = (mask > 127).view(np.uint8) * np.uint8(255) if self.task.hard else mask
        inside = mask[mask > 127]
        self.scores[t] = inside.mean(dtype=np.float64) / 255 if inside.size else 0

    def finish(self, propagator: str) -> MaskSequence:
        """The complete sequence with its notes."""
        notes = {"key_frames": self.keys or self.empty, "propagator": propagator}
        if self.keys and self.empty:
            notes["empty_key_frames"] = self.empty
        if not self.keys:
            notes["empty_key"] = self.task.empty_key
            if self.task.empty_key == "copy":
                for t in range(self.length):
                    self.masks[t] = self.task.sequence.prob_at(t)
        result = MaskSequence.prob(self.masks, self.scores, **notes)
        return result.with_(presence=self.task.sequence.presence, signals=self.signals)
