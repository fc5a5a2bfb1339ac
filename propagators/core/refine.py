"""URVOS's iterative refinement for any propagator: each round propagates from the best frames of the round before.

Round 1 propagates from the key frame. Each later round starts from at most `memory` frames of the previous round: the
key frame, and the frames on which the propagation was most confident. The propagator uses them as several key frames;
frames between two of them are reached from both sides. The refinement ends when a round would start from the same
frames as the previous one, because it would only repeat it.

Source: Seo et al., URVOS, ECCV 2020: two-stage inference, repeated (Table 6). There the network itself has a memory,
and its least confident frame is replaced as frames arrive. Here the same rule keeps the most confident frames between
rounds, which works with every propagator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.key_frames import spaced
from rvos_ensemble.propagators.core.mask_quality import confidences
from rvos_ensemble.propagators.core.propagate import CACHE_MB, PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Propagator


@dataclass(frozen=True)
class Refinement(PropagationTask):
    """A task in several rounds.

    Attributes:
        rounds: the maximal number of rounds.
        memory: the maximal number of frames that a round starts from.
        apart: the minimal distance between two of them, in frames.
        over: the pixels whose mean is the confidence; see `adapters.inference.logits.confidence`.
    """

    rounds: int = 5
    memory: int = 4
    apart: int = 1
    over: str = "frame"


def refine(
    clip: Clip, tasks: Sequence[PropagationTask], propagator: Propagator, cache_mb: int = CACHE_MB
) -> list[MaskSequence]:
    """Propagates all tasks, and repeats those with several rounds; all tasks of a round share the sweeps.

    Args:
        clip, tasks, propagator, cache_mb: see `propagate`. A task without a mask on its key frames has one round.

    Returns:
        One sequence per task, as `propagate` returns it; `notes["rounds"]` of a `Refinement` is the number of rounds,
        and its `key_frames` are those of the last round.
    """
    results = _one_round(clip, tasks, propagator, cache_mb)
    running = {i: task for i, task in enumerate(tasks) if isinstance(task, Refinement)}
    for i in running:
        results[i] = _with_rounds(results[i], 1)
    running = {i: task for i, task in running.items() if "empty_key" not in results[i].notes}
    anchors = {i: results[i].notes["key_frames"] for i in running}
    count = 1
    while True:
        count += 1
        again = {}
        for i, task in running.items():
            frames = memory_frames(results[i], anchors[i], task.memory, task.apart, task.over)
            if task.rounds >= count and frames != tuple(results[i].notes["key_frames"]):
                again[i] = replace(task, sequence=results[i], key_frames=frames)
        if not again:
            return results
        for i, result in zip(again, _one_round(clip, list(again.values()), propagator, cache_mb), strict=True):
            results[i] = _with_rounds(result, count)
        running = again


def memory_frames(
    sequence: MaskSequence, anchors: Sequence[int], memory: int, apart: int = 1, over: str = "frame"
) -> tuple[int, ...]:
    """The anchors and the most confident other frames that have a mask, `memory` frames altogether, ascending.

    Args:
        sequence: kind prob.
        anchors: frames that always stay.
        memory, apart, over: see `Refinement`.

    >>> p = np.uint8([[[255]], [[200]], [[0]], [[250]], [[180]]])
    >>> memory_frames(MaskSequence.prob(p), [0], 3), memory_frames(MaskSequence.prob(p), [0], 3, apart=3)
    ((0, 1, 3), (0, 3))
    """
    by_confidence = np.argsort(-confidences(sequence, over), kind="stable")
    others = (int(t) for t in by_confidence if t not in anchors and sequence.mask(int(t)).any())
    return tuple(sorted(spaced(others, memory, apart, anchors)))


def _one_round(
    clip: Clip, tasks: Sequence[PropagationTask], propagator: Propagator, cache_mb: int
) -> list[MaskSequence]:
    """One round. Equal tasks are propagated once: expressions that refer to the same object often agree."""

    def key(task: PropagationTask) -> tuple:
        sentence = task.sentence if propagator.reads_text else ""
        return id(task.sequence.masks), tuple(task.key_frames), task.empty_key, sentence

    unique = {key(t): PropagationTask(t.sequence, t.key_frames, t.empty_key, t.sentence) for t in tasks}
    propagated = dict(zip(unique, propagate(clip, list(unique.values()), propagator, cache_mb), strict=True))
    results = [propagated[key(task)] for task in tasks]
    return [
        r.with_(notes={**task.sequence.notes, **r.notes}, presence=task.sequence.presence)
        for task, r in zip(tasks, results, strict=True)
    ]


def _with_rounds(sequence: MaskSequence, rounds: int) -> MaskSequence:
    return sequence.with_(notes={**sequence.notes, "rounds": rounds})
