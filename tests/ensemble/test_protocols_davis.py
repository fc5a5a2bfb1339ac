"""The DAVIS protocols: bit-exact to the official tools, against a naive reimplementation, and every option."""

import itertools
import json

import numpy as np
import pytest
from helpers import golden_davis as golden
from helpers import label_videos, reference
from helpers.label_videos import LENGTHS, davis_root, prediction, proposals, truth, write
from PIL import Image

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.files.readers.coco_rle import decode
from rvos_ensemble.ensemble.metrics.protocols.davis2017_semi import Davis2017SemiProtocol
from rvos_ensemble.ensemble.metrics.protocols.davis2017_unsup import Davis2017UnsupProtocol
from rvos_ensemble.ensemble.metrics.protocols.label_maps import labels
from rvos_ensemble.ensemble.metrics.protocols.ref_davis17 import RefDavis17Protocol

MEASURES = ["J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"]


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """A folder with `davis`, a DAVIS root, and predictions `semi` and `unsup`."""
    folder = tmp_path_factory.mktemp("davis")
    davis_root(folder / "davis")
    write(folder / "semi", prediction)
    write(folder / "unsup", proposals)
    return folder


def semi(gt, pred, **options):
    return Davis2017SemiProtocol(**options).evaluate(gt, pred, 1)


def unsup(gt, pred, **options):
    return Davis2017UnsupProtocol(**options).evaluate(gt, pred, 1)


def pair(folder, gt, pred, **options):
    """Scores of one video "v" with these label maps [T, H, W]."""
    write(folder / "gt", lambda _: gt, ["v"])
    write(folder / "pred", lambda _: pred, ["v"])
    return semi(folder / "gt", folder / "pred", **options)


# ---------------------------------------------------------------------------------------------- official numbers


def test_semi_supervised_is_the_official_code(masks):
    result = semi(masks / "davis", masks / "semi", gaps="count")
    names = [f"{v}_{i}" for v, i in zip(result.rows["video"], result.rows["object"], strict=True)]
    assert names == [row[0] for row in golden.SEMI]
    assert result.rows[MEASURES].to_numpy().tolist() == [list(row[1:]) for row in golden.SEMI]
    assert result.summary == golden.SEMI_SUMMARY


def test_unsupervised_is_the_official_code(masks):
    result = unsup(masks / "davis", masks / "unsup", gaps="count")
    assert result.rows[MEASURES].to_numpy().tolist() == [list(row[1:]) for row in golden.UNSUP]
    assert result.summary == golden.UNSUP_SUMMARY
    assert list(result.summary) == ["J&F-Mean", *MEASURES]


@pytest.mark.parametrize("pixels", [1, 3 * 60 * 131])
def test_frames_taken_a_few_at_a_time(masks, monkeypatch, pixels):
    """Long videos do not fit in memory, so they are scored in parts; objects appear and vanish between parts."""
    monkeypatch.setattr(labels, "PIXELS_AT_A_TIME", pixels)
    assert semi(masks / "davis", masks / "semi", gaps="count").summary == golden.SEMI_SUMMARY
    assert unsup(masks / "davis", masks / "unsup", gaps="count").summary == golden.UNSUP_SUMMARY
    vosbench = semi(masks / "davis", masks / "semi", late_objects="vosbench", void="object").summary
    assert 100 * vosbench["J&F-Mean"] == pytest.approx(golden.VOSBENCH_SUMMARY[0])


def test_a_proposal_on_void_pixels_only(tmp_path):
    """Its mask is empty where pixels count, but its number still counts, as in the official code."""
    gt = block(4)
    gt[:, 16:19, 20:28] = 255
    gt[2:, 5:15, 5:15] = 0
    pred = block(4, where=np.s_[16:19, 20:28], value=2)
    pred[:2, 0:3, 0:3] = 1
    write(tmp_path / "gt", lambda _: gt, ["v"])
    write(tmp_path / "pred", lambda _: pred, ["v"])
    row = unsup(tmp_path / "gt", tmp_path / "pred").rows.to_dict("records")
    assert [(r["object"], r["proposal"], r["J-Mean"]) for r in row] == [(1, 1, 0.5)]
    with pytest.raises(InputError, match="video v: proposal 2, expected numbers up to 1"):
        unsup(tmp_path / "gt", tmp_path / "pred", max_proposals=1)


