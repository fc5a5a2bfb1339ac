"""Scores of single frames, for A2D-Sentences and JHMDB-Sentences.

A sample is one object in one frame of a clip. Its prediction consists of all masks that a model predicted for that
frame, each with a score. P@K, Overall IoU and Mean IoU use the mask with the best score, mAP uses all masks.

    P@K           share of the samples whose best mask has an IoU > K (an IoU of K itself does not count, unlike in AP)
    Overall IoU   sum of intersections / sum of unions, over all samples
    Mean IoU      mean over samples of (I + 1e-6) / (U + 1e-6), in float32: 1 where both masks are empty
    mAP, AP       COCO's average precision without categories, computed by pycocotools

Source: Gavrilyuk et al., Actor and Action Video Segmentation from a Sentence, CVPR 2018, Sec. 5; mAP and the details
follow the code of MTTR (Botach et al., CVPR 2022), which ReferFormer, SOC and others share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pycocotools import mask as coco

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import digest, file_hash, file_stamp
from rvos_ensemble.ensemble.metrics.protocols.samples.average_precision import AP, MOST, average_precision
from rvos_ensemble.ensemble.metrics.protocols.samples.coco_json import (
    ImageId,
    ImageTruth,
    ScoredMask,
    read_predictions,
    read_truth,
)
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Result

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
EPS = np.float32(1e-6)


def evaluate(gt: Path, pred: Path, source: str, lists: Mapping[str, str] | None = None) -> Result:
    """Scores a file of predictions with all measures.

    Args:
        gt: COCO json, one annotation per image.
        pred: COCO results json.
        source: how the json of the ground truth is obtained, for messages.
        lists: {`list_hash` of the samples: who published the list}, for a benchmark with several lists.

    Raises:
        InputError: naming everything that is wrong with either file.
    """
    truths, predictions = _read_both(gt, pred, source)
    missing = [image for image in truths if image not in predictions]
    for image in missing:
        empty = coco.encode(np.zeros(truths[image].size, np.uint8, order="F"))
        predictions[image] = [ScoredMask(empty, 0.0)]
    both, either = best_overlaps(predictions, truths)
    ious = ((both.astype(np.float32) + EPS) / (either.astype(np.float32) + EPS)).astype(np.float64)
    summary = {f"P@{k}": np.count_nonzero(ious > k) / len(ious) for k in THRESHOLDS}
    summary["Overall IoU"] = int(both.sum()) / int(either.sum()) if either.any() else math.nan
    summary["Mean IoU"] = float(np.mean(ious))
    summary.update(average_precision(predictions, truths))

    notes = [f"ground truth {gt.name}: {len(truths)} samples, blake2b-128 {file_hash(file_stamp(gt))}"]
    if lists is not None:
        listed = list_hash(truths)
        notes.append(f"list of samples {listed}: {lists.get(listed, 'not one of the published ones')}")
    if missing:
        notes.append(
            f"{len(missing)} of {len(truths)} samples have no prediction: each counts as an empty mask, score 0"
        )
    if crowded := sum(len(p) > MOST for p in predictions.values()):
        notes.append(f"{crowded} samples have more than {MOST} predictions: AP uses the {MOST} with the best scores")
    if absent := [name for name in AP if math.isnan(summary[name])]:
        notes.append(f"no object of the size of {', '.join(absent)}: not a number")
    return Result(pd.DataFrame({"sample": list(truths), "iou": ious}), summary, tuple(notes))


def list_hash(samples: Iterable[ImageId]) -> str:
    """Short hash that identifies a set of samples, in whatever order: blake2b-64 of their sorted ids, one per line.

    >>> list_hash(["v_a_f_1", "v_b_f_2"]) == list_hash(["v_b_f_2", "v_a_f_1"])
    True
    """
    return digest("\n".join(sorted(map(str, samples))), size=8)


def best_overlaps(
    predictions: Mapping[ImageId, list[ScoredMask]], truths: Mapping[ImageId, ImageTruth]
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap of the truth with the prediction of the best score; the last one among equal scores, as MTTR sorts.

    Returns:
        (pixels in both, pixels in either), int64 [samples] each.
    """
    both, either = [], []
    for image, truth in truths.items():
        best = max(reversed(predictions[image]), key=lambda p: p.score)  # max returns the first of equals
        pair = [best.rle, truth.rle]
        both.append(int(coco.area(coco.merge(pair, intersect=True))))
        either.append(int(coco.area(coco.merge(pair))))
    return np.array(both), np.array(either)


def _read_both(gt: Path, pred: Path, source: str) -> tuple[dict[ImageId, ImageTruth], dict[ImageId, list[ScoredMask]]]:
    """Ground truth and predictions; raises what is wrong with both files together."""
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
