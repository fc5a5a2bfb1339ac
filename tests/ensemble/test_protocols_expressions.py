"""Ref-YouTube-VOS and MeViS: masks per expression, against the definition, the official script and a run's scores."""

import json
import shutil
import sys

import cv2
import numpy as np
import pytest
from helpers import label_videos, reference
from helpers.label_videos import SIZES, prediction, truth, write, write_json
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.files.readers.coco_rle import encode
from rvos_ensemble.ensemble.metrics.protocols.mevis import MevisProtocol
from rvos_ensemble.ensemble.metrics.protocols.ref_youtube_vos import RefYoutubeVosProtocol

VIDEOS = ("plain", "late", "void")
FRAMES = {v: [f"{5 * t:05d}" for t in range(label_videos.LENGTHS[v])] for v in VIDEOS}
EXPRESSIONS = {"0": ("1",), "1": ("1",), "2": ("2",), "10": ("1", "2")}  # of every video: their objects


def masks(labels, objects):
    """bool [T, H, W] of the union of some objects."""
    return np.isin(labels, [int(i) for i in objects])


def predicted(video, expression):
    """The predicted masks, bool [T, H, W]; those of expression "1" are those of "0", as after fusion."""
    shift = {"0": 0, "1": 0, "2": 1, "10": 3}[expression]
    return np.roll(masks(prediction(video), EXPRESSIONS[expression]), shift, axis=2)


def write_masks(folder):
    for video in VIDEOS:
        for e in EXPRESSIONS:
            for frame, mask in zip(FRAMES[video], predicted(video, e), strict=True):
                path = folder / video / e / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png.encode(mask))
    return folder


def meta(key):
    """meta_expressions.json with the objects under `key`, one as a string and several as a list."""
    return {
        "videos": {
            v: {
                "expressions": {
                    e: {"exp": f"text {e}", key: o[0] if len(o) == 1 and key == "obj_id" else list(o)}
                    for e, o in EXPRESSIONS.items()
                },
                "frames": FRAMES[v],
            }
            for v in VIDEOS
        }
    }


@pytest.fixture
def youtube(tmp_path):
    """Folder with `gt` and `pred` in the layout of Ref-YouTube-VOS; every fifth frame, some with void."""
    write_json(tmp_path / "gt/meta_expressions/valid/meta_expressions.json", meta("obj_id"))
    for v in VIDEOS:
        for frame, labels in zip(FRAMES[v], truth(v), strict=True):
            path = tmp_path / "gt/valid/Annotations" / v / f"{frame}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png.encode_indices(labels))
    write_masks(tmp_path / "pred/Annotations")
    return tmp_path


@pytest.fixture
def mevis(tmp_path):
    """Folder with `gt` and `pred` in the layout of MeViS; annotation k of video number n is k + 10 n."""
    content, runs = meta("anno_id"), {}
    for n, v in enumerate(VIDEOS):
        for e, entry in content["videos"][v]["expressions"].items():
            entry["anno_id"] = [int(o) + 10 * n for o in EXPRESSIONS[e]]
        for o in (1, 2):
            runs[str(o + 10 * n)] = encode(truth(v) == o)
    write_json(tmp_path / "gt/valid_u/meta_expressions.json", content)
    write_json(tmp_path / "gt/valid_u/mask_dict.json", runs)
    write_masks(tmp_path / "pred")
    return tmp_path


def score(protocol, folder, **options):
    return protocol(**options).evaluate(folder / "gt", folder / "pred", 1)


def definition(video, expression):
    """J and F of every frame, from the definition."""
    radius = reference.default_radius(*SIZES[video])
    pairs = zip(predicted(video, expression), masks(truth(video), EXPRESSIONS[expression]), strict=True)
    return tuple(zip(*(reference.j_and_f(p, g, radius) for p, g in pairs), strict=True))


