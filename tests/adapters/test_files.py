"""Mask files of every format, written by their own libraries, are read as predictions; and all kinds of errors."""

import copy
import io
import json
import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco

from rvos_ensemble.adapters import Clip, Expression, InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.masks import quantise
from rvos_ensemble.adapters.core.prediction import check_prediction
from rvos_ensemble.adapters.files import Files
from rvos_ensemble.adapters.files.readers import coco_rle

# of pycocotools 2.0.11 under numpy 2.4; harmless
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

T, H, W = 3, 11, 17
FRAMES = ("00000", "00005", "00015")
VIDEOS = {"bear": ("0", "1"), "judo": ("0", "1", "10")}


@dataclass(frozen=True)
class Blank:
    """Frames that have only a size."""

    size: tuple[int, int] = (H, W)

    def read(self, t):
        return np.zeros((*self.size, 3), np.uint8)

    def fingerprint(self):
        return ""


def clip_of(video: str, size=(H, W)) -> Clip:
    ids = VIDEOS[video]
    return Clip(
        video, FRAMES, tuple(Expression(video, i, "a thing", (str(k + 1),)) for k, i in enumerate(ids)), Blank(size)
    )


CLIPS = [clip_of(video) for video in VIDEOS]


def truth(video: str, expression: str, t: int) -> np.ndarray:
    random = np.random.default_rng([list(VIDEOS).index(video), int(expression), t])
    return random.random((H, W)) > 0.6


def each():
    for video, ids in VIDEOS.items():
        for i in ids:
            yield video, i, np.stack([truth(video, i, t) for t in range(T)])


def scores_of(video, expression) -> list[float]:
    return [0.25 + len(video) + int(expression) + t for t in range(T)]


def save(path: Path, image: Image.Image, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "PNG", **options)


def palette_image(values: np.ndarray) -> Image.Image:
    image = Image.frombytes("P", values.shape[::-1], values.astype(np.uint8).tobytes())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    return image


WAYS = {
    "0/255": lambda m: Image.fromarray(m.astype(np.float32) * 255).convert("L"),
    "0/1": lambda m: Image.fromarray(m.astype(np.uint8)),
    "1-bit": Image.fromarray,
    "palette 0/1": palette_image,
}


def write_tree(root: Path, way="0/255") -> Path:
    for video, i, masks in each():
        for frame, mask in zip(FRAMES, masks, strict=True):
            save(root / video / i / f"{frame}.png", WAYS[way](mask))
    return root


def zip_tree(root: Path, path: Path, prefix="") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, prefix + file.relative_to(root).as_posix())
    return path


def expect_truth(files: Files, clips=CLIPS) -> None:
    assert files.check(clips) == []
    files = pickle.loads(pickle.dumps(files))
    for clip in clips:
        prediction = pickle.loads(pickle.dumps(check_prediction(files.predict(clip), clip, "files")))
        for i, sequence in prediction.items():
            for t in range(T):
                mask = sequence.mask(t)
                assert mask.dtype == bool
                np.testing.assert_array_equal(mask, truth(clip.name, i, t))


def problems(files: Files, clips=CLIPS) -> str:
    """All that `check` reports; `predict` must not succeed if it reports something."""
    reported = files.check(clips)
    assert reported and len(reported) == len(set(reported))
    with pytest.raises(InputError):
        for clip in clips:
            for sequence in files.predict(clip).values():
                for t in range(T):
                    sequence.mask(t)
    return "\n".join(reported)


# PNG: a folder per expression


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("top", ["", "Annotations", "submission/Annotations", "valid", "run/valid/Annotations"])
def test_png_tree(tmp_path, way, top):
    write_tree(tmp_path / "soc" / top, way)
    (tmp_path / "soc" / ".DS_Store").write_bytes(b"")
    (tmp_path / "soc" / top / "bear" / "0" / "._00000.png").write_bytes(b"")
    expect_truth(Files(path=str(tmp_path / "soc")))


