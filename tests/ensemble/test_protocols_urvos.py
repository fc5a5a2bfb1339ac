"""URVOS prec@X: the numbers of the authors' evaluation, a naive reference, and error messages."""

import json
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.ensemble.metrics.protocols.urvos import URVOSProtocol

SIZES = [(90, 160), (120, 90), (100, 100)]
AUTHORS = {"unit": "object", "frames": "object"}

# Computed by `Trainer.evaluate` and `REFER_YV_2019` of skynbe/Refer-Youtube-VOS (d22eeca, Baseline/trainer.py and
# dataset/refer_datasets.py) on the files of `benchmark`, the network replaced by the predicted masks at its resolution
# (`size`), `np.float`, `np.int` and `np.bool` put back, and F, which is not compared, left out.
OFFICIAL = {
    320: {
        "prec@0.5": 0.78125,
        "prec@0.6": 0.5625,
        "prec@0.7": 0.4375,
        "prec@0.8": 0.3125,
        "prec@0.9": 0.125,
        "J": 0.6760445547644938,
    },
    96: {
        "prec@0.5": 0.78125,
        "prec@0.6": 0.5625,
        "prec@0.7": 0.4375,
        "prec@0.8": 0.3125,
        "prec@0.9": 0.125,
        "J": 0.675282282107288,
    },
}


def ellipse(size, cy, cx, ry, rx):
    y, x = np.ogrid[: size[0], : size[1]]
    return ((y - cy) * rx) ** 2 + ((x - cx) * ry) ** 2 <= (ry * rx) ** 2  # whole numbers: the same everywhere


def benchmark(root, videos=16):
    """A data set with moving, late and hidden objects, one or two expressions each, and predictions for all of them.

    Both layouts: that of 2021 in meta_expressions/valid, and that of 2020 as valid/meta.json, which lists for every
    object the frames that show it.
    """
    rng = random.Random(5)

    def whole(low, high):
        return low + int(rng.random() * (high - low))

    expressions, objects = {}, {}
    for n in range(videos):
        name, size, frames = f"v{n:02d}", SIZES[n % 3], [f"{5 * t:05d}" for t in range(whole(3, 9))]
        things = [
            (whole(20, size[0] - 20), whole(20, size[1] - 20), whole(8, 35), whole(8, 35), whole(-4, 5), whole(-4, 5))
            for _ in range(whole(1, 4))
        ]
        labels = np.zeros((len(frames), *size), np.uint8)
        for o, (cy, cx, ry, rx, vy, vx) in enumerate(things, 1):
            shown = range(len(frames)) if rng.random() < 0.6 else range(whole(0, 3), whole(3, len(frames) + 1))
            for t in shown:
                labels[t][ellipse(size, cy + vy * t, cx + vx * t, ry, rx)] = o
        seen = [o for o in range(1, len(things) + 1) if (labels == o).any()]
        texts = {o: [f"thing {o}", f"the {o}th thing"][: whole(1, 3)] for o in seen}
        pairs = [(text, o) for o in seen for text in texts[o]]
        expressions[name] = {
            "expressions": {str(i): {"exp": text, "obj_id": str(o)} for i, (text, o) in enumerate(pairs)},
            "frames": frames,
        }
        objects[name] = {
            "objects": {
                str(o): {
                    "category": "thing",
                    "frames": [f for f, l in zip(frames, labels, strict=True) if (l == o).any()],
                    "expressions": texts[o],
                }
                for o in seen
            }
        }
        for t, frame in enumerate(frames):
            save(root / "valid" / "Annotations" / name / f"{frame}.png", png.encode_indices(labels[t]))
            for i, (_, o) in enumerate(pairs):
                shift = whole(0, 3) * (n % 5) + i
                mask = np.roll(labels[t] == o, (shift, -shift), (0, 1)) & (rng.random() > 0.05)
                save(root / "pred" / "Annotations" / name / str(i) / f"{frame}.png", png.encode(mask))
    save(root / "meta_expressions" / "valid" / "meta_expressions.json", json.dumps({"videos": expressions}).encode())
    save(root / "valid" / "meta.json", json.dumps({"videos": objects}).encode())
    return root, root / "pred"