def test_unsupervised_names_object_and_proposal(masks):
    """`proposals` renumbers 1, 2, 3 as 4, 1, 6; the rows have the order of the proposals, as in the official code."""
    rows = unsup(masks / "davis", masks / "unsup").rows
    assert list(zip(rows["video"], rows["object"], rows["proposal"], strict=True)) == [
        *(("plain", 2, 1), ("plain", 1, 4), ("void", 2, 1), ("void", 1, 4), ("void", 3, 6)),
        *(("late", 2, 1), ("late", 1, 4), ("gaps", 1, 4), ("gaps", 3, 6), ("odd", 1, 4)),
    ]


def test_late_objects_as_vos_benchmark_has_them(masks):
    result = semi(masks / "davis", masks / "semi", late_objects="vosbench", void="object")
    found = {(r["video"], r["object"]): (r["J-Mean"] * 100, r["F-Mean"] * 100) for r in result.rows.to_dict("records")}
    assert found == {(v, i): (j, f) for v, i, j, f in golden.VOSBENCH}
    assert [100 * result.summary[k] for k in ("J&F-Mean", "J-Mean", "F-Mean")] == pytest.approx(golden.VOSBENCH_SUMMARY)
    late = next(r for r in golden.SEMI if r[0] == "late_1")
    assert found["late", 1][0] < 100 * late[1]  # the two tools differ where an object is absent at first


REAL = {  # the official code on the five real sequences of ../shared, as in golden_davis; osvos > 0 is the prediction
    "semi": {
        "J&F-Mean": 0.7845957188127561,
        "J-Mean": 0.7491543968933804,
        "J-Recall": 0.7990010722952763,
        "J-Decay": 0.20290801760871618,
        "F-Mean": 0.8200370407321318,
        "F-Recall": 0.9210865925466072,
        "F-Decay": 0.1729770869555795,
    },
    "unsup": {
        "J&F-Mean": 0.8181089215465562,
        "J-Mean": 0.7760430241608866,
        "J-Recall": 0.8521938775510204,
        "J-Decay": 0.11530518215207733,
        "F-Mean": 0.860174818932226,
        "F-Recall": 0.9611734693877552,
        "F-Decay": 0.04457795700322784,
    },
}


def test_real_masks_have_their_official_scores(shared, tmp_path):
    data = shared / "data"
    for source, target in (("ref_davis_mini/valid/Annotations", "gt"), ("predictions/osvos", "pred")):
        for path in sorted((data / source).glob("*/*.png")):
            file = tmp_path / target / path.parent.name / path.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png.encode_indices((png.read(path).values > 0).astype(np.uint8)))
    assert semi(tmp_path / "gt", tmp_path / "pred").summary == REAL["semi"]
    assert unsup(tmp_path / "gt", data / "predictions/rvos_proposals").summary == REAL["unsup"]


SAV = {  # the two tools on what `masklets` writes: object 4 of this real video appears in frame 113 of 121
    "davis2017-evaluation": {"J&F-Mean": 0.9261597130529479, "J-Mean": 0.8525627613420728, "F-Mean": 0.999756664763823},
    "vos-benchmark": {"J&F-Mean": 0.9168649628036623, "J-Mean": 0.8339732608435015, "F-Mean": 0.999756664763823},
}


def masklets(shared, folder):
    """`gt` and `pred` in the folder: the manual masklets of SA-V's example, and the same moved by up to 2 pixels."""
    frames = json.loads((shared / "data/sav_example/sav_000001_manual.json").read_text())["masklet"]
    for t, rles in enumerate(frames):
        labels = np.zeros(rles[0]["size"], np.uint8)
        for i, rle in enumerate(rles):
            labels[decode(rle, labels.shape, "masklet")] = i + 1
        for name, values in (("gt", labels), ("pred", np.roll(labels, (t % 5 - 2, t % 3 - 1), (0, 1)))):
            file = folder / name / "sav" / f"{t:05d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png.encode_indices(values))


