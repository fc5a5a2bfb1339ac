"""What every evaluation protocol is: ground truth and predictions in, scores out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from adapters.component import Component


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
