"""Ref-DAVIS17: the unsupervised protocol of DAVIS 2017, once for each annotator of the expressions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.metrics.protocols.davis2017_unsup import FOLDERS
from rvos_ensemble.ensemble.metrics.protocols.label_maps import davis
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import MEASURES, Protocol, Result
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import Tree, find_tree, open_tree

ANNOTATORS = ("anno_0", "anno_1", "anno_2", "anno_3")


class RefDavis17Protocol(Protocol):
    """Ref-DAVIS17: davis2017_unsup for each of four annotators' expressions, and the mean of the four.

    gt is a DAVIS root, or the folder that contains it as `DAVIS`, or the converted `valid/Annotations/VIDEO/FRAME.png`;
    published numbers use `Annotations_unsupervised`. pred is a folder or zip of `anno_0/VIDEO/FRAME.png` to
    `anno_3/...`, label maps in which value i is the object of the i-th expression. With the Hungarian assignment, which
    published numbers use, mistaking one object for another costs nothing.

    Options: those of davis2017_unsup.

    Source: Khoreva et al., Video Object Segmentation with Language Referring Expressions, ACCV 2018; the evaluation
    follows ReferFormer (Wu et al., CVPR 2022) and its successors.
    """

    defaults = davis.PROPOSAL_OPTIONS

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """Options that contradict each other; see `Component.relations`."""
        return davis.relations(given)

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores label maps of four annotators; see `Protocol.evaluate`."""
        folders = (*FOLDERS, *(f"DAVIS/{folder}" for folder in FOLDERS), "valid/Annotations", "DAVIS/Annotations/480p")
        results = davis.evaluate(self.settings, gt, _annotators(open_tree(pred, "pred")), folders, workers)
        rows = pd.concat([r.rows.assign(annotator=name) for name, r in results.items()], ignore_index=True)
        rows.insert(0, "annotator", rows.pop("annotator"))
        means = {measure: float(np.mean([r.summary[measure] for r in results.values()])) for measure in MEASURES}
        each = {f"J&F {name}": r.summary["J&F-Mean"] for name, r in results.items()}
        notes = dict.fromkeys(note for r in results.values() for note in r.notes)
        return Result(rows, {**means, **each}, tuple(notes))


def _annotators(start: Tree) -> dict[str, Tree]:
    """{annotator: the folder of the predictions for that annotator's expressions}."""
    tree = find_tree(start, ANNOTATORS)
    present = tree.videos() if tree else []
    if absent := [name for name in ANNOTATORS if name not in present]:
        raise InputError(
            f"{start.where}: no {', '.join(absent)}; expected label maps anno_K/VIDEO/FRAME.png of four annotators. "
            "A single one is scored by protocol=davis2017_unsup"
        )
    return {name: Tree(tree.storage, f"{tree.top}{name}/") for name in ANNOTATORS}