@pytest.mark.parametrize("prefix", ["", "Annotations/", "submission/Annotations/", "./", "top\\Annotations\\"])
def test_png_zip(tmp_path, prefix):
    path = zip_tree(write_tree(tmp_path / "tree"), tmp_path / "soc.zip", prefix)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/Annotations/bear/0/._00000.png", b"litter")
        archive.writestr("Annotations/.DS_Store", b"litter")
    expect_truth(Files(path=str(path)))


def test_png_probabilities(tmp_path):
    grey = {t: np.arange(H * W, dtype=np.uint8).reshape(H, W) + t for t in range(T)}
    for video, i, _ in each():
        for t, frame in enumerate(FRAMES):
            save(tmp_path / "soft" / video / i / f"{frame}.png", Image.fromarray(grey[t]))
    files = Files(path=str(tmp_path / "soft"), kind="prob")
    assert files.check(CLIPS) == []
    sequence = files.predict(CLIPS[0])["0"]
    assert sequence.kind == "prob"
    np.testing.assert_array_equal(sequence.prob_at(1), grey[1])
    assert "values 0, 1, 2, 3, 4, 5, 6, 7, ...," in problems(Files(path=str(tmp_path / "soft")))
    write_tree(tmp_path / "hard", "palette 0/1")
    assert "a palette picture cannot be `kind: prob`" in problems(Files(path=str(tmp_path / "hard"), kind="prob"))
    assert "cannot be `kind: logits`" in problems(Files(path=str(tmp_path / "hard"), kind="logits"))


@pytest.fixture
def tree(tmp_path) -> Path:
    return write_tree(tmp_path / "soc")


@pytest.mark.parametrize("as_zip", [False, True])
def test_all_that_is_missing_or_wrong_is_named(tree, as_zip):
    for frame in ("00000", "00015"):
        (tree / "bear" / "0" / f"{frame}.png").unlink()
    save(tree / "bear" / "1" / "00000.png", Image.new("L", (W + 1, H)))
    save(tree / "judo" / "0" / "00005.png", Image.new("RGB", (W, H)))
    save(tree / "judo" / "1" / "00000.png", Image.fromarray(np.full((H, W), 38, np.uint8)))
    (tree / "judo" / "10" / "00015.png").write_bytes(b"not a picture")
    save(tree / "judo" / "10" / "00020.png", Image.new("L", (W, H)))
    path = zip_tree(tree, tree.with_name("z.zip")) if as_zip else tree
    reported = problems(Files(path=f"{path}" if as_zip else f"{path}/"))
    for words in (
        "bear/0: 2 of 3 frames are missing: 00000.png, 00015.png",
        f"bear/1/00000.png: {H}x{W + 1} (HxW), expected the clip's {H}x{W}",
        "judo/0/00005.png: a RGB colour picture",
        "judo/1/00000.png: values 38, expected a mask of 0/255 or 0/1",
        "judo/10: 00020.png not among the frames of the data set",
    ):
        assert words in reported
    assert reported.count("\n") == 4
    ignoring = problems(Files(path=f"{path}" if as_zip else f"{path}/", extra="ignore"))
    assert "00020.png" not in ignoring and "judo/10/00015.png: not a PNG file" in ignoring


def test_missing_and_extra_names(tree):
    (tree / "bear" / "1").rename(tree / "bear" / "7")
    reported = problems(Files(path=str(tree)))
    assert "video 'bear': no masks of expression '1'" in reported
    assert "video 'bear': expression '7' is not in the data set (it has 0, 1)" in reported
    assert "'7'" not in problems(Files(path=str(tree), extra="ignore"))
    (tree / "bear").rename(tree / "beer")
    reported = problems(Files(path=str(tree)))
    assert "no masks of video 'bear'; expected a folder of that name" in reported
    assert "at the top: beer, judo" in reported
    expect_truth(Files(path=str(tree)), CLIPS[1:])  # videos that the data set does not list do no harm


