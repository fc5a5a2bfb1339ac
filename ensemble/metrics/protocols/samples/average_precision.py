"""COCO's average precision of single-frame samples, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rvos_ensemble.ensemble.metrics.protocols.samples.coco_json import ImageId, ImageTruth, ScoredMask

AP = ("mAP 0.5:0.95", "AP 0.5", "AP 0.75", "AP 0.5:0.95 S", "AP 0.5:0.95 M", "AP 0.5:0.95 L")  # COCOeval.stats[:6]
MOST = 100  # masks per image that COCOeval considers, best scores first


def average_precision(
    predictions: Mapping[ImageId, list[ScoredMask]], truths: Mapping[ImageId, ImageTruth]
) -> dict[str, float]:
    """mAP and the other values of `AP`; NaN where there is no object of that size.

    Only masks and scores are passed on: if there were a `bbox`, pycocotools would use its area instead of the mask's.
    """
    numbers = {image: n for n, image in enumerate(sorted(truths), 1)}  # allows image ids of any type and content
    truth = COCO()
    truth.dataset = {
        "images": [{"id": numbers[i], "height": t.size[0], "width": t.size[1]} for i, t in truths.items()],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": n,
                "image_id": numbers[i],
                "category_id": 1,
                "segmentation": t.rle,
                "area": t.area,
                "iscrowd": t.crowd,
            }
            for n, (i, t) in enumerate(truths.items(), 1)  # from 1: pycocotools uses 0 for "no match"
        ],
    }
    results = [
        {"image_id": numbers[i], "category_id": 1, "segmentation": p.rle, "score": p.score}
        for i in truths
        for p in predictions[i]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = SingleObjectEval(truth, truth.loadRes(results), "segm")
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: math.nan if ap < 0 else float(ap) for name, ap in zip(AP, evaluation.stats[: len(AP)], strict=True)}


class SingleObjectEval(COCOeval):
    """COCOeval for one object per image: the first mask that reaches a threshold is its match, found without loops."""

    def evaluateImg(self, imgId, catId, aRng, maxDet):
        """Matches of one image, as `COCOeval.evaluateImg` returns them."""
        p = self.params
        (gt,) = (g for c in p.catIds for g in self._gts[imgId, c])
        ious = self.ious[imgId, catId]
        if gt["iscrowd"] or not len(ious):  # a crowd matches any number of masks
            return super().evaluateImg(imgId, catId, aRng, maxDet)
        dt = [d for c in p.catIds for d in self._dts[imgId, c]]
        dt = [dt[i] for i in np.argsort([-d["score"] for d in dt], kind="mergesort")[:maxDet]]
        ignore = int(gt["area"] < aRng[0] or gt["area"] > aRng[1])
        reached = ious[:, 0] >= np.minimum(p.iouThrs, 1 - 1e-10)[:, None]
        matched = reached & (np.cumsum(reached, axis=1) == 1)
        outside = np.array([d["area"] < aRng[0] or d["area"] > aRng[1] for d in dt])
        return {
            "dtScores": [d["score"] for d in dt],
            "dtMatches": matched,
            "dtIgnore": np.where(matched, bool(ignore), outside),
            "gtIgnore": np.array([ignore]),
        }
