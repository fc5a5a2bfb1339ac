"""A2D- and JHMDB-Sentences: the numbers of the code that papers use, a naive reference, and error messages."""

import json
import math
import random

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.readers.coco_rle import checked_runs
from rvos_ensemble.ensemble.metrics.protocols import jhmdb_sentences
from rvos_ensemble.ensemble.metrics.protocols.a2d_sentences import A2DSentencesProtocol
from rvos_ensemble.ensemble.metrics.protocols.jhmdb_sentences import JHMDBSentencesProtocol
from rvos_ensemble.ensemble.metrics.protocols.samples.average_precision import SingleObjectEval
from rvos_ensemble.ensemble.metrics.protocols.samples.rle_batch import empty_runs
from rvos_ensemble.ensemble.metrics.protocols.samples.samples import list_hash

SIZES = [(120, 160), (100, 200), (130, 110)]
AREAS = {"S": (0, 32**2), "M": (32**2, 96**2), "L": (96**2, 1e10)}  # COCO's ranges, ends included

# Computed by `calculate_precision_at_k_and_iou_metrics` of MTTR (2cc35ab, metrics.py), of ReferFormer (06fc218,
# datasets/a2d_eval.py) and of SOC (76b2915, metrics.py), which agree, and by COCOeval as all three call it
# (trainer.py, engine.py; pycocotools 2.0.11), on the files of `benchmark(seed)`, to which one entry with an empty mask
# and score 0 had been added for every image without a prediction: these scripts end in an IndexError otherwise.
OFFICIAL = {
    1: {
        "P@0.5": 0.4125,
        "P@0.6": 0.3541666666666667,
        "P@0.7": 0.2833333333333333,
        "P@0.8": 0.1625,
        "P@0.9": 0.0375,
        "Overall IoU": 0.3483569251325734,
        "Mean IoU": 0.35581206739335386,
        "mAP 0.5:0.95": 0.1286378964899037,
        "AP 0.5": 0.26564189282560113,
        "AP 0.75": 0.10931111225061159,
        "AP 0.5:0.95 S": 0.05728900519178519,
        "AP 0.5:0.95 M": 0.22485560657850348,
        "AP 0.5:0.95 L": 0.8684818481848186,
    },
    2: {
        "P@0.5": 0.43333333333333335,
        "P@0.6": 0.38333333333333336,
        "P@0.7": 0.30416666666666664,
        "P@0.8": 0.20833333333333334,
        "P@0.9": 0.0375,
        "Overall IoU": 0.36652247257264253,
        "Mean IoU": 0.3806069545330695,
        "mAP 0.5:0.95": 0.1237228091395803,
        "AP 0.5": 0.2549226682807181,
        "AP 0.75": 0.10131131719516531,
        "AP 0.5:0.95 S": 0.06257354112724252,
        "AP 0.5:0.95 M": 0.20475886229295984,
        "AP 0.5:0.95 L": 0.7879302215935879,
    },
}


def rle(mask):
    found = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(n) for n in found["size"]], "counts": found["counts"].decode()}


def ellipse(size, cy, cx, ry, rx):
    y, x = np.ogrid[: size[0], : size[1]]
    return ((y - cy) * rx) ** 2 + ((x - cx) * ry) ** 2 <= (ry * rx) ** 2  # whole numbers: the same everywhere


def benchmark(seed, samples=240, queries=6):
    """Masks of objects of all sizes and of queries around them; equal scores, empty masks, frames without prediction.

    Returns:
        ({image: truth}, [(image, mask, score)] in shuffled order), masks bool [H, W].
    """
    rng = random.Random(seed)

    def whole(low, high):
        return low + int(rng.random() * (high - low))

    truths, predictions = {}, []
    for n in range(samples):
        size = SIZES[n % 3]
        at = whole(30, size[0] - 30), whole(30, size[1] - 30)
        ry, rx = whole(4, [20, 45, 80][whole(0, 3)]), whole(4, [20, 45, 80][whole(0, 3)])
        image = f"v_{whole(0, 10**6):06d}{n}_f_{whole(1, 90)}_i_{whole(0, 4)}"
        truth = ellipse(size, *at, ry, rx)
        truths[image] = truth & False if n % 40 == 9 else truth
        for _ in range(queries if n % 17 != 3 else 0):
            kind, good = rng.random(), rng.random()
            mask = ellipse(size, at[0] + whole(-5, 6), at[1] + whole(-5, 6), ry + whole(-2, 3), rx + whole(-2, 3))
            if kind < 0.1:
                mask &= False
            elif kind < 0.6:
                good *= 0.6
                mask = ellipse(size, whole(0, size[0]), whole(0, size[1]), whole(2, 60), whole(2, 60))
            predictions.append((image, mask, whole(0, 11) / 10 if n % 2 else good))
    rng.shuffle(predictions)
    return truths, predictions


