"""DAVIS 2017, unsupervised: proposals for all objects, matched to the ground truth afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rvos_ensemble.ensemble.metrics.protocols.label_maps import davis
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import open_tree

FOLDERS = ("Annotations_unsupervised/480p", "Annotations_unsupervised")


class Davis2017UnsupProtocol(Protocol):
    """DAVIS 2017 unsupervised: up to 20 proposals, assigned to the objects so that (J+F)/2 is the greatest.

    gt is a DAVIS root (`Annotations_unsupervised/480p/VIDEO/FRAME.png`, `ImageSets/2017/SPLIT.txt`) or a folder of
    `VIDEO/FRAME.png`; pred is a folder or zip of `VIDEO/FRAME.png`; both contain label maps. All frames count, and void
    pixels do not count; a proposal has the same number in the whole video; an object without a proposal is compared
    with empty masks.

    Options: those of davis2017_semi, with first_last=keep, void=ignore and assignment=hungarian.

    Source: Caelles et al., The 2019 DAVIS Challenge on VOS: Unsupervised Multi-Object Segmentation, arXiv 1905.00737.
    """

    defaults = davis.PROPOSAL_OPTIONS

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """Options that contradict each other; see `Component.relations`."""
        return davis.relations(given)

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores label maps; see `Protocol.evaluate`."""
        return davis.evaluate(self.settings, gt, {"pred": open_tree(pred, "pred")}, FOLDERS, workers)["pred"]
