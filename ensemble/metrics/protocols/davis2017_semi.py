"""DAVIS 2017, semi-supervised: the objects of the first frame are given, and followed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rvos_ensemble.ensemble.metrics.protocols import davis
from rvos_ensemble.ensemble.metrics.protocols.protocol import Protocol, Result
from rvos_ensemble.ensemble.metrics.protocols.trees import open_tree


class Davis2017Semi(Protocol):
    """DAVIS 2017 semi-supervised: J and F per object, object i of pred is object i of gt.

    gt is a DAVIS root (`Annotations/480p/VIDEO/FRAME.png`, `ImageSets/2017/SPLIT.txt`) or a folder of
    `VIDEO/FRAME.png`; pred is a folder or zip of `VIDEO/FRAME.png`; both label maps.

    Options:
        first_last: "drop" or "keep": whether the first and the last frame count.
        void: what 255 in gt is: "background", "ignore" (such pixels count nowhere) or "object" (number 255).
        assignment: "identity" or "hungarian", see davis2017_unsup.
        late_objects: "davis": the objects of the first frame count, in every frame; "vosbench": all objects count, each
            from the first frame in which gt or pred shows it, as in vos-benchmark.
        gaps: object numbers that gt leaves out below its highest: "skip", or "count" as never-seen objects, as the
            official code does, where each of them scores 1.
        unknown_ids: objects of pred that gt does not have: "error" or "ignore".
        max_proposals: highest number in pred that "hungarian" takes.
        missing: frames and videos that pred does not have: "error", "zero" (they score 0) or "empty" masks.
        empty_empty: what a frame scores where neither gt nor pred shows the object: 1 or 0.
        legacy_decay: decay as the official code computes it, wrong from 256 frames on.
        split: list of videos, where gt is a DAVIS root.
        videos: only these.

    Source: Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object Segmentation, arXiv 1704.00675.
    """

    defaults = davis.OPTIONS

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        return davis.relations(given)

    def evaluate(self, gt: Path, pred: Path, workers: int = 0) -> Result:
        folders, start = ("Annotations/480p", "Annotations"), open_tree(pred, "pred")
        return davis.evaluate(self.settings, gt, {"pred": start}, folders, workers)["pred"]