# `tools/eval_mevis.py` of github.com/henghuiding/MeViS (one worker, numpy 2.4, OpenCV 5.0) on what `mevis` writes here
OFFICIAL_MEVIS = {
    "plain_0": (0.7262511838418556, 0.7196292073314515),
    "plain_1": (0.7262511838418556, 0.7196292073314515),
    "plain_2": (0.6918212390817126, 0.7280013640628863),
    "plain_10": (0.5895118051262389, 0.48566651227255003),
    "late_0": (0.6800459667355667, 0.5437643192170902),
    "late_1": (0.6800459667355667, 0.5437643192170902),
    "late_2": (0.6625503682778541, 0.5959137563996415),
    "late_10": (0.546858295207955, 0.23304241061126388),
    "void_0": (0.7040479318043965, 0.7125247262010653),
    "void_1": (0.7040479318043965, 0.7125247262010653),
    "void_2": (0.6298701314402061, 0.6902557306483136),
    "void_10": (0.5508181325295264, 0.4670949589561183),
}


@pytest.mark.parametrize("pixels", [1, 2**21])
@pytest.mark.parametrize(("protocol", "layout"), [(RefYoutubeVosProtocol, "youtube"), (MevisProtocol, "mevis")])
def test_scores_are_the_definition(request, monkeypatch, protocol, layout, pixels):
    """For any number of frames per part."""
    monkeypatch.setattr(sys.modules[protocol.__module__], "PIXELS_AT_A_TIME", pixels)
    result = score(protocol, request.getfixturevalue(layout))
    rows = result.rows.to_dict("records")
    assert [(r["video"], r["expression"]) for r in rows] == [(v, e) for v in sorted(VIDEOS) for e in EXPRESSIONS]
    for r in rows:
        j, f = definition(r["video"], r["expression"])
        assert (r["J-Mean"], r["F-Mean"]) == (np.mean(j), np.mean(f))
        assert r["J-Recall"] == np.mean(np.array(j) > 0.5) and r["frames"] == len(j)
        assert r["F-Decay"] == pytest.approx(reference.decay(f), abs=1e-12)
        assert r["text"] == f"text {r['expression']}"
    assert result.summary["J-Mean"] == np.mean([r["J-Mean"] for r in rows])
    assert result.summary["J&F-Mean"] == (result.summary["J-Mean"] + result.summary["F-Mean"]) / 2
    assert result.notes == ()


def test_mevis_is_the_official_script(mevis):
    rows = score(MevisProtocol, mevis).rows.to_dict("records")
    assert {f"{r['video']}_{r['expression']}": (r["J-Mean"], r["F-Mean"]) for r in rows} == OFFICIAL_MEVIS


def test_a_run_and_its_evaluation_agree(tiny):
    """A recipe scores its output frame by frame from memory; `evaluate` scores the files it has written."""
    assert run_ensemble.main(tiny.arguments) == 0
    own = json.loads((tiny.out / "metrics.json").read_text())["steps"]["smr_flow"]
    for pred in (tiny.out / "Annotations", tiny.out / "submission.zip"):
        summary = RefYoutubeVosProtocol().evaluate(tiny.root, pred, 1).summary
        assert summary["J-Mean"] == pytest.approx(own["J"], abs=1e-14)
        assert summary["F-Mean"] == pytest.approx(own["F"], abs=1e-14)


def test_objects_may_lie_in_a_file_of_their_own(youtube):
    expected = score(RefYoutubeVosProtocol, youtube)
    folder = youtube / "gt/meta_expressions/valid"
    ids = {v: {e: list(o) for e, o in EXPRESSIONS.items()} for v in VIDEOS}
    bare = meta("obj_id")
    for video in bare["videos"].values():
        for entry in video["expressions"].values():
            del entry["obj_id"]
    write_json(folder / "meta_expressions.json", bare)
    with pytest.raises(InputError, match=r"nothing to score in split 'valid': expected .*/valid/obj_ids.json"):
        score(RefYoutubeVosProtocol, youtube)
    write_json(folder / "obj_ids.json", ids)
    assert score(RefYoutubeVosProtocol, youtube).rows.equals(expected.rows)


def test_mean_over_objects(youtube):
    """Expressions 0 and 1 refer to one object, which has the weight of one."""
    rows = score(RefYoutubeVosProtocol, youtube).rows
    result = score(RefYoutubeVosProtocol, youtube, average="objects")
    expected = rows.groupby(["video", "objects"])["J-Mean"].mean().mean()
    assert result.summary["J-Mean"] == pytest.approx(expected, abs=1e-14) != rows["J-Mean"].mean()