def write(folder, truths, predictions):
    """Writes both files as the converters of the data sets and the models do."""
    images = [{"id": i, "height": m.shape[0], "width": m.shape[1]} for i, m in truths.items()]
    annotations = [
        {
            "id": n,
            "image_id": i,
            "category_id": 1,
            "segmentation": rle(m),
            "area": float(m.sum()),
            "iscrowd": 0,
        }
        for n, (i, m) in enumerate(truths.items(), 1)
    ]
    results = [{"image_id": i, "category_id": 1, "segmentation": rle(m), "score": s} for i, m, s in predictions]
    gt, pred = folder / "gt.json", folder / "pred.json"
    categories = [{"id": 1, "name": "dummy_class"}]
    gt.write_text(json.dumps({"categories": categories, "images": images, "annotations": annotations}))
    pred.write_text(json.dumps(results))
    return gt, pred


@pytest.mark.parametrize("protocol", [A2DSentencesProtocol, JHMDBSentencesProtocol])
@pytest.mark.parametrize("seed", OFFICIAL)
def test_the_official_numbers(tmp_path, capsys, seed, protocol):
    result = protocol().evaluate(*write(tmp_path, *benchmark(seed)))
    assert result.summary == OFFICIAL[seed], "equal to the last bit"
    assert list(result.summary) == list(OFFICIAL[seed]), "in the order of the papers' tables"
    assert capsys.readouterr().out == "", "pycocotools is silent"
    assert any("14 of 240 samples have no prediction" in note for note in result.notes)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_naive_reference(tmp_path, seed):
    truths, predictions = benchmark(seed, samples=120)
    result = A2DSentencesProtocol().evaluate(*write(tmp_path, truths, predictions))
    ious, both, either = [], 0, 0
    for image, truth in truths.items():
        best, highest = np.zeros_like(truth), -math.inf
        for i, mask, score in predictions:
            if i == image and score >= highest:
                best, highest = mask, score
        common, joint = np.count_nonzero(best & truth), np.count_nonzero(best | truth)
        ious.append(float((np.float32(common) + np.float32(1e-6)) / (np.float32(joint) + np.float32(1e-6))))
        both, either = both + common, either + joint
    assert result.rows["iou"].tolist() == ious
    assert result.rows["sample"].tolist() == list(truths)
    for k in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert result.summary[f"P@{k}"] == sum(iou > k for iou in ious) / len(ious)
    assert result.summary["Overall IoU"] == both / either
    assert result.summary["Mean IoU"] == pytest.approx(sum(ious) / len(ious), abs=1e-15)
    ap = {t: naive_ap(truths, predictions, t / 100) for t in range(50, 100, 5)}
    assert result.summary["mAP 0.5:0.95"] == pytest.approx(np.mean(list(ap.values())), abs=1e-12)
    assert result.summary["AP 0.5"] == pytest.approx(ap[50], abs=1e-12)
    assert result.summary["AP 0.75"] == pytest.approx(ap[75], abs=1e-12)
    for name, area in AREAS.items():
        sized = [naive_ap(truths, predictions, t / 100, area) for t in range(50, 100, 5)]
        assert result.summary[f"AP 0.5:0.95 {name}"] == pytest.approx(np.mean(sized), abs=1e-12)


def naive_ap(truths, predictions, threshold, area=(0, math.inf)):
    """AP as COCO defines it, where every image holds one object: the first of its masks that reach the threshold is
    right, all others are wrong; precision is read at 101 recalls, made monotonous from the right.

    Objects outside of the range of areas do not count, nor the masks that hit them, nor wrong masks outside of it.
    """
    found, objects = [], 0
    for image in sorted(truths):
        truth, hit = truths[image], False
        counts = area[0] <= np.count_nonzero(truth) <= area[1]
        objects += counts
        for _, mask, score in sorted((p for p in predictions if p[0] == image), key=lambda p: -p[2]):
            joint = np.count_nonzero(mask | truth)
            iou = np.count_nonzero(mask & truth) / joint if joint else 0.0
            if not hit and iou >= threshold:
                hit = True
                if counts:
                    found.append((score, True))
            elif area[0] <= np.count_nonzero(mask) <= area[1]:
                found.append((score, False))
        if not any(p[0] == image for p in predictions) and area[0] == 0:
            found.append((0.0, False))  # the empty mask that stands in
    found.sort(key=lambda f: -f[0])
    right = np.cumsum([f[1] for f in found])
    precision = right / np.arange(1, len(found) + 1)
    recall = right / objects
    return np.mean([max(precision[recall >= r], default=0.0) for r in np.linspace(0, 1, 101)])