def test_wrong_root_and_mixed_layouts(tree, tmp_path):
    flat = tmp_path / "flat.zip"
    with zipfile.ZipFile(flat, "w") as archive:
        archive.write(tree / "bear" / "0" / "00000.png", "00000.png")
    assert "at the top: 00000.png" in problems(Files(path=str(flat)))
    save(tree / "bear" / "00000.png", Image.new("L", (W, H)))
    assert "bear: both folders (0, 1) and PNG files (00000.png)" in problems(Files(path=str(tree)))
    write_tree(tree / "Annotations")
    assert "judo in several places: " in problems(Files(path=str(tree)))


def test_layouts_mixed_between_videos(tree):
    for i in VIDEOS["bear"]:
        for file in (tree / "bear" / i).iterdir():
            file.rename(tree / "bear" / file.name)
        (tree / "bear" / i).rmdir()
    assert "mixed layouts: a folder per expression in video judo; one PNG per frame in video bear" in "\n".join(
        Files(path=str(tree), objects="any").check(CLIPS)
    )


def test_damaged_zips(tree, tmp_path):
    path = zip_tree(tree, tmp_path / "a.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert "a.zip: cannot be read as a zip" in problems(Files(path=str(path)))
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in sorted(tree.rglob("*.png")):
            archive.write(file, file.relative_to(tree).as_posix())
        archive.writestr("bear/0/00000.png", b"again")
    assert "bear/0/00000.png: twice in the zip" in problems(Files(path=str(path)))
    damaged = bytearray(whole)
    damaged[60] ^= 255  # in the first member's data
    path.write_bytes(damaged)
    assert "a.zip:bear/0/00000.png: damaged" in problems(Files(path=str(path)))


# PNG: object ids


def write_ids(root: Path, video="bear") -> list[np.ndarray]:
    pictures = []
    for t, frame in enumerate(FRAMES):
        ids = np.random.default_rng(t).integers(0, 4, (H, W), np.uint8)
        save(root / video / f"{frame}.png", palette_image(ids))
        pictures.append(ids)
    return pictures


def test_object_ids(tmp_path):
    pictures = write_ids(tmp_path / "osvos")
    bear = CLIPS[0]
    both = Clip(
        "bear", FRAMES, (Expression("bear", "0", "two", ("1", "3")), Expression("bear", "1", "", ("9",))), Blank()
    )
    for objects, clip, expected in [
        ("expression", bear, {"0": [1], "1": [2]}),
        ("expression", both, {"0": [1, 3], "1": [9]}),
        ("any", both, {"0": [1, 2, 3], "1": [1, 2, 3]}),
    ]:
        files = Files(path=str(tmp_path / "osvos"), objects=objects)
        assert files.check([clip]) == []
        for i, sequence in files.predict(clip).items():
            for t in range(T):
                np.testing.assert_array_equal(sequence.mask(t), np.isin(pictures[t], expected[i]))


def test_ids_where_a_mask_is_expected_and_the_reverse(tmp_path, tree):
    bear = CLIPS[:1]
    for i in VIDEOS["bear"]:
        write_ids(tmp_path / "ids" / "bear", i)
    reported = problems(Files(path=str(tmp_path / "ids")), bear)
    assert (
        "ids/bear/0/00000.png: values 0, 1, 2, 3, expected a mask of 0/255 or 0/1" in reported
        and "`objects: any`" in reported
    )
    assert Files(path=str(tmp_path / "ids"), objects="any").predict(CLIPS[0])["0"].mask(0).any()
    for frame in FRAMES:
        save(tmp_path / "grey" / "bear" / f"{frame}.png", WAYS["0/255"](truth("bear", "0", 0)))
    reported = problems(Files(path=str(tmp_path / "grey")), bear)
    assert "grey/bear/00000.png: a 0/255 mask, expected object ids (1 for this expression)" in reported
    np.testing.assert_array_equal(
        Files(path=str(tmp_path / "grey"), objects="any").predict(CLIPS[0])["1"].mask(2), truth("bear", "0", 0)
    )
    nameless = Clip("bear", FRAMES, (Expression("bear", "0", "it"),), Blank())
    write_ids(tmp_path / "osvos")
    reported = problems(Files(path=str(tmp_path / "osvos")), [nameless])
    assert "objects 1 and 2, and the only expression of the video does not say which one it means" in reported
    two = Clip("bear", FRAMES, tuple(Expression("bear", i, "it") for i in "01"), Blank())
    assert "the data set gives no ids from 1 to 255" in problems(Files(path=str(tmp_path / "osvos")), [two])


# COCO RLE


def write_rle(path: Path, scores=True, change=lambda data: None) -> Path:
    data = {}
    for video, i, masks in each():
        rles = [coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]
        data.setdefault(video, {})[i] = [{"size": list(r["size"]), "counts": r["counts"].decode()} for r in rles]
    if scores:
        data["scores"] = {v: {i: scores_of(v, i) for i in ids} for v, ids in VIDEOS.items()}
    change(data)
    path.write_text(json.dumps(data))
    return path


def test_rle(tmp_path):
    write_rle(tmp_path / "uninext.json")
    expect_truth(Files(path=str(tmp_path / "uninext")))
    for clip in CLIPS:
        for i, sequence in Files(path=str(tmp_path / "uninext.json")).predict(clip).items():
            assert sequence.scores.tolist() == scores_of(clip.name, i)

    def change(data):
        data["bear"]["0"][1] = None
        data["bear"]["1"][0]["counts"] = coco_rle.runs(data["bear"]["1"][0]["counts"]).tolist()

    files = Files(path=str(write_rle(tmp_path / "null.json", scores=False, change=change)))
    assert files.check(CLIPS) == []
    prediction = files.predict(CLIPS[0])
    assert not prediction["0"].mask(1).any() and prediction["0"].scores is None
    np.testing.assert_array_equal(prediction["1"].mask(0), truth("bear", "1", 0))


def test_rle_wrong(tmp_path):
    def change(data):
        bear, judo = data["bear"], data["judo"]
        bear["0"][1]["counts"] = bear["0"][1]["counts"][:-9]
        bear["1"].pop()
        judo["0"][0]["size"] = [W, H]
        judo["1"][2] = "x"
        judo["10"][1]["counts"] = "é"
        data["scores"]["bear"].pop("0")

    path = write_rle(tmp_path / "u.json", change=change)
    reported = problems(Files(path=str(path)))
    for words in (
        "video 'bear', expression '0': not among the `scores`",
        "video 'bear', expression '1': 2 masks, expected a list of 3",
        f"video 'judo', expression '0', frame 0: size [{W}, {H}], expected the clip's [{H}, {W}]",
        "video 'judo', expression '1', frame 2: expected null or {",
        f"video 'judo', expression '10', frame 1: damaged: its runs do not add up to {H}x{W} pixels",
    ):
        assert words in reported
    write_rle(path, scores=False, change=lambda d: d["bear"]["0"][1].update(counts="1"))
    assert "expression '0', frame 1: damaged" in problems(Files(path=str(path)))
    path.write_text('{"bear": ')
    assert "u.json: cannot be read as json" in problems(Files(path=str(path)))
    path.write_text("[]")
    assert "u.json: a json list, expected an object" in problems(Files(path=str(path)))
    assert "cannot be `kind: prob`" in problems(Files(path=str(write_rle(path)), kind="prob"))


@settings(max_examples=100, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.booleans())
def test_rle_against_pycocotools(mask, tall):
    mask = np.repeat(mask, 30, axis=0) if tall else mask
    (rle,) = coco_rle.encode([mask])
    np.testing.assert_array_equal(coco_rle.decode(rle, mask.shape, ""), mask)
    if rle:
        np.testing.assert_array_equal(coco.decode(rle), mask)
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat, prepend=False))
        assert coco_rle.runs(rle["counts"]).tolist() == np.diff([0, *edges, flat.size]).tolist()


