"""The base class of all evaluation protocols: ground truth and predictions in, scores out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rvos_ensemble.adapters.core.component import Component

MEASURES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")  # the tables of DAVIS


@dataclass(frozen=True)
class Result:
    """The scores of a protocol.

    Attributes:
        rows: one row per scored unit (object, expression or sample). The first columns identify the unit, the others
            are scores in 0..1.
        summary: {measure: value in 0..1}, in the order and with the names of the protocol's published tables.
        notes: remarks for the reader, one sentence each: omitted frames, missing predictions, hashes of sample lists.
    """

    rows: pd.DataFrame
    summary: dict[str, float]
    notes: tuple[str, ...] = ()


class Protocol(Component):
    """A way to score masks. Each protocol is one file; `defaults` are its options, which its docstring describes.

    `MaskProtocol` is the simplest base for a protocol of your own: it needs one method that compares two masks.
    """

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores a folder or zip of predictions.

        Args:
            gt: ground truth, in the layout that the protocol's docstring describes.
            pred: predictions, a folder or a zip; nothing is ever written into it.
            workers: number of processes; 0 chooses it by the amount of work.

        Raises:
            InputError: everything that is wrong with either side.
        """
        raise NotImplementedError