def test_frames_where_both_are_empty(mevis):
    j, _ = definition("late", "2")
    empty = ~predicted("late", "2").any(axis=(1, 2)) & ~masks(truth("late"), "2").any(axis=(1, 2))
    rows = score(MevisProtocol, mevis, empty_empty=0).rows.set_index(["video", "expression"])
    assert empty.any() and rows.loc[("late", "2"), "J-Mean"] == np.mean(np.where(empty, 0, j))


def test_missing_predictions_are_never_dropped(mevis):
    """The official script omits an expression with a missing frame from the mean; here such frames score 0."""
    full = score(MevisProtocol, mevis)
    shutil.rmtree(mevis / "pred/void")
    shutil.rmtree(mevis / "pred/late/2")
    (mevis / "pred/plain/0/00000.png").unlink()
    result = score(MevisProtocol, mevis)
    rows = result.rows.set_index(["video", "expression"])
    assert len(rows) == len(full.rows)
    assert (rows.loc["void", "J&F-Mean"] == 0).all() and rows.loc[("late", "2"), "J&F-Mean"] == 0
    j, f = definition("plain", "0")
    assert rows.loc[("plain", "0"), "J-Mean"] == np.mean([0, *j[1:]])
    assert rows.loc[("plain", "0"), "F-Mean"] == np.mean([0, *f[1:]])
    assert result.summary["J-Mean"] == np.mean(result.rows["J-Mean"])
    assert "5 of 12 expressions are missing: late/2, void/0, void/1, void/2, void/10; they score 0" in result.notes[0]
    assert "plain/0: 1 of 12 frames are missing: 00000.png; they score 0" in result.notes[1]
    with pytest.raises(InputError, match="5 of 12 expressions are missing"):
        score(MevisProtocol, mevis, missing="error")


def test_missing_masks_may_count_as_empty(mevis):
    """In half of the frames object 2 of `late` is absent: both masks are empty."""
    shutil.rmtree(mevis / "pred/late/2")
    rows = score(MevisProtocol, mevis, missing="empty").rows.set_index(["video", "expression"])
    assert rows.loc[("late", "2"), "J-Mean"] == np.mean(~masks(truth("late"), "2").any(axis=(1, 2)))


def test_mevis_takes_the_folder_of_the_split(mevis):
    alone = MevisProtocol().evaluate(mevis / "gt/valid_u", mevis / "pred", 1)
    assert alone.rows.equals(score(MevisProtocol, mevis).rows)


def test_a_ground_truth_that_shows_nothing(mevis):
    """All annotations of a video are null: its size is that of the predictions."""
    path = mevis / "gt/valid_u/mask_dict.json"
    runs = json.loads(path.read_text())
    write_json(path, {i: [None] * len(r) if int(i) < 10 else r for i, r in runs.items()})
    rows = score(MevisProtocol, mevis).rows.set_index(["video", "expression"])
    for e in EXPRESSIONS:
        assert rows.loc[("plain", e), "J-Mean"] == np.mean(~predicted("plain", e).any(axis=(1, 2)))


def test_videos_without_ground_truth_are_told(youtube):
    shutil.rmtree(youtube / "pred/Annotations/void")
    content = meta("obj_id")
    for entry in content["videos"]["void"]["expressions"].values():
        del entry["obj_id"]
    write_json(youtube / "gt/meta_expressions/valid/meta_expressions.json", content)
    result = score(RefYoutubeVosProtocol, youtube)
    assert set(result.rows["video"]) == {"plain", "late"}
    assert result.notes[0] == "1 of 3 videos have no ground truth and do not count"


def test_frames_without_annotation(youtube):
    (youtube / "gt/valid/Annotations/plain/00010.png").unlink()
    with pytest.raises(InputError, match=r"plain: 1 of 12 annotations are missing: 00010.png; unannotated=skip"):
        score(RefYoutubeVosProtocol, youtube)
    result = score(RefYoutubeVosProtocol, youtube, unannotated="skip")
    row = result.rows.set_index(["video", "expression"]).loc[("plain", "2")]
    j, _ = definition("plain", "2")
    assert row["frames"] == 11 and row["J-Mean"] == np.mean([*j[:2], *j[3:]])
    assert "1 of 12 frames have no annotation and do not count" in result.notes[0]