# npz


def write_npz(path: Path, convert=lambda m: m, scores=True) -> Path:
    arrays_ = {}
    for video, i, masks in each():
        arrays_[f"{video}/{i}/masks"] = convert(masks)
        if scores:
            arrays_[f"{video}/{i}/scores"] = np.array(scores_of(video, i))
    np.savez_compressed(path, **arrays_)
    return path


def margins(masks: np.ndarray) -> np.ndarray:
    """Logits whose sign is the mask, including the smallest ones."""
    steps = np.random.default_rng(1).choice([1e-6, 0.3, 4, 90], masks.shape)
    return np.where(masks, steps, -steps).astype(np.float32)


def as_probabilities(masks):
    return torch.sigmoid(torch.from_numpy(margins(masks))).numpy()


FLOATS = {
    "bool": (lambda m: m, None),
    "bool declared": (lambda m: m, "binary"),
    "0/1": (lambda m: m.astype(np.uint8), "binary"),
    "0/255": (lambda m: m * np.uint8(255), "binary"),
    "uint8": (lambda m: quantise(as_probabilities(m)), None),
    "int64": (lambda m: m.astype(np.int64), "binary"),
    "float 0/1": (lambda m: m.astype(np.float32), "binary"),
    "prob": (as_probabilities, "prob"),
    "prob64": (lambda m: as_probabilities(m).astype(np.float64), "prob"),
    "logits": (margins, "logits"),
    "logits16": (lambda m: margins(m).astype(np.float16), "logits"),
}