def save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Files that no test changes."""
    return benchmark(tmp_path_factory.mktemp("urvos"))


@pytest.fixture
def own(tmp_path):
    """Files that one test may change."""
    return benchmark(tmp_path, videos=3)


@pytest.mark.parametrize("size", OFFICIAL)
def test_the_official_numbers(made, size):
    result = URVOSProtocol(**AUTHORS, size=size).evaluate(*made, workers=1)
    assert result.summary == OFFICIAL[size], "equal to the last bit"
    assert list(result.summary) == list(OFFICIAL[size])
    assert len(result.rows) == 32


@pytest.mark.parametrize("unit", ["expression", "object"])
@pytest.mark.parametrize("frames", ["all", "object"])
def test_a_naive_reference(made, unit, frames):
    gt, pred = made
    videos = json.loads((gt / "meta_expressions/valid/meta_expressions.json").read_text())["videos"]
    objects = json.loads((gt / "valid/meta.json").read_text())["videos"]
    wanted = {}
    for video, entry in videos.items():
        done = set()
        for i, e in entry["expressions"].items():
            if unit == "object" and e["obj_id"] in done:
                continue
            done.add(e["obj_id"])
            names = entry["frames"] if frames == "all" else objects[video]["objects"][e["obj_id"]]["frames"]
            total = 0.0
            for frame in names:
                truth = np.array(Image.open(gt / f"valid/Annotations/{video}/{frame}.png")) == int(e["obj_id"])
                mask = np.array(Image.open(pred / f"Annotations/{video}/{i}/{frame}.png")) > 0
                union = np.float32((truth | mask).sum()) + np.float32(1e-5)
                total += float(np.float32((truth & mask).sum()) / union)
            wanted[video, i, e["obj_id"]] = total / len(names)
    result = URVOSProtocol(unit=unit, frames=frames).evaluate(gt, pred, workers=1)
    rows = result.rows.itertuples()
    assert {(r.video, r.expression, r.object): r.J for r in rows} == wanted
    for x in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert result.summary[f"prec@{x}"] == sum(j > x for j in wanted.values()) / len(wanted)
    assert result.summary["J"] == pytest.approx(sum(wanted.values()) / len(wanted), abs=1e-15)


def test_zips_and_processes_give_the_same(made, tmp_path):
    gt, pred = made
    archive = shutil.make_archive(str(tmp_path / "submission"), "zip", pred)
    alone, together = URVOSProtocol().evaluate(gt, pred, workers=1), URVOSProtocol().evaluate(gt, archive, workers=2)
    assert together.rows.equals(alone.rows) and together.summary == alone.summary


def test_at_a_threshold_a_sequence_does_not_count(own):
    """IoU 0.5 in every frame: 1e-5 is lost in float32 beside 8000 pixels."""
    gt, pred = own
    labels = np.zeros((90, 160), np.uint8)
    labels[:50] = 1
    meta = {"videos": {"w": {"expressions": {"0": {"exp": "it", "obj_id": "1"}}, "frames": ["0", "1"]}}}
    save(gt / "meta_expressions/valid/meta_expressions.json", json.dumps(meta).encode())
    for frame in "01":
        save(gt / f"valid/Annotations/w/{frame}.png", png.encode_indices(labels))
        save(pred / f"Annotations/w/0/{frame}.png", png.encode((labels > 0) & (np.arange(90)[:, None] < 25)))
    result = URVOSProtocol().evaluate(gt, pred, workers=1)
    assert (result.summary["J"], result.summary["prec@0.5"]) == (0.5, 0.0)


def test_empty_masks_that_agree_score_nothing_and_are_counted(own):
    gt, pred = own
    for file in (pred / "Annotations" / "v00" / "0").iterdir():
        file.write_bytes(png.encode(np.zeros(SIZES[0], bool)))
    for file in (gt / "valid" / "Annotations" / "v00").iterdir():
        labels = png.read(file).values
        file.write_bytes(
            png.encode_indices(np.where((labels == 1) & (file.stem != "00000"), 0, labels).astype(np.uint8))
        )
    result = URVOSProtocol(videos="v00").evaluate(gt, pred, workers=1)
    first = result.rows.iloc[0]
    assert (first.expression, first.object, first.J) == ("0", "1", 0.0)
    assert any("empty like their ground truth: 0 here, 1 in every other protocol" in n for n in result.notes)


def test_the_layout_of_2020(own):
    """Objects with their sentences in place of expressions; the frames are those of all objects together."""
    gt, pred = own
    old = gt / "valid" / "meta.json"
    for video, entry in json.loads(old.read_text())["videos"].items():
        shown = {frame for o in entry["objects"].values() for frame in o["frames"]}
        for file in (pred / "Annotations" / video).rglob("*.png"):
            if file.stem not in shown:
                file.unlink()
    wanted = URVOSProtocol(**AUTHORS, meta=str(old)).evaluate(gt, pred, workers=1)
    old.rename(gt / "2020.json")
    assert URVOSProtocol(**AUTHORS, meta=str(gt / "2020.json")).evaluate(gt, pred, workers=1).summary == wanted.summary


def refused(protocol, gt, pred):
    with pytest.raises(InputError) as error:
        protocol.evaluate(gt, pred, workers=1)
    return error.value.problems


def test_all_that_is_missing_is_named_at_once(own):
    gt, pred = own
    (pred / "Annotations/v00/0/00000.png").unlink()
    shutil.rmtree(pred / "Annotations/v01")
    (gt / "valid/Annotations/v02/00005.png").unlink()
    problems = refused(URVOSProtocol(), gt, pred)
    assert len(problems) == 3
    assert "v02: 1 of" in problems[0] and "annotations missing: 00005.png" in problems[0]
    assert "v00/0: 1 of" in problems[1] and "no masks of video 'v01'" in problems[2]


def test_masks_of_another_size_and_colours(own):
    gt, pred = own
    (pred / "Annotations/v00/0/00000.png").write_bytes(png.encode(np.zeros((5, 6), bool)))
    Image.fromarray(np.zeros((120, 90, 3), np.uint8)).save(pred / "Annotations/v01/0/00005.png")
    problems = "\n".join(refused(URVOSProtocol(), gt, pred))
    assert "5x6 (HxW), expected the clip's 90x160" in problems and "RGB colour picture" in problems


def test_a_damaged_picture(own):
    gt, pred = own
    file = pred / "Annotations/v00/0/00010.png"
    file.write_bytes(file.read_bytes()[:-20])
    (problem,) = refused(URVOSProtocol(), gt, pred)
    assert str(file) in problem and "damaged" in problem


def test_ground_truth_that_does_not_say_the_objects(own):
    gt, pred = own
    file = gt / "meta_expressions/valid/meta_expressions.json"
    content = json.loads(file.read_text())
    for e in content["videos"]["v00"]["expressions"].values():
        del e["obj_id"]
    del content["videos"]["v01"]["expressions"]["0"]["obj_id"]
    file.write_text(json.dumps(content))
    problems = refused(URVOSProtocol(), gt, pred)
    assert len(problems) == 2
    assert "video 'v00': no ground truth" in problems[0] and "obj_ids" in problems[0]
    assert "video 'v01', expression '0': the data set does not say which object" in problems[1]


def test_frames_of_objects_that_are_not_listed(own):
    gt, pred = own
    (gt / "valid" / "meta.json").unlink()
    problems = refused(URVOSProtocol(frames="object"), gt, pred)
    assert "no frames of object '1'; frames=object needs" in problems[0] and "valid/meta.json" in problems[0]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"unit": "video"}, "setting `unit` is 'video', expected one of expression, object"),
        ({"frames": "some"}, "setting `frames`"),
        ({"size": 0}, "setting `size` is 0, expected a whole number of at least 1"),
        ({"size": "320x320"}, "setting `size`"),
        ({"sizes": 320}, "unknown key `sizes`, did you mean `size`"),
    ],
)
def test_wrong_options(made, option, message):
    with pytest.raises(InputError) as error:
        URVOSProtocol(**option).evaluate(*made)
    assert message in str(error.value)
