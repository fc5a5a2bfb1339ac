"""Scores of single frames: what A2D-Sentences and JHMDB-Sentences have in common.

A sample is one object in one frame of a clip. Its prediction is every mask that a model made for that frame, with a
score each: P@K, Overall IoU and Mean IoU look at the best of them, mAP at all.

    P@K           share of the samples whose best mask has an IoU > K (not at K, unlike AP)
    Overall IoU   sum of intersections / sum of unions, over all samples
    Mean IoU      mean over samples of (I + 1e-6) / (U + 1e-6), in float32: 1 where both masks are empty
    mAP, AP       COCO's, categories ignored: computed by pycocotools

Source: Gavrilyuk et al., Actor and Action Video Segmentation from a Sentence, CVPR 2018, Sec. 5; mAP and the details
as in the code of MTTR (Botach et al., CVPR 2022), which ReferFormer, SOC and others share.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.hashing import digest, file_hash, file_stamp
from rvos_ensemble.ensemble.metrics.protocols.coco_json import ImageId, Scored, Truth, read_predictions, read_truth
from rvos_ensemble.ensemble.metrics.protocols.protocol import Result

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
AP = ("mAP 0.5:0.95", "AP 0.5", "AP 0.75", "AP 0.5:0.95 S", "AP 0.5:0.95 M", "AP 0.5:0.95 L")  # COCOeval.stats[:6]
EPS = np.float32(1e-6)
MOST = 100  # masks of an image that COCOeval looks at, best scores first


def evaluate(gt: Path, pred: Path, source: str, lists: Mapping[str, str] | None = None) -> Result:
    """All measures of a file of predictions.

    Args:
        gt: COCO json, one annotation an image.
        pred: COCO results json.
        source: where the ground truth's json comes from, for messages.
        lists: {`list_hash` of the samples: whose list it is}, where there are several.

    Raises:
        InputError: naming everything that is wrong with either file.
    """
    truths, predictions = _read_both(gt, pred, source)
    missing = [image for image in truths if image not in predictions]
    for image in missing:
        empty = coco.encode(np.zeros(truths[image].size, np.uint8, order="F"))
        predictions[image] = [Scored(empty, 0.0)]
    both, either = best_overlaps(predictions, truths)
    ious = ((both.astype(np.float32) + EPS) / (either.astype(np.float32) + EPS)).astype(np.float64)
    summary = {f"P@{k}": np.count_nonzero(ious > k) / len(ious) for k in THRESHOLDS}
    summary["Overall IoU"] = int(both.sum()) / int(either.sum()) if either.any() else math.nan
    summary["Mean IoU"] = float(np.mean(ious))
    summary.update(average_precision(predictions, truths))

    notes = [f"ground truth {gt.name}: {len(truths)} samples, blake2b-128 {file_hash(file_stamp(gt))}"]
    if lists is not None:
        digest = list_hash(truths)
        notes.append(f"list of samples {digest}: {lists.get(digest, 'not one of the published ones')}")
    if missing:
        notes.append(f"{len(missing)} of {len(truths)} samples have no prediction: an empty mask of score 0 stands in")
    if crowded := sum(len(p) > MOST for p in predictions.values()):
        notes.append(f"{crowded} samples have more than {MOST} predictions: AP takes the {MOST} of the best scores")
    if absent := [name for name in AP if math.isnan(summary[name])]:
        notes.append(f"no object of the size of {', '.join(absent)}: not a number")
    return Result(pd.DataFrame({"sample": list(truths), "iou": ious}), summary, tuple(notes))


def list_hash(samples: Iterable[ImageId]) -> str:
    """Short hash of which samples there are, in whatever order: blake2b-64 of their sorted ids, one a line.

    >>> list_hash(["v_a_f_1", "v_b_f_2"]) == list_hash(["v_b_f_2", "v_a_f_1"])
    True
    """
    return digest("\n".join(sorted(map(str, samples))), size=8)


def best_overlaps(
    predictions: Mapping[ImageId, list[Scored]], truths: Mapping[ImageId, Truth]
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap of the truth with the prediction of the best score; the last one of equal scores, as MTTR sorts.

    Returns:
        Pixels in both, and pixels in either, int64 [samples].
    """
    both, either = [], []
    for image, truth in truths.items():
        best = max(reversed(predictions[image]), key=lambda p: p.score)  # max takes the first of equals
        pair = [best.rle, truth.rle]
        both.append(int(coco.area(coco.merge(pair, intersect=True))))
        either.append(int(coco.area(coco.merge(pair))))
    return np.array(both), np.array(either)


def average_precision(predictions: Mapping[ImageId, list[Scored]], truths: Mapping[ImageId, Truth]) -> dict[str, float]:
    """mAP and its relatives; NaN where there is no object of that size.

    Only masks and scores go in: beside a `bbox`, pycocotools would take the box's area for the mask's.
    """
    numbers = {image: n for n, image in enumerate(sorted(truths), 1)}  # ids of any size or characters are harmless so
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
            for n, (i, t) in enumerate(truths.items(), 1)  # from 1: pycocotools takes 0 for "no match"
        ],
    }
    results = [
        {"image_id": numbers[i], "category_id": 1, "segmentation": p.rle, "score": p.score}
        for i in truths
        for p in predictions[i]
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = OneObject(truth, truth.loadRes(results), "segm")
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: math.nan if ap < 0 else float(ap) for name, ap in zip(AP, evaluation.stats[: len(AP)], strict=True)}


class OneObject(COCOeval):
    """COCOeval for one object an image: the first mask that reaches a threshold is its match, found for all at once."""

    def evaluateImg(self, imgId, catId, aRng, maxDet):
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


def _read_both(gt: Path, pred: Path, source: str) -> tuple[dict[ImageId, Truth], dict[ImageId, list[Scored]]]:
    truths, predictions, problems = None, {}, []
    try:
        truths = read_truth(gt, source)
    except InputError as error:
        problems += error.problems
    try:
        predictions = read_predictions(pred, truths)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)
    return truths, predictions
