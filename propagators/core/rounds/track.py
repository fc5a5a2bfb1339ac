"""Tracking in rounds: where a propagation collapses, it starts again from the source's next best frame.

Round 1 propagates from the key frames. After each round, `collapse.py` names the frames on which the propagation has
collapsed. In every part of the clip with such frames, the best frame of the source that the propagation lost becomes a
key frame of the next round (`next_seeds`). The sequence is propagated again from all its key frames, until nothing has
collapsed, the source has no better frame, or all rounds are used. What is propagated from the new key frame takes the
place of the frames that have collapsed and those behind them; what had not collapsed stays as it is.

Source: the idea of OAMVOS (arXiv 2604.22837, 2nd of PVUW 2026, MOSE), which leaves a stable state where the tracker's
confidence and area collapse and recovers from another candidate, and of anchors at which a tracker is prompted again
(arXiv 2603.23788, 3rd; Agent-VOS, arXiv 2608.23234). Their trackers go on from a frame within one pass; the rounds here
work with every propagator and in both directions. The limits and the rule for seeds are our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise, takewhile
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.overlap import EMPTY_IS_NO_EVIDENCE, iou
from rvos_ensemble.propagators.core.propagate import PropagationTask
from rvos_ensemble.propagators.core.rounds.collapse import Limits, as_ranges, collapses, runs


@dataclass(frozen=True)
class Tracking(PropagationTask):
    """A task that is propagated again from further key frames where it collapsed.

    The notes of its result are `rounds`, their number, and `track`: for each round the collapsed frames by limit and
    the seeds that were added to its key frames, with the cuts (`next_seeds`), and why the tracking ended.

    Attributes:
        rounds: the maximal number of rounds; 1 only notes what collapsed.
        limits: when a mask counts as collapsed.
        apart: the minimal distance of a seed from all key frames, in frames.
        trust: the least quality of a seed, as a share of that of the best key frame.
        max_iou: a frame is a seed only if the IoU of its masks, the source's and the propagated one, is at most
            this: a tracker that agrees with the source has not lost the object.
        quality: of the source's mask on each frame, higher is better, [T].
        history: of the rounds before, for the notes.
    """

    rounds: int = 3
    limits: Limits = field(default_factory=Limits)
    apart: int = 3
    trust: float = 0.9
    max_iou: float = 0.5
    quality: Sequence[float] = field(default=(), compare=False)
    history: tuple[dict[str, Any], ...] = ()

    def next_round(self, result: MaskSequence, done: int) -> tuple[PropagationTask | None, dict[str, Any]]:
        """The task with further key frames where the result collapsed."""
        frames = {} if "empty_key" in result.notes else collapses(result, self.limits, self.cuts)
        collapsed, seeds = sorted({t for of in frames.values() for t in of}), {}
        if "empty_key" in result.notes:
            ended = "no mask on the key frames"
        elif not collapsed:
            ended = "nothing collapsed"
        elif done >= self.rounds:
            ended = "all rounds used"
        else:
            seeds = next_seeds(result, collapsed, self)
            ended = "" if seeds else "no better frame in the source"
        this = {"collapsed": {name: as_ranges(of) for name, of in frames.items()}}
        if seeds:
            this |= {"seeds": sorted(seeds), "cuts": sorted(cut for of in seeds.values() for cut in of)}
        history = (*self.history, this)
        notes = {"rounds": done, "track": {"rounds": list(history), "ended": ended}}
        if not seeds:
            return None, notes
        keys = tuple(sorted({*result.notes["key_frames"], *seeds}))
        cuts = tuple(sorted({*self.cuts, *this["cuts"]}))
        return replace(self, key_frames=keys, cuts=cuts, history=history), notes


def next_seeds(result: MaskSequence, collapsed: Sequence[int], task: Tracking) -> dict[int, list[int]]:
    """The frames of the source from which to propagate as well, at most one in each part of the clip (`parts`).

    In a part that was propagated in one direction, collapsed frames count only behind the last frame that has not
    collapsed and on which the propagation agrees with the source: there it has found the object again. The candidates
    are the first collapsed frame that counts and all frames behind it, which the propagation reached through it. In a
    part in which both directions meet, they are the collapsed frames. The candidate of the highest quality is taken,
    the earliest of equals, if it is a better frame: the source has a mask on it, which disagrees with the propagated
    mask, and whose quality is at least a share `trust` of that of the best key frame.

    Args:
        result: of the last round; `notes["key_frames"]` are its key frames.
        collapsed: frames of it, ascending.
        task: the task of that round: its sequence is the source.

    Returns:
        {seed: cuts}: what is propagated from a seed takes the place of the earlier result on the far side of the cut
        alone, from the run of collapsed frames that leads to the seed. All frames before it stay as they are.
    """
    keys, quality = result.notes["key_frames"], np.asarray(task.quality, np.float64)
    best = quality[keys].max()
    least = best - (1 - task.trust) * abs(best)  # trust * best, and below best if that is negative

    def agrees(t: int) -> bool:
        return iou(task.sequence.mask(t), result.mask(t), EMPTY_IS_NO_EVIDENCE) > task.max_iou

    def is_lost(t: int) -> bool:
        return t in collapsed or not agrees(t)

    def is_better(t: int) -> bool:
        return bool(task.sequence.mask(t).any()) and not agrees(t)

    seeds: dict[int, list[int]] = {}
    for part, direction in parts(len(result), keys, task.cuts):
        broken = [t for t in collapsed if t in part]
        if direction != "both" and broken:
            inward = part[::-1] if direction == "forward" else part
            broken = sorted(set(broken) & set(takewhile(is_lost, inward)))
        if not broken:
            continue
        candidates = {
            "forward": np.arange(broken[0], part.stop),
            "backward": np.arange(part.start, broken[-1] + 1),
            "both": np.array(broken),
        }[direction]
        by_quality = candidates[np.argsort(-quality[candidates], kind="stable")]
        trusted = (int(t) for t in by_quality if quality[t] >= least)
        far = (t for t in trusted if all(abs(t - k) >= task.apart for k in (*keys, *seeds)))
        for seed in islice(filter(is_better, far), 1):
            starts = [start for start, _ in runs(broken) if start <= seed]
            ends = [end + 1 for _, end in runs(broken) if end >= seed]
            seeds[seed] = {"forward": starts[-1:], "backward": ends[:1], "both": starts[-1:] + ends[:1]}[direction]
    return seeds


def parts(length: int, keys: Sequence[int], cuts: Sequence[int]) -> Iterator[tuple[range, str]]:
    """The frames that are no key frames, in parts: those that one sweep has propagated, or both.

    Args:
        length: the number of frames.
        keys: key frames, ascending.
        cuts: see `PropagationTask`. Between two key frames, the part before the first cut was propagated forward, that
            from the last cut on backward.

    Yields:
        (frames, "forward", "backward" or "both").

    >>> list(parts(9, [2, 7], []))
    [(range(0, 2), 'backward'), (range(3, 7), 'both'), (range(8, 9), 'forward')]
    >>> list(parts(9, [2, 7], [4]))[1:3]
    [(range(3, 4), 'forward'), (range(4, 7), 'backward')]
    """
    yield range(keys[0]), "backward"
    for left, right in pairwise(keys):
        between = sorted(cut for cut in cuts if left < cut <= right)
        first, last = (between[0], between[-1]) if between else (left + 1, right)
        for frames, direction in (((left + 1, first), "forward"), ((first, last), "both"), ((last, right), "backward")):
            if frames[0] < frames[1]:
                yield range(*frames), direction
    yield range(keys[-1] + 1, length), "forward"