@pytest.mark.parametrize("name", FLOATS)
def test_npz_and_pth_of_every_dtype(tmp_path, name):
    convert, kind = FLOATS[name]
    write_npz(tmp_path / "m.npz", convert)
    expect_truth(Files(path=str(tmp_path / "m.npz"), kind=kind))
    for video, i, masks in each():
        (tmp_path / "tree" / video).mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "tree" / video / f"{i}.npz", masks=convert(masks), scores=scores_of(video, i))
    expect_truth(Files(path=str(tmp_path / "tree"), kind=kind))
    write_pth(tmp_path / "m.pth", convert)
    expect_truth(Files(path=str(tmp_path / "m.pth"), kind=kind))
    for source in ("m.npz", "tree", "m.pth"):
        sequence = Files(path=str(tmp_path / source), kind=kind).predict(CLIPS[1])["10"]
        assert sequence.scores.tolist() == scores_of("judo", "10")
        if sequence.kind == "prob":
            given_values = convert(np.stack([truth("judo", "10", t) for t in range(T)]))
            wide = torch.from_numpy(given_values)[2].float()
            value = {None: wide, "prob": wide * 255, "logits": torch.sigmoid(wide) * 255}[kind].numpy()
            assert np.abs(sequence.prob_at(2).astype(float) - value).max() <= 0.5 + 1e-4


def test_npz_wrong(tmp_path):
    npz = tmp_path / "m.npz"
    for convert, kind, words in [
        (margins, None, "masks of dtype float32: set `kind: binary` or `kind: prob` or `kind: logits`"),
        (margins, "prob", "are logits, declared as `kind: prob`; set `kind: logits`"),
        (as_probabilities, "logits", "are probabilities, declared as `kind: logits`; set `kind: prob`"),
        (lambda m: m.astype(np.uint8), None, "uint8 means probabilities in 0..255, these look like a 0/1 mask"),
        (lambda m: m.astype(np.uint8), "logits", "masks of dtype uint8 cannot be `kind: logits`, but binary or prob"),
        (lambda m: m, "prob", "masks of dtype bool cannot be `kind: prob`, but binary"),
        (lambda m: m.astype(np.int32), None, "masks of dtype int32: set `kind: binary`"),
        (lambda m: m * np.uint8(7), "binary", "values from 0 to 7, declared as `kind: binary`"),
        (lambda m: np.where(m, np.nan, 0.5), "prob", "not all are numbers"),
        (lambda m: m.astype(complex), None, "masks of dtype complex128, expected bool, uint8 or a float"),
        (lambda m: m[:2], None, f"shape [2, {H}, {W}], expected [3, {H}, {W}]"),
        (lambda m: m[:, :, 1:], None, f"shape [3, {H}, {W - 1}], expected [3, {H}, {W}]"),
    ]:
        write_npz(npz, convert)
        assert words in problems(Files(path=str(npz), kind=kind))
        write_pth(tmp_path / "m.pth", convert)
        assert words in problems(Files(path=str(tmp_path / "m.pth"), kind=kind))