def test_perfect_predictions(tmp_path):
    truths, _ = benchmark(1)
    truths = {i: m for i, m in truths.items() if m.any()}
    result = A2DSentencesProtocol().evaluate(*write(tmp_path, truths, [(i, m, 0.5) for i, m in truths.items()]))
    assert list(result.summary.values()) == pytest.approx([1.0] * 13, abs=1e-12)


@pytest.mark.parametrize("crowds", [False, True])
def test_matches_found_at_once_are_those_of_pycocotools(tmp_path, crowds):
    gt, pred = write(tmp_path, *benchmark(5))
    change(
        gt, lambda c: [a.update(iscrowd=int(crowds and n % 3 == 0)) for n, a in enumerate(c["annotations"])] and None
    )
    truth = COCO(str(gt))
    found = []
    for evaluator in (COCOeval, SingleObjectEval):
        evaluation = evaluator(truth, truth.loadRes(str(pred)), "segm")
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
        found.append(evaluation.eval)
    for measure in ("precision", "recall", "scores"):
        assert np.array_equal(found[0][measure], found[1][measure])


def test_masks_checked_together_are_those_that_pass_one_by_one():
    """RLE of real masks, and the same with a character, a size or a part changed."""
    rng = random.Random(6)
    refused = 0
    for _ in range(300):
        entries, sizes = [], {}
        for n in range(1 + int(rng.random() * 4)):
            size = 1 + int(rng.random() * 40), 1 + int(rng.random() * 40)
            mask = np.array([[rng.random() < 0.3 for _ in range(size[1])] for _ in range(size[0])])
            found = rle(mask if rng.random() < 0.8 else mask | True)
            sizes[f"v{n}"] = size
            counts, spoilt = found["counts"], rng.random()
            at = int(rng.random() * len(counts))
            if spoilt < 0.1:
                counts = counts[:at] + chr(48 + int(rng.random() * 64)) + counts[at + 1 :]
            elif spoilt < 0.2:
                counts = counts[:at]
            elif spoilt < 0.25:
                counts = counts + "0"
            entries.append({"image_id": f"v{n}", "segmentation": {"size": list(size), "counts": counts}, "score": 1})

        def passes(entry):
            try:
                checked_runs(entry["segmentation"], sizes[entry["image_id"]], "mask")  # noqa: B023
            except InputError:
                return False
            return True

        assert (empty_runs(entries, sizes) is not None) == all(map(passes, entries))
        refused += not all(map(passes, entries))
    assert 50 < refused < 250, "both kinds were seen"


def one(truth, *masks, scores=None):
    """A benchmark of one image."""
    scores = scores or [0.5] * len(masks)
    return {"v_a_f_1": truth}, [("v_a_f_1", m, s) for m, s in zip(masks, scores, strict=True)]


def half():
    """A mask of 4000 pixels and one with half of them: their IoU is exactly 0.5, and 1e-6 is lost in float32."""
    truth = np.zeros((80, 100), bool)
    truth[:40] = True
    mask = truth.copy()
    mask[:20] = False
    return truth, mask


def test_at_a_threshold_ap_counts_and_precision_does_not(tmp_path):
    result = A2DSentencesProtocol().evaluate(*write(tmp_path, *one(*half())))
    assert (result.rows["iou"][0], result.summary["P@0.5"]) == (0.5, 0.0)
    assert result.summary["AP 0.5"] == pytest.approx(1.0)


def test_of_equal_scores_the_last_is_the_best_and_the_first_ranks_first(tmp_path):
    truth, mask = half()
    worse = A2DSentencesProtocol().evaluate(*write(tmp_path, *one(truth, truth, mask))).summary
    assert (worse["Overall IoU"], worse["AP 0.75"]) == (0.5, pytest.approx(1.0))
    better = A2DSentencesProtocol().evaluate(*write(tmp_path, *one(truth, mask, truth))).summary
    assert (better["Overall IoU"], better["AP 0.75"]) == (1.0, pytest.approx(0.5))