def test_a_real_object_that_comes_late(shared, tmp_path):
    masklets(shared, tmp_path)
    official = semi(tmp_path / "gt", tmp_path / "pred").summary
    assert {k: official[k] for k in SAV["davis2017-evaluation"]} == SAV["davis2017-evaluation"]
    other = semi(tmp_path / "gt", tmp_path / "pred", late_objects="vosbench", void="object").summary
    assert {k: other[k] for k in SAV["vos-benchmark"]} == pytest.approx(SAV["vos-benchmark"], abs=1e-14)


# ---------------------------------------------------------------------------------------------- a naive oracle


def random_labels(rng, frames, size, highest, void):
    """Label maps of random overlapping shapes."""
    out = np.zeros((frames, *size), np.uint8)
    for t in range(frames):
        for i in [*range(1, highest + 1), *([255] if void else [])]:
            if rng.random() < 0.8:
                out[t][reference.random_mask(rng, *size)] = i
    return out


def naive(gt, pred, i, k, frames, ignore):
    """J and F of predicted object k against object i, lists over frames."""
    radius = reference.default_radius(*gt.shape[1:])
    void = [frame == 255 if ignore else None for frame in gt]
    both = [reference.j_and_f(pred[t] == k, gt[t] == i, radius, void[t]) for t in frames]
    return tuple(list(values) for values in zip(*both, strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_identity_is_the_definition(tmp_path, seed):
    rng = np.random.default_rng(seed)
    size, count = (int(rng.integers(1, 40)), int(rng.integers(1, 140))), int(rng.integers(3, 12))
    gt, pred = (random_labels(rng, count, size, 3, void=side == 0 and seed % 2) for side in (0, 1))
    gt[0].ravel()[:1] = 3  # the highest number is in the first frame
    ignore, keep = bool(seed % 3), bool(seed % 4)
    result = pair(
        tmp_path,
        gt,
        pred,
        void="ignore" if ignore else "background",
        first_last="keep" if keep else "drop",
        gaps="count",
    )
    frames = range(count) if keep else range(1, count - 1)
    for row in result.rows.to_dict("records"):
        j, f = naive(gt, pred, row["object"], row["object"], frames, ignore)
        assert (row["J-Mean"], row["F-Mean"]) == (np.mean(j), np.mean(f))
        assert row["J-Recall"] == np.mean(np.array(j) > 0.5)
        assert row["F-Decay"] == pytest.approx(reference.decay(f), abs=1e-12)
    assert result.rows["object"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("seed", range(8))
def test_hungarian_is_the_best_of_all_permutations(tmp_path, seed):
    rng = np.random.default_rng(100 + seed)
    size, count = (int(rng.integers(5, 40)), int(rng.integers(5, 140))), int(rng.integers(2, 6))
    gt = random_labels(rng, count, size, 2, void=seed % 2)
    gt[0].ravel()[:2] = 1, 2
    pred = random_labels(rng, count, size, int(rng.integers(0, 5)), void=False)
    write(tmp_path / "gt", lambda _: gt, ["v"])
    write(tmp_path / "pred", lambda _: pred, ["v"])
    rows = unsup(tmp_path / "gt", tmp_path / "pred").rows
    numbers = range(1, max(int(pred.max()), 2) + 1)  # zero padding only where there are too few
    means = {}
    for i, k in itertools.product((1, 2), numbers):
        means[i, k] = np.mean(naive(gt, pred, i, k, range(count), ignore=True))
    best = max(means[1, k] + means[2, m] for k, m in itertools.permutations(numbers, 2))
    assert rows["J&F-Mean"].sum() == pytest.approx(best, abs=1e-12)
    for row in rows.to_dict("records"):
        assert row["J&F-Mean"] == pytest.approx(means[row["object"], row["proposal"] or numbers[-1]], abs=1e-12)


# ---------------------------------------------------------------------------------------------- options


def block(frames, size=(20, 30), where=np.s_[5:15, 5:15], value=1):
    out = np.zeros((frames, *size), np.uint8)
    out[(slice(None), *where)] = value
    return out


def test_first_and_last_frame(tmp_path):
    gt = block(5)
    pred = gt.copy()
    pred[0] = pred[-1] = 0
    assert pair(tmp_path, gt, pred).summary["J-Mean"] == 1
    assert pair(tmp_path, gt, pred, first_last="keep").summary["J-Mean"] == pytest.approx(3 / 5)


def test_what_void_is(tmp_path):
    gt, pred = block(3), block(3)
    gt[:, 5:10, 5:15] = 255  # half of what is predicted is undecided
    assert pair(tmp_path, gt, pred, void="ignore").summary["J-Mean"] == 1
    assert pair(tmp_path, gt, pred, void="background").summary["J-Mean"] == 0.5
    rows = pair(tmp_path, gt, pred, void="object").rows
    assert rows["object"].tolist() == [1, 255] and rows["J-Mean"].tolist() == [0.5, 0]


def test_objects_that_come_late(tmp_path):
    """Object 2 is in no first frame; the official code ignores it."""
    gt = block(8)
    gt[4:, 16:19, 20:28] = 2
    pred = gt.copy()
    pred[6:, 16:19] = 0
    with pytest.raises(InputError, match=r"00004.png: object 2, expected .* 1; unknown_ids=ignore"):
        pair(tmp_path, gt, pred)
    davis = pair(tmp_path, gt, pred, unknown_ids="ignore")
    assert davis.rows["object"].tolist() == [1] and "object 2 is not in the first frame" in davis.notes[0]
    rows = pair(tmp_path, gt, pred, late_objects="vosbench").rows
    assert rows["object"].tolist() == [1, 2]
    assert rows["frames"].tolist() == [6, 3]  # frames 4, 5 and 6 of the scored 1 to 6
    assert rows["J-Mean"].tolist() == [1, pytest.approx(2 / 3)]


def test_gaps_in_the_numbers(tmp_path):
    gt = block(4)
    gt[:, 16:19, 20:28] = 3
    skipped = pair(tmp_path, gt, block(4))
    assert skipped.rows["object"].tolist() == [1, 3]
    assert "no object 2" in skipped.notes[0] and "the official code scores it 1" in skipped.notes[0]
    counted = pair(tmp_path, gt, block(4), gaps="count")
    assert counted.rows["J-Mean"].tolist() == [1, 1, 0]
    with pytest.raises(InputError, match="object 2, expected the objects of the ground truth: 1, 3"):
        pair(tmp_path, gt, block(4, value=2))


@pytest.mark.parametrize(("empty_empty", "expected"), [(1, (1 + 2) / 4), (0, 1 / 4)])
def test_frames_where_both_are_empty(tmp_path, empty_empty, expected):
    gt = block(4)
    gt[2:] = 0
    pred = gt.copy()
    pred[1] = 0
    result = pair(tmp_path, gt, pred, first_last="keep", empty_empty=empty_empty)
    assert result.summary["J-Mean"] == result.summary["F-Mean"] == expected


@pytest.mark.parametrize(("missing", "expected"), [("zero", 2 / 6), ("empty", 4 / 6)])
def test_predictions_that_are_missing(tmp_path, missing, expected):
    """Frames 1 and 2 are missing where the object is visible, 4 and 5 where it is not."""
    gt = block(6)
    gt[4:] = 0
    write(tmp_path / "gt", lambda _: gt, ["v"])
    write(tmp_path / "pred", lambda _: gt, ["v"])
    for t in (1, 2, 4, 5):
        (tmp_path / f"pred/v/{t:05d}.png").unlink()
    with pytest.raises(InputError, match=r"4 of 6 frames are missing: 00001.png, 00002.png, 00004.png, 00005.png"):
        semi(tmp_path / "gt", tmp_path / "pred", first_last="keep")
    with pytest.raises(InputError, match=r"3 of 4 frames are missing: 00001.png, 00002.png, 00004.png"):
        semi(tmp_path / "gt", tmp_path / "pred")
    for protocol in (semi, unsup):
        result = protocol(tmp_path / "gt", tmp_path / "pred", missing=missing, first_last="keep")
        assert result.summary["J-Mean"] == result.summary["F-Mean"] == pytest.approx(expected)
        assert "4 of 6 frames are missing" in result.notes[0]


def test_frames_that_do_not_count_need_no_prediction(tmp_path):
    """As in the official code, which only reads the frames between the first and the last."""
    gt = block(6)
    write(tmp_path / "gt", lambda _: gt, ["v"])
    write(tmp_path / "pred", lambda _: gt, ["v"])
    for t in (0, 5):
        (tmp_path / f"pred/v/{t:05d}.png").unlink()
    result = semi(tmp_path / "gt", tmp_path / "pred")
    assert result.summary["J&F-Mean"] == 1 and not any("missing" in note for note in result.notes)


def test_decay_from_256_frames_on(tmp_path):
    gt = block(257, (4, 4), np.s_[1:3, 1:3])
    pred = gt.copy()
    pred[200:] = 0
    assert pair(tmp_path, gt, pred, first_last="keep").summary["J-Decay"] == pytest.approx(57 / 65)
    legacy = pair(tmp_path, gt, pred, first_last="keep", legacy_decay=True).summary
    assert np.isnan(legacy["J-Decay"]) and legacy["J-Mean"] == pytest.approx(200 / 257)


def test_at_most_twenty_proposals(tmp_path):
    write(tmp_path / "gt", lambda _: block(3), ["v"])
    write(tmp_path / "pred", lambda _: block(3, value=21), ["v"])
    with pytest.raises(InputError, match=r"00000.png: proposal 21, expected numbers up to 20"):
        unsup(tmp_path / "gt", tmp_path / "pred")
    assert unsup(tmp_path / "gt", tmp_path / "pred", max_proposals=21).summary["J-Mean"] == 1


def test_more_objects_than_proposals(tmp_path):
    gt = block(3)
    gt[:, 16:19, 20:28] = 2
    write(tmp_path / "gt", lambda _: gt, ["v"])
    write(tmp_path / "pred", lambda _: (gt == 2).astype(np.uint8), ["v"])
    rows = unsup(tmp_path / "gt", tmp_path / "pred").rows
    assert rows[["object", "proposal", "J-Mean"]].to_numpy().tolist() == [[2, 1, 1], [1, 0, 0]]


def test_single_object_masks_written_0_and_255(tmp_path):
    """Object 255, on both sides: the way to score binary data sets such as DAVIS 2016."""
    result = pair(tmp_path, block(4, value=255), block(4, where=np.s_[5:15, 5:10], value=255), void="object")
    assert result.rows[["object", "J-Mean"]].to_numpy().tolist() == [[255, 0.5]]


def test_videos_of_the_split_and_of_the_option(masks):
    (masks / "davis/ImageSets/2017/two.txt").write_text("void\nplain\n")
    assert semi(masks / "davis", masks / "semi", split="two").rows["video"].unique().tolist() == ["void", "plain"]
    result = semi(masks / "davis", masks / "semi", videos=["plain"])
    assert result.rows["video"].unique().tolist() == ["plain"]
    assert "not in gt and ignored: 4 videos of pred: gaps, late, odd and 1 more" in result.notes[0]
    with pytest.raises(InputError, match="no video 'nowhere'"):
        semi(masks / "davis", masks / "semi", videos="nowhere")


def test_options_are_checked():
    with pytest.raises(InputError, match="setting `void` is 'ignored', expected one of background, ignore, object"):
        Davis2017SemiProtocol(void="ignored")
    with pytest.raises(InputError, match="unknown key `late_object`, did you mean `late_objects`"):
        Davis2017SemiProtocol(late_object="davis")


def test_late_objects_have_no_assignment(masks):
    with pytest.raises(InputError, match="needs assignment=identity"):
        unsup(masks / "davis", masks / "unsup", late_objects="vosbench")


# ---------------------------------------------------------------------------------------------- Ref-DAVIS17


def test_ref_davis17_is_the_mean_of_four_unsupervised_runs(masks, tmp_path):
    for k in range(4):  # annotator k sees what annotator 0 sees, k pixels to the right
        write(tmp_path / f"anno_{k}", lambda v, k=k: np.roll(proposals(v), k, axis=2))
    result = RefDavis17Protocol().evaluate(masks / "davis", tmp_path, 1)
    alone = [unsup(masks / "davis", tmp_path / f"anno_{k}") for k in range(4)]
    for measure in ("J&F-Mean", *MEASURES):
        assert result.summary[measure] == np.mean([r.summary[measure] for r in alone])
    assert [result.summary[f"J&F anno_{k}"] for k in range(4)] == [r.summary["J&F-Mean"] for r in alone]
    for k, r in enumerate(alone):
        own = result.rows[result.rows["annotator"] == f"anno_{k}"].drop(columns="annotator").reset_index(drop=True)
        assert own.equals(r.rows)
    (tmp_path / "anno_2").rename(tmp_path / "anno_two")
    with pytest.raises(InputError, match=r"no anno_2; expected label maps anno_K/VIDEO/FRAME.png"):
        RefDavis17Protocol().evaluate(masks / "davis", tmp_path, 1)


# ---------------------------------------------------------------------------------------------- bad files


def test_all_problems_are_told_at_once(masks, tmp_path):
    """Wrong size, a colour picture, damage, a mask of 0/255: each is reported with its file, and nothing is scored."""
    write(tmp_path / "pred", prediction)
    folder = tmp_path / "pred"
    (folder / "plain/00003.png").write_bytes(png.encode_indices(np.zeros((60, 130), np.uint8)))
    Image.fromarray(np.zeros((97, 150, 3), np.uint8)).save(folder / "void/00002.png")
    (folder / "late/00004.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "odd/00001.png").write_bytes(png.encode(prediction("odd")[1] > 0))
    with pytest.raises(InputError) as error:
        semi(masks / "davis", folder)
    problems = "\n".join(error.value.problems)
    assert len(error.value.problems) == 4
    assert "plain/00003.png: 60x130 (HxW), expected the ground truth's 60x131" in problems
    assert "void/00002.png: a RGB colour picture, expected a mask" in problems
    assert "late/00004.png: damaged PNG" in problems
    assert "odd/00001.png: a 0/255 mask, expected a label map" in problems and "void=object" in problems


def test_a_void_label_in_a_prediction(masks, tmp_path):
    write(tmp_path / "pred", lambda v: np.maximum(prediction(v), truth(v)))
    with pytest.raises(InputError, match=r"void/00001.png: holds 255, which is void in a ground truth"):
        semi(masks / "davis", tmp_path / "pred")


def test_videos_that_are_missing(masks, tmp_path):
    write(tmp_path / "pred", prediction, ["plain", "odd"])
    with pytest.raises(InputError, match=r"pred: 3 of 5 videos are missing: void, late, gaps"):
        semi(masks / "davis", tmp_path / "pred")
    result = semi(masks / "davis", tmp_path / "pred", missing="zero")
    assert result.rows.groupby("video")["J-Mean"].max()[["gaps", "late", "void"]].tolist() == [0, 0, 0]
    assert len(result.rows) == len(golden.SEMI) - 1


def test_no_video_at_all(masks, tmp_path):
    write(tmp_path / "pred" / "results" / "other", prediction, ["plain"])
    (tmp_path / "pred/results/other/plain").rename(tmp_path / "pred/results/other/elsewhere")
    with pytest.raises(InputError, match="none of the 5 videos of the ground truth"):
        semi(masks / "davis", tmp_path / "pred", missing="zero")


def test_mixed_layouts(masks, tmp_path):
    write(tmp_path / "pred", prediction)
    write(tmp_path / "pred" / "plain", prediction, ["odd"])
    with pytest.raises(InputError, match=r"plain: both folders \(odd\) and PNG files .*mixed layouts"):
        semi(masks / "davis", tmp_path / "pred")
    for video in label_videos.SIZES:
        write(tmp_path / "tree" / video, lambda _, v=video: prediction(v), ["0"])
    with pytest.raises(InputError, match=r"a mask per expression, .* in video plain, void, late"):
        semi(masks / "davis", tmp_path / "tree")


@pytest.mark.parametrize(("value", "reason"), [(0, "no objects to score"), (255, r"looks binary \(0/255\)")])
def test_a_ground_truth_without_objects(tmp_path, value, reason):
    with pytest.raises(InputError, match=reason):
        pair(tmp_path, block(4, value=value), block(4, value=0))


def test_a_video_of_two_frames(tmp_path):
    with pytest.raises(InputError, match="video of 2 frames, of which the first and the last do not count"):
        pair(tmp_path, block(2), block(2))


def test_damaged_ground_truth(masks, tmp_path):
    write(tmp_path / "gt", truth)
    (tmp_path / "gt/plain/00000.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"plain/00000.png: not a PNG file: it is empty"):
        semi(tmp_path / "gt", masks / "semi")


def test_lengths_are_those_of_the_ground_truth(masks):
    """Other frames in pred are ignored."""
    rows = semi(masks / "davis", masks / "semi").rows
    assert {r["video"]: r["frames"] + 2 for r in rows.to_dict("records")} == LENGTHS
