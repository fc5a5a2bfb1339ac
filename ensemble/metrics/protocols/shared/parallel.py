"""Scores videos in parallel processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2

from rvos_ensemble.ensemble.engine.progress_bar import tracked
from rvos_ensemble.ensemble.engine.workers.workers import in_order

MASKS_PER_WORKER = 1000  # about one second of work, as long as it takes to start a process


def map_videos(work: Callable[[Any], Any], jobs: Sequence[Any], workers: int, masks: int) -> list[Any]:
    """`work(job)` of every job, in order; computed in several processes if that is faster.

    Args:
        work: a picklable function, that is, one defined at the top level of a module.
        jobs: one picklable argument per video.
        workers: number of processes; 0 for one per core, or fewer if there is little work.
        masks: the number of masks in all jobs.
    """
    most = workers or min(os.cpu_count() or 1, 1 + masks // MASKS_PER_WORKER)
    single = partial(_single_threaded, work)
    alone = min(most, len(jobs)) == 1
    results = map(single, jobs) if alone else in_order(single, jobs, min(most, len(jobs)))
    return list(tracked(results, "scoring", len(jobs), "video"))


def _single_threaded(work: Callable[[Any], Any], job: Any) -> Any:
    """`work(job)` with one OpenCV thread, because videos are already processed in parallel."""
    cv2.setNumThreads(1)
    return work(job)