def test_two_empty_masks_agree(tmp_path):
    truth, mask = half()
    truths, predictions = one(truth, mask)
    truths["v_b_f_1"] = truth & False
    result = A2DSentencesProtocol().evaluate(*write(tmp_path, truths, [*predictions, ("v_b_f_1", truth & False, 0.1)]))
    assert result.rows["iou"].tolist() == [0.5, 1.0]
    assert result.summary["Overall IoU"] == 0.5


def test_sizes_without_an_object_are_not_a_number(tmp_path):
    truth, mask = half()
    result = A2DSentencesProtocol().evaluate(*write(tmp_path, *one(truth, mask)))
    assert math.isnan(result.summary["AP 0.5:0.95 S"]) and math.isnan(result.summary["AP 0.5:0.95 L"])
    assert any("AP 0.5:0.95 S, AP 0.5:0.95 L" in note for note in result.notes)


def change(path, edit):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(edit(content) or content))


def test_boxes_beside_masks_change_nothing(tmp_path):
    """pycocotools would use the areas of such boxes: here all predictions would be small."""
    gt, pred = write(tmp_path, *benchmark(1))
    change(pred, lambda results: [{**r, "bbox": [0, 0, 1, 1]} for r in results])
    assert A2DSentencesProtocol().evaluate(gt, pred).summary == OFFICIAL[1]


def test_annotations_counted_from_zero_change_nothing(tmp_path):
    """pycocotools uses the id 0 for "no match"."""
    gt, pred = write(tmp_path, *benchmark(1))
    change(gt, lambda c: [a.update(id=n) for n, a in enumerate(c["annotations"])] and None)
    assert A2DSentencesProtocol().evaluate(gt, pred).summary == OFFICIAL[1]


def test_uncompressed_runs_are_read(tmp_path):
    truth, mask = half()
    gt, pred = write(tmp_path, *one(truth, mask))
    runs = [int(n) for n in np.diff(np.flatnonzero(np.diff(np.r_[0, mask.T.ravel(), 0])), prepend=0)]
    runs.append(mask.size - sum(runs))
    change(pred, lambda r: r[0]["segmentation"].update(counts=runs))
    assert A2DSentencesProtocol().evaluate(gt, pred).summary["Overall IoU"] == 0.5


def test_more_than_a_hundred_predictions_are_said(tmp_path):
    truth, mask = half()
    masks = [mask] * 100 + [truth]
    result = A2DSentencesProtocol().evaluate(*write(tmp_path, *one(truth, *masks, scores=[0.9] * 100 + [0.1])))
    assert result.summary["AP 0.75"] == 0.0
    assert any("1 samples have more than 100 predictions" in note for note in result.notes)


def test_which_samples_they_were_is_said(tmp_path, monkeypatch):
    gt, pred = write(tmp_path, *one(*half()))
    first, second = JHMDBSentencesProtocol().evaluate(gt, pred).notes[:2]
    assert "gt.json: 1 samples, blake2b-128 " in first and len(first.split()[-1]) == 32
    assert "not one of the published ones" in second
    monkeypatch.setitem(jhmdb_sentences.LISTS, list_hash(["v_a_f_1"]), "a friend's")
    assert "a friend's" in JHMDBSentencesProtocol().evaluate(gt, pred).notes[1]
    assert not any("list" in note for note in A2DSentencesProtocol().evaluate(gt, pred).notes)


def remove(key):
    return lambda entry: entry.pop(key) and None


