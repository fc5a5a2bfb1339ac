"""What every evaluation protocol is: ground truth and predictions in, scores out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
from tqdm import tqdm

from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.ensemble.engine.workers import in_order

MEASURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")  # the tables of DAVIS
MASKS_A_WORKER = 1000  # about a second of work: what it takes to start a process


@dataclass(frozen=True)
class Result:
    """What a protocol found.

    Attributes:
        rows: one row per scored unit (object, expression or sample); the first columns name it, the others are scores
            in 0..1.
        summary: {measure: value}, in the order and under the names of the protocol's own tables; values in 0..1.
        notes: what a reader should know, one sentence each: frames left out, predictions missing, hashes of lists.
    """

    rows: pd.DataFrame
    summary: dict[str, float]
    notes: tuple[str, ...] = ()


class Protocol(Component):
    """A way to score masks. One file of this folder each; `defaults` are its options, named in its docstring."""

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores a folder or zip of predictions.

        Args:
            gt: ground truth, in the layout that the protocol's docstring shows.
            pred: predictions, a folder or a zip; nothing is ever written into it.
            workers: processes; 0 for one a core.

        Raises:
            InputError: everything that is wrong with either side, before anything is scored.
        """
        raise NotImplementedError


def spread(work: Callable[[Any], Any], jobs: Sequence[Any], workers: int, masks: int) -> list[Any]:
    """`work(job)` of every job, in order, over processes where that is faster.

    Args:
        work: a function of a module; it and the jobs travel to the processes.
        jobs: the largest need not come first.
        workers: processes; 0 for as many as there are cores, and fewer where there is little to do.
        masks: how many masks the jobs hold together.
    """
    most = workers or min(os.cpu_count() or 1, 1 + masks // MASKS_A_WORKER)
    bar = {"desc": "scoring", "unit": "video", "leave": False, "mininterval": 0.1 if sys.stderr.isatty() else 30.0}
    if min(most, len(jobs)) == 1:
        return [_alone(work, job) for job in tqdm(jobs, **bar)]
    found = in_order(partial(_alone, work), jobs, min(most, len(jobs)))
    return list(tqdm(found, total=len(jobs), **bar))


def _alone(work: Callable[[Any], Any], job: Any) -> Any:
    cv2.setNumThreads(1)  # videos are the unit of parallel work
    return work(job)
