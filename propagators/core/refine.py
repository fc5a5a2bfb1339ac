"""The iterated refinement of URVOS, for any propagator: what was found becomes the memory from which it is found again.

Round 1 propagates from the key frame. Each later round starts from at most `memory` frames of the round before: the key
frame, and those of which the propagation was surest. A propagator takes them as several key frames; frames between two
of them are reached from both sides. Once a round chooses the frames of the round before, the next would repeat it, and
the refinement is at its end.

Source: Seo et al., URVOS, ECCV 2020: two-stage inference, repeated (Table 6). There the memory is the network's own
and its least confident frame is replaced as frames come; between rounds, which every propagator understands, the same
rule keeps the most confident frames.
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
    """A job in several rounds.

    Attributes:
        rounds: how many at most.
        memory: frames that a round starts from, at most.
        apart: frames between two of them at least.
        over: the pixels that confidence is the mean of; see `adapters.logits.confidence`.
    """

    rounds: int = 5
    memory: int = 4
    apart: int = 1
    over: str = "frame"


def refine(clip: Clip, jobs: Sequence[PropagationTask], propagator: Propagator, cache_mb: int = CACHE_MB) -> list[MaskSequence]:
    """Propagates all jobs, and those in several rounds again, all of a round in one sweep each way.

    Args:
        clip, jobs, propagator, cache_mb: see `propagate`. A job without a mask at its key frames has one round.

    Returns:
        One sequence per job, as of `propagate`; `notes["rounds"]` of a `Refinement` says how many there were, and its
        `key_frames` are those of the last.
    """
    results = _once(clip, jobs, propagator, cache_mb)
    running = {i: job for i, job in enumerate(jobs) if isinstance(job, Refinement)}
    for i in running:
        results[i] = _counted(results[i], 1)
    running = {i: job for i, job in running.items() if "empty_key" not in results[i].notes}
    anchors = {i: results[i].notes["key_frames"] for i in running}
    count = 1
    while True:
        count += 1
        again = {}
        for i, job in running.items():
            frames = memory_frames(results[i], anchors[i], job.memory, job.apart, job.over)
            if job.rounds >= count and frames != tuple(results[i].notes["key_frames"]):
                again[i] = replace(job, sequence=results[i], key_frames=frames)
        if not again:
            return results
        for i, result in zip(again, _once(clip, list(again.values()), propagator, cache_mb), strict=True):
            results[i] = _counted(result, count)
        running = again


def memory_frames(
    sequence: MaskSequence, anchors: Sequence[int], memory: int, apart: int = 1, over: str = "frame"
) -> tuple[int, ...]:
    """The anchors, and the most confident other frames that have a mask: `memory` in all, ascending.

    Args:
        sequence: of kind prob.
        anchors: frames that always stay.
        memory, apart, over: see `Refinement`.

    >>> p = np.uint8([[[255]], [[200]], [[0]], [[250]], [[180]]])
    >>> memory_frames(MaskSequence.prob(p), [0], 3), memory_frames(MaskSequence.prob(p), [0], 3, apart=3)
    ((0, 1, 3), (0, 3))
    """
    surest = np.argsort(-confidences(sequence, over), kind="stable")
    others = (int(t) for t in surest if t not in anchors and sequence.mask(int(t)).any())
    return tuple(sorted(spaced(others, memory, apart, anchors)))


def _once(clip: Clip, jobs: Sequence[PropagationTask], propagator: Propagator, cache_mb: int) -> list[MaskSequence]:
    """One round. Jobs that are the same are done once: expressions of one object often agree."""

    def what(job: PropagationTask):
        sentence = job.sentence if propagator.reads_text else ""
        return id(job.sequence.masks), tuple(job.key_frames), job.empty_key, sentence

    same = {what(job): PropagationTask(job.sequence, job.key_frames, job.empty_key, job.sentence) for job in jobs}
    moved = dict(zip(same, propagate(clip, list(same.values()), propagator, cache_mb), strict=True))
    results = [moved[what(job)] for job in jobs]
    return [r.with_(notes={**job.sequence.notes, **r.notes}) for job, r in zip(jobs, results, strict=True)]


def _counted(sequence: MaskSequence, rounds: int) -> MaskSequence:
    return sequence.with_(notes={**sequence.notes, "rounds": rounds})