def test_an_object_that_is_in_no_annotation(youtube):
    content = meta("obj_id")
    content["videos"]["late"]["expressions"]["2"]["obj_id"] = "7"
    write_json(youtube / "gt/meta_expressions/valid/meta_expressions.json", content)
    with pytest.raises(InputError, match=r"late: object '7', to which an expression refers, is in none of its 11"):
        score(RefYoutubeVosProtocol, youtube)


@pytest.mark.parametrize(("protocol", "layout"), [(RefYoutubeVosProtocol, "youtube"), (MevisProtocol, "mevis")])
def test_bad_masks_are_named_all_at_once(request, protocol, layout):
    folder = request.getfixturevalue(layout)
    pred = folder / "pred/Annotations" if layout == "youtube" else folder / "pred"
    (pred / "plain/0/00000.png").write_bytes(png.encode(np.zeros((60, 130), bool)))
    Image.fromarray(np.zeros((60, 131, 3), np.uint8)).save(pred / "plain/1/00005.png")
    (pred / "late/2/00010.png").write_bytes(png.encode_indices((prediction("late")[2] == 1) * np.uint8(3)))
    grey = cv2.imencode(".png", np.arange(45 * 83, dtype=np.uint8).reshape(45, 83))[1].tobytes()
    (pred / "late/10/00015.png").write_bytes(grey)
    with pytest.raises(InputError) as error:
        score(protocol, folder)
    problems = "\n".join(error.value.problems)
    assert len(error.value.problems) == 4
    assert "plain/0/00000.png: 60x130 (HxW), expected the ground truth's 60x131" in problems
    assert "plain/1/00005.png: a RGB colour picture" in problems
    assert "late/2/00010.png: values 0, 3, expected a mask of 0/255 or 0/1" in problems
    assert "late/10/00015.png: values 0, 1, 2" in problems


def test_label_maps_given_to_a_protocol_of_expressions(youtube):
    shutil.rmtree(youtube / "pred")
    write(youtube / "pred", prediction, VIDEOS)
    with pytest.raises(InputError, match=r"a label map per frame, .* this protocol expects a mask per expression"):
        score(RefYoutubeVosProtocol, youtube)


def test_expressions_that_nobody_asked_for(mevis):
    shutil.copytree(mevis / "pred/plain/0", mevis / "pred/plain/99")
    assert score(MevisProtocol, mevis).notes == ("not in gt and ignored: 1 expressions of pred: plain/99",)


def test_damaged_run_lengths(mevis):
    path = mevis / "gt/valid_u/mask_dict.json"
    runs = json.loads(path.read_text())
    runs["1"][0]["counts"] = runs["1"][0]["counts"][:-2]
    write_json(path, runs)
    with pytest.raises(InputError, match=r"video 'plain', annotation '1', frame number 0: damaged"):
        score(MevisProtocol, mevis)


def test_mevis_without_published_masks(mevis):
    (mevis / "gt/valid_u/mask_dict.json").unlink()
    with pytest.raises(InputError, match=r"valid_u: nothing to score: expected mask_dict.json"):
        score(MevisProtocol, mevis)


# davis2017-evaluation's `db_eval_iou` and `db_eval_boundary` per expression on the real clips of ../shared: obj_id's
# mask is `annotation > 0`, the prediction of expression number k is `osvos > 0` rolled 3 k pixels to the right
REAL_J, REAL_F = 0.755754276563084, 0.807638891014794


def test_real_expressions_have_their_official_scores(shared, tmp_path):
    root = shared / "data/ref_davis_mini"
    videos = json.loads((root / "meta_expressions/valid/meta_expressions.json").read_text())["videos"]
    for video, entry in videos.items():
        for frame in entry["frames"]:
            osvos = png.read(shared / "data/predictions/osvos" / video / f"{frame}.png").values > 0
            for k, e in enumerate(entry["expressions"]):
                path = tmp_path / video / e / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png.encode(np.roll(osvos, 3 * k, axis=1)))
    summary = RefYoutubeVosProtocol().evaluate(root, tmp_path, 1).summary
    assert summary["J-Mean"] == pytest.approx(REAL_J, abs=1e-15)  # the order of the sum is another
    assert summary["F-Mean"] == pytest.approx(REAL_F, abs=1e-15)
