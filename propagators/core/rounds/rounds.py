"""The loop over rounds: propagates all tasks, and repeats those whose `next_round` names another task.

All tasks of a round share the sweeps. A sequence that has ended keeps its result: it is not computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.propagate import CACHE_MB, PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Propagator


def propagate_in_rounds(
    clip: Clip, tasks: Sequence[PropagationTask], propagator: Propagator, cache_mb: int = CACHE_MB
) -> list[MaskSequence]:
    """Propagates all tasks until none of them names a task for the next round.

    Args:
        clip, tasks, propagator, cache_mb: see `propagate`. `PropagationTask.next_round` decides what follows.

    Returns:
        One sequence per task, that of its last round, as `propagate` returns it, with the notes of the task's sequence
        and of `next_round`.
    """
    results: list[MaskSequence] = [None] * len(tasks)  # type: ignore[list-item]
    running, done = dict(enumerate(tasks)), 0
    while running:
        done += 1
        propagated = _one_round(clip, list(running.values()), propagator, cache_mb)
        following = {}
        for (i, task), result in zip(running.items(), propagated, strict=True):
            next_task, notes = task.next_round(result, done)
            results[i] = result.with_(notes={**result.notes, **notes})
            if next_task is not None:
                following[i] = next_task
        running = following
    return results


def _one_round(
    clip: Clip, tasks: Sequence[PropagationTask], propagator: Propagator, cache_mb: int
) -> list[MaskSequence]:
    """One round. Equal tasks are propagated once: expressions that refer to the same object often agree."""

    def key(task: PropagationTask) -> tuple:
        sentence = task.sentence if propagator.reads_text else ""
        return id(task.sequence.masks), tuple(task.key_frames), task.cuts, task.empty_key, sentence, task.hard

    names = [field.name for field in fields(PropagationTask)]
    unique = {key(t): PropagationTask(**{name: getattr(t, name) for name in names}) for t in tasks}
    propagated = dict(zip(unique, propagate(clip, list(unique.values()), propagator, cache_mb), strict=True))
    results = [propagated[key(task)] for task in tasks]
    return [
        r.with_(notes={**task.sequence.notes, **r.notes}, presence=task.sequence.presence)
        for task, r in zip(tasks, results, strict=True)
    ]
