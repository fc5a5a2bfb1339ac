"""DAVIS 2017, semi-supervised: the masks of the first frame are known, and the objects are followed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rvos_ensemble.ensemble.metrics.protocols.label_maps import davis
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import open_tree


class Davis2017SemiProtocol(Protocol):
    """DAVIS 2017 semi-supervised: J and F per object, object i of pred is object i of gt.

    gt is a DAVIS root (`Annotations/480p/VIDEO/FRAME.png`, `ImageSets/2017/SPLIT.txt`) or a folder of
    `VIDEO/FRAME.png`; pred is a folder or zip of `VIDEO/FRAME.png`; both contain label maps.

    Options:
        first_last: "drop" or "keep" the first and the last frame.
        void: the meaning of 255 in gt: "background", "ignore" (such pixels do not count) or "object" (number 255).
        assignment: "identity" or "hungarian", see davis2017_unsup.
        late_objects: "davis": the objects of the first frame count, in every frame; "vosbench": all objects count, each
            from the first frame in which gt or pred shows it, as in vos-benchmark.
        gaps: object numbers below the highest that gt does not use: "skip" them, or "count" them as objects that never
            appear, as the official code does, where each of them scores 1.
        unknown_ids: objects of pred that are not in gt: "error" or "ignore".
        max_proposals: the highest number in pred that "hungarian" accepts.
        missing: frames and videos that are missing from pred: "error", "zero" (they score 0) or "empty" masks.
        empty_empty: the score of a frame where neither gt nor pred shows the object: 1 or 0.
        legacy_decay: compute decay as the official code does, wrong from 256 frames on.
        split: the list of videos, if gt is a DAVIS root.
        videos: score only these.

    Source: Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation, arXiv 1704.00675.
    """

    defaults = davis.OPTIONS

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """Options that contradict each other; see `Component.relations`."""
        return davis.relations(given)

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        """Scores label maps; see `Protocol.evaluate`."""
        folders, start = ("Annotations/480p", "Annotations"), open_tree(pred, "pred")
        return davis.evaluate(self.settings, gt, {"pred": start}, folders, workers)["pred"]