GT_FAULTS = {
    "a list": (lambda c: [1], "gt.json: a list, as predictions are"),
    "no images": (lambda c: c.pop("images") and None, "no COCO ground truth"),
    "two annotations": (
        lambda c: c["annotations"].append(c["annotations"][0]),
        "image 'v_a_f_1' has 2 annotations, expected exactly one",
    ),
    "no annotation of one": (
        lambda c: c["images"].append({"id": "v_b_f_1", "height": 9, "width": 9}),
        "image 'v_b_f_1' has 0 annotations",
    ),
    "an unknown image": (lambda c: c["annotations"][0].update(image_id="v_c"), "image_id 'v_c' is not among"),
    "no area": (lambda c: remove("area")(c["annotations"][0]), "annotations[0]: without `area`"),
    "a polygon": (lambda c: c["annotations"][0].update(segmentation=[[0, 0, 1, 0, 1, 1]]), "annotations[0], image"),
    "an image twice": (lambda c: c["images"].append(c["images"][0]), "id 'v_a_f_1' occurs twice"),
    "no size": (lambda c: c["images"][0].update(height=None), "size (None, 100)"),
    "ids of two kinds": (lambda c: c["images"].append({"id": 1, "height": 9, "width": 9}), "expected one kind"),
    "another size": (lambda c: c["images"][0].update(height=81), "size [80, 100], expected the clip's [81, 100]"),
}
PRED_FAULTS = {
    "a ground truth": (lambda r: {"images": [], "annotations": []}, "pred.json: a COCO ground truth, not predictions"),
    "masks of a video": (lambda r: {"v": {"0": []}}, "pred.json: dict; expected COCO results"),
    "nothing": (lambda r: [], "an empty list"),
    "an unknown image": (lambda r: r[0].update(image_id="v_c"), "image_id 'v_c' is not in the ground truth"),
    "a list as id": (lambda r: r[0].update(image_id=["v"]), "image_id ['v'] is not in the ground truth"),
    "no score": (lambda r: remove("score")(r[0]), "[0]: without `score`"),
    "NaN": (lambda r: r[0].update(score=math.nan), "score is nan, expected a finite number"),
    "infinite": (lambda r: r[0].update(score=-math.inf), "score is -inf"),
    "words": (lambda r: r[0].update(score="0.5"), "score is '0.5'"),
    "true": (lambda r: r[0].update(score=True), "score is True"),
    "another size": (lambda r: r[0]["segmentation"].update(size=[40, 50]), "size [40, 50], expected the clip's [80,"),
    "cut off runs": (lambda r: r[0]["segmentation"].update(counts="0"), "do not add up to 80x100"),
    "no runs": (lambda r: r[0].update(segmentation=None), "[0], image 'v_a_f_1': expected"),
    "not an entry": (lambda r: [3], "[0]: without `image_id`, `segmentation`, `score`: 3"),
}


@pytest.mark.parametrize("fault", GT_FAULTS)
def test_ground_truth_that_is_refused(tmp_path, fault):
    edit, message = GT_FAULTS[fault]
    gt, pred = write(tmp_path, *one(*half()))
    change(gt, edit)
    with pytest.raises(InputError) as error:
        A2DSentencesProtocol().evaluate(gt, pred)
    assert message in str(error.value)


@pytest.mark.parametrize("fault", PRED_FAULTS)
def test_predictions_that_are_refused(tmp_path, fault):
    edit, message = PRED_FAULTS[fault]
    gt, pred = write(tmp_path, *one(*half()))
    content = edit(results := json.loads(pred.read_text()))
    pred.write_text(json.dumps(results if content is None else content))
    with pytest.raises(InputError) as error:
        A2DSentencesProtocol().evaluate(gt, pred)
    assert message in str(error.value)


def test_all_problems_at_once_and_repeated_ones_in_few_lines(tmp_path):
    gt, pred = write(tmp_path, *benchmark(1))
    change(gt, lambda c: c["annotations"][7].update(area=-1))
    change(pred, lambda results: [{**r, "score": None} for r in results[:50]] + [3, *results[50:]])
    with pytest.raises(InputError) as error:
        A2DSentencesProtocol().evaluate(gt, pred)
    problems = error.value.problems
    assert len(problems) == 1 + 3 + 1 + 1
    assert "annotations[7]" in problems[0] and "area is -1" in problems[0]
    assert any("and 47 more scores like this" in p for p in problems)
    assert any("pred.json: [50]: without" in p for p in problems)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("broken", ["cut off", "missing", "a folder"])
def test_files_that_cannot_be_read(tmp_path, which, broken):
    files = write(tmp_path, *one(*half()))
    if broken == "cut off":
        files[which].write_text(files[which].read_text()[:-20])
    else:
        files[which].unlink()
    if broken == "a folder":
        files[which].mkdir()
    with pytest.raises(InputError) as error:
        JHMDBSentencesProtocol().evaluate(*files)
    (problem,) = error.value.problems
    assert str(files[which]) in problem and "expected COCO" in problem
    assert ("create_gt_in_coco_format.py" in problem) == (which == 0), "where to get the ground truth from"