def test_npz_wrong_otherwise(tmp_path):
    npz = tmp_path / "m.npz"
    mixed = np.full((T, H, W), 255, np.uint8)
    mixed[1, 0, 0] = 1
    write_npz(npz, lambda m: mixed)
    with pytest.raises(InputError, match=r"bear/0/masks, frame 1: values 1, 255, expected a mask"):
        Files(path=str(npz), kind="binary").predict(CLIPS[0])["0"].mask(0)
    np.savez(npz, **{"bear/0/masks": np.zeros((T, H, W), bool), "bear/0/scores": [1.0, 2.0], "walrus/0/masks": [1]})
    reported = problems(Files(path=str(npz)))
    assert "video 'bear': no masks of expression '1'" in reported
    assert "no masks of video 'judo'; it has bear, walrus" in reported
    np.savez(npz, **{f"bear/{i}/masks": np.zeros((T, H, W), bool) for i in "01"}, **{"bear/1/scores": [1.0, 2.0]})
    assert "bear/1/scores: 2 scores, expected 3, one for every frame" in problems(Files(path=str(npz)), CLIPS[:1])
    np.savez(npz, **{f"bear/{i}/masks": np.array([[[{}] * W] * H] * T, object) for i in "01"})
    assert "masks of dtype object" in problems(Files(path=str(npz)), CLIPS[:1])
    npz.write_bytes(npz.read_bytes()[:200])
    assert "m.npz: cannot be read as a zip" in problems(Files(path=str(npz)))


# the winner's .pth


def write_pth(path: Path, convert=margins, videos=tuple(VIDEOS), **options) -> Path:
    data = {}
    for video, i, masks in each():
        if video in videos:
            entry = {"mask_logits": torch.from_numpy(convert(masks)), "class_info": scores_of(video, i)}
            data.setdefault(video, {})[i] = entry
    torch.save(data, path, **options)
    return path


def test_pth_chunks(tmp_path):
    (tmp_path / "soc").mkdir()
    write_pth(tmp_path / "soc" / "0.pth", videos=["bear"])
    write_pth(tmp_path / "soc" / "1.pth", videos=["judo"])
    expect_truth(Files(path=str(tmp_path / "soc"), kind="logits"))
    write_pth(tmp_path / "soc" / "2.pth", videos=["judo"])
    reported = problems(Files(path=str(tmp_path / "soc"), kind="logits"))
    assert "video 'judo' is in more than one file" in reported and "1.pth, " in reported


def test_pth_of_tensors_and_bfloat16(tmp_path):
    path = tmp_path / "m.pth"
    entry = {"mask_logits": torch.from_numpy(margins(truth("bear", "0", 0)[None].repeat(T, 0))).bfloat16()}
    scores = [torch.tensor(0.5), torch.tensor(0.25), 1]
    torch.save({"bear": {"0": {**entry, "class_info": scores}, "1": entry}}, path)
    prediction = Files(path=str(path), kind="logits").predict(CLIPS[0])
    np.testing.assert_array_equal(prediction["0"].mask(1), truth("bear", "0", 0))
    assert prediction["0"].scores.tolist() == [0.5, 0.25, 1] and prediction["1"].scores is None


class Hostile:
    def __reduce__(self):
        return print, ("executed",)


def test_pth_wrong(tmp_path, capsys):
    path = tmp_path / "m.pth"
    files = Files(path=str(path), kind="logits")
    for data, words in [
        ({"bear": {"0": Hostile()}}, "m.pth: cannot be read: Weights only load failed"),
        ([1], "m.pth: a list, expected {video: {expression: ...}}"),
        ({"bear": 3}, "video 'bear': a int, expected {expression: ...}"),
        ({"bear": {"0": {"masks": 1}, "1": 2}}, "'class_info': [T]}, found a dict of masks"),
        ({"bear": {"0": 1}, "deer": {}}, "no masks of expression '1'"),
        ({"deer": {}}, "no masks of video 'bear'; it has deer"),
    ]:
        torch.save(data, path)
        assert words in problems(files, CLIPS[:1])
    assert "executed" not in capsys.readouterr().out
    write_pth(path, _use_new_zipfile_serialization=False)
    assert "in its format since torch 1.6" in problems(files)
    path.write_bytes(write_pth(path).read_bytes()[:600])
    assert "m.pth: cannot be read" in problems(files)


# side files, names, fingerprints


def test_scores_and_key_frames_from_side_files(tmp_path, tree):
    beside = tmp_path / "soc.scores.json"
    scores = {v: {i: scores_of(v, i) for i in ids} for v, ids in VIDEOS.items()}
    beside.write_text(json.dumps(scores))
    keys = {v: {i: {"index_info": {"class_index": len(i)}} for i in ids} for v, ids in VIDEOS.items()}
    (tmp_path / "key_frame.json").write_text(json.dumps(keys))
    files = Files(path=str(tree), key_frames=str(tmp_path / "key_frame.json"))
    assert files.check(CLIPS) == []
    sequence = files.predict(CLIPS[1])["10"]
    assert sequence.scores.tolist() == scores_of("judo", "10") and sequence.notes == {"key_frame": 2}
    assert json.loads(json.dumps(dict(sequence.notes))) == {"key_frame": 2}

    other = copy.deepcopy(scores)
    other["judo"]["0"].pop()
    other["judo"]["1"] = ["a", 1, 2]
    other["judo"]["10"][1] = float("nan")
    del other["bear"]["0"]
    (tmp_path / "other.json").write_text(json.dumps(other))
    reported = problems(Files(path=str(tree), scores=str(tmp_path / "other.json")))
    for words in (
        "other.json: video 'bear', expression '0': no entry",
        "video 'judo', expression '0': 2 scores, expected 3",
        "video 'judo', expression '1': scores are not a list of 3 numbers",
        "video 'judo', expression '10': score of frame 1 is not finite",
    ):
        assert words in reported
    keys["bear"] = {"0": {"index_info": {"class_index": T}}, "1": 1}
    (tmp_path / "key_frame.json").write_text(json.dumps(keys))
    assert "video 'bear', expression '0': expected a key frame 0..2" in problems(files)
    assert "no.json: cannot be read: No such file" in problems(Files(path=str(tree), scores=str(tmp_path / "no.json")))


def test_side_file_takes_precedence(tmp_path):
    write_npz(tmp_path / "m.npz")
    (tmp_path / "m.scores.json").write_text(json.dumps({"bear": {"0": [1, 2, 3], "1": [4, 5, 6]}}))
    assert Files(path=str(tmp_path / "m")).predict(CLIPS[0])["1"].scores.tolist() == [4, 5, 6]


def test_stems(tmp_path, tree):
    assert Files(path=str(tree)).check(CLIPS) == []
    zip_tree(tree, tmp_path / "soc.zip")
    assert "several candidates" in problems(Files(path=str(tree)))
    for path in (f"{tree}/", f"{tree}.zip"):
        expect_truth(Files(path=path))
    assert f"{tmp_path / 'mutr'}: no masks at this path; looked in {tmp_path} for mutr/, mutr.zip" in problems(
        Files(path=str(tmp_path / "mutr"))
    )
    (tmp_path / "a.txt").write_text("")
    assert "expected a folder, or one of .zip" in problems(Files(path=str(tmp_path / "a.txt")))
    (tmp_path / "empty").mkdir()
    assert "empty/: holds no masks" in problems(Files(path=str(tmp_path / "empty")))
    write_npz(tmp_path / "soc.v2.npz")
    expect_truth(Files(path=str(tmp_path / "soc.v2")))


def test_settings_and_label(tmp_path, tree):
    for setting in ({"kind": "logit"}, {"objects": "all"}, {"extra": "warn"}):
        with pytest.raises(InputError, match=f"setting `{next(iter(setting))}` is .* expected one of"):
            Files(path="x", **setting)
    with pytest.raises(InputError, match="`path` must be given"):
        Files()
    assert Files(path=str(tree)).label() == ""
    (tmp_path / "soc.about.json").write_text('{"label": "simulated"}')
    assert Files(path=str(tree)).label() == "simulated"
    assert Files.stored is False


@pytest.mark.parametrize("form", ["tree", "zip", "json", "npz", "pth", "npz tree", "ids"])
def test_fingerprint_follows_the_files(tmp_path, form):
    def write(change: bool) -> Path:
        def turn(masks):
            return ~masks if change else masks

        if form in ("tree", "zip"):
            tree = write_tree(tmp_path / "t")
            if change:
                save(tree / "bear" / "0" / "00005.png", Image.new("L", (W, H)))
            return tree if form == "tree" else zip_tree(tree, tmp_path / "t.zip")
        if form == "ids":
            write_ids(tmp_path / "i")
            if change:
                save(tmp_path / "i" / "bear" / "00005.png", palette_image(np.ones((H, W))))
            return tmp_path / "i"
        if form == "json":
            return write_rle(tmp_path / "m.json", change=lambda d: d["bear"]["0"].reverse() if change else None)
        if form == "npz tree":
            (tmp_path / "n" / "bear").mkdir(parents=True, exist_ok=True)
            for i in "01":
                np.savez(tmp_path / "n" / "bear" / f"{i}.npz", masks=turn(np.eye(9, dtype=bool)))
            return tmp_path / "n"
        return (write_npz if form == "npz" else write_pth)(tmp_path / f"m.{form}", turn)

    def fingerprint(clip=CLIPS[0], **options):
        return Files(path=str(path) + ("/" if path.is_dir() else ""), kind=None, **options).fingerprint(clip)

    path = write(change=False)
    first = fingerprint()
    assert first == fingerprint() and first
    keys = tmp_path / "k.json"
    keys.write_text(json.dumps({"bear": {"0": 1, "1": 1}}))
    assert fingerprint(key_frames=str(keys)) != first
    judo = None if form in ("ids", "npz tree") else fingerprint(CLIPS[1])
    path = write(change=True)
    assert fingerprint() != first
    if form in ("tree", "zip"):
        assert fingerprint(CLIPS[1]) == judo, "a change of another clip's files expires nothing"


# real data


def test_osvos_by_object(shared):
    root = shared / "data" / "predictions" / "osvos"
    meta = json.loads((shared / "data/ref_davis_mini/meta_expressions/valid/meta_expressions.json").read_text())[
        "videos"
    ]
    for video in sorted(v for v in meta if (root / v).is_dir()):
        folder = root / video
        frames = tuple(sorted(p.stem for p in folder.glob("*.png")))
        first = np.array(Image.open(folder / f"{frames[0]}.png"))
        expressions = tuple(
            Expression(video, i, e["exp"], (str(e["obj_id"]),)) for i, e in meta[video]["expressions"].items()
        )
        clip = Clip(video, frames, expressions, Blank(first.shape))
        files = Files(path=f"{root}/")
        assert files.check([clip]) == []
        prediction = files.predict(clip)
        for e in expressions[::4]:
            for t in range(0, len(frames), 20):
                picture = np.array(Image.open(folder / f"{frames[t]}.png"))
                assert prediction[e.id].mask(t).sum() == (picture == int(e.objects[0])).sum()
        assert any(prediction[expressions[0].id].mask(t).any() for t in range(0, len(frames), 20))


def test_png_module_is_what_reads(tree, monkeypatch):
    """The fast decoder is used, and Pillow is not."""
    monkeypatch.setattr(png, "_pillow", None)
    for file in tree.rglob("*.png"):
        out = io.BytesIO(png.encode(np.array(Image.open(file)) > 0)).getvalue()
        file.write_bytes(out)
    expect_truth(Files(path=str(tree)))
