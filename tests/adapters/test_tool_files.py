"""Files that published tools write, in the layouts of their official writers: Sa2VA and ReferDINO; and hostile ones."""

import io
import json
import os
import pickle
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny as tiny_files
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

import run_ensemble
from rvos_ensemble.adapters import Clip, Expression, InputError
from rvos_ensemble.adapters.core.instances import by_expression
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.prediction import check_prediction
from rvos_ensemble.adapters.files import Files, scores
from rvos_ensemble.adapters.files.tools.numpy_pickle import unpickle_dict
from rvos_ensemble.adapters.referdino import Referdino
from rvos_ensemble.ensemble.report.record import read_record

# of pycocotools 2.0.11 under numpy 2.4; harmless
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning"),  # of pickletools, in damaged texts
]

T, H, W = 3, 12, 20
FRAMES = ("00000", "00005", "00015")
IDS = ("0", "1", "2")


@dataclass(frozen=True)
class Blank:
    """Frames that have only a size."""

    size: tuple[int, int] = (H, W)

    def fingerprint(self):
        return ""


CLIP = Clip("bear", FRAMES, tuple(Expression("bear", i, "a thing", ()) for i in IDS), Blank())


def truth(i: str) -> np.ndarray:
    """bool [T, H, W]"""
    return np.random.default_rng(int(i)).random((T, H, W)) > 0.6


def problems(files) -> str:
    """All that `check` and `inspect` report; reading must fail, too."""
    reported = [*files.check([CLIP]), *files.inspect(CLIP)]
    with pytest.raises(InputError):
        for sequence in files.predict(CLIP).values():
            for t in range(T):
                sequence.mask(t)
    assert reported
    return "\n".join(dict.fromkeys(reported))


# Sa2VA


def sa2va_rle(mask: np.ndarray) -> dict:
    """As `mask_to_rle` of ref_vos_eval.py encodes a mask, empty ones too."""
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def sa2va_entry(i: str, masks: np.ndarray, answer: str) -> dict:
    return {
        "index": int(i),
        "video_id": "bear",
        "exp_id": i,
        "text_prediction": answer,
        "frames": list(FRAMES),
        "exp": "<image>\nPlease segment a thing.",
        "prediction_masks": [sa2va_rle(mask) for mask in masks],
    }


def write_sa2va(path: Path, change=lambda bear: None) -> Path:
    """Expression 2 has no [SEG]: zeros, as the official script writes them."""
    entries = {i: sa2va_entry(i, truth(i), "Sure, [SEG].<|im_end|>") for i in IDS[:2]}
    entries["2"] = sa2va_entry("2", np.zeros((T, H, W)), "There is no such thing.<|im_end|>")
    change(entries)
    path.write_text(json.dumps({"bear": entries}))
    return path


def test_sa2va_of_any_size(tmp_path, monkeypatch):
    path = write_sa2va(tmp_path / "sa2va.json")  # recognised by its content
    for large in (scores.LARGE, 0):
        monkeypatch.setattr(scores, "LARGE", large)
        scores.load_json.cache_clear()
        files = Files(path=str(tmp_path / "sa2va"))
        assert files.check([CLIP]) == [] and files.inspect(CLIP) == []
        prediction = check_prediction(pickle.loads(pickle.dumps(files.predict(CLIP))), CLIP, "sa2va")
        for i in IDS[:2]:
            assert prediction[i].presence == 1.0
            np.testing.assert_array_equal(np.stack([prediction[i].mask(t) for t in range(T)]), truth(i))
        assert prediction["2"].presence == 0.0 and prediction["2"].is_empty()
    path.write_text(path.read_text().replace("5<|im_end|>", "6"))
    assert Files(path=str(path)).fingerprint(CLIP)


def test_sa2va_presence_and_frames_by_name(tmp_path):
    def change(bear):
        bear["0"] = {**bear["0"], "frames": [*FRAMES[::-1]], "prediction_masks": bear["0"]["prediction_masks"][::-1]}
        bear["1"]["prediction_masks"] = []
        bear["2"] = sa2va_entry("2", truth("2"), "a mask without the token")

    prediction = Files(path=str(write_sa2va(tmp_path / "r.json", change))).predict(CLIP)
    np.testing.assert_array_equal(np.stack([prediction["0"].mask(t) for t in range(T)]), truth("0"))
    assert [prediction[i].presence for i in IDS] == [1.0, 0.0, 1.0]
    assert prediction["1"].is_empty() and not prediction["2"].is_empty()
    segmented = sa2va_entry("0", np.zeros((T, H, W)), "[SEG]")
    prediction = Files(path=str(write_sa2va(tmp_path / "e.json", lambda bear: bear.update({"0": segmented})))).predict(
        CLIP
    )
    assert prediction["0"].presence == 1.0 and prediction["0"].is_empty()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e.update(prediction_masks=None), "Sa2VA wrote PNG files instead"),
        (lambda e: e["prediction_masks"].pop(), "expression '0': 2 masks for 3 frames"),
        (lambda e: e.update(frames=["a", "b", "c"]), "3 of 3 frames are missing: 00000, 00005, 00015"),
        (lambda e: e.update(frames=["00000", "00005", "00005"]), "a frame is listed twice"),
        (lambda e: e.update(frames="abc"), "expected names"),
        (lambda e: e.update(exp_id="7"), "its `exp_id` is '7', expected '0'"),
        (lambda e: e.update(video_id="judo"), "its `video_id` is 'judo', expected 'bear'"),
        (lambda e: e["prediction_masks"][1].update(size=[W, H]), f"frame 1: size [{W}, {H}], expected the clip's"),
        (lambda e: e["prediction_masks"][1].update(counts="1"), "frame 1: damaged"),
        (lambda e: e.pop("frames"), 'expected {"frames"'),
    ],
)
def test_sa2va_wrong(tmp_path, change, words):
    path = write_sa2va(tmp_path / "results.json", lambda bear: change(bear["0"]))
    reported = problems(Files(path=str(path)))
    assert words in reported and str(path) in reported


def test_sa2va_frames_of_another_list(tmp_path):
    def change(bear):
        bear["0"]["frames"][0] = "00001"

    path = str(write_sa2va(tmp_path / "results.json", change))
    reported = problems(Files(path=path))
    assert "1 of 3 frames are missing: 00000" in reported and "00001 not among the frames" in reported
    sequence = Files(path=path, missing="empty", extra="ignore").predict(CLIP)["0"]
    assert not sequence.mask(0).any() and sequence.notes == {"missing_frames": 1} and sequence.presence == 1.0
    np.testing.assert_array_equal(sequence.mask(1), truth("0")[1])


# `missing: empty`


def test_missing_expressions_are_empty_if_that_is_said(tmp_path):
    def change(bear):
        bear.pop("1")

    path = write_sa2va(tmp_path / "results.json", change)
    assert "no masks of expression '1'; `missing: empty`" in problems(Files(path=str(path)))
    files = Files(path=str(path), missing="empty")
    assert files.check([CLIP]) == [] and files.inspect(CLIP) == []
    prediction = check_prediction(files.predict(CLIP), CLIP, "sa2va")
    assert prediction["1"].is_empty() and prediction["1"].presence == 0.0 and prediction["1"].notes == {"missing": True}
    assert prediction["1"].scores.tolist() == [0.0] * T and "missing" not in prediction["0"].notes
    judo = Clip("judo", FRAMES, CLIP.expressions, Blank())
    (problem,) = files.check([judo])  # a wrong path is not an empty answer
    assert "no masks of video 'judo'" in problem and "an empty entry or folder" in problem


def test_missing_pictures_are_empty_if_that_is_said(tmp_path):
    for i, frames in (("0", FRAMES), ("1", FRAMES[1:]), ("2", ())):
        (tmp_path / "m" / "bear" / i).mkdir(parents=True)
        for frame in frames:
            (tmp_path / "m" / "bear" / i / f"{frame}.png").write_bytes(png.encode(truth(i)[FRAMES.index(frame)]))
    assert "1 of 3 frames are missing: 00000.png" in problems(Files(path=str(tmp_path / "m")))
    files = Files(path=str(tmp_path / "m"), missing="empty")
    assert files.check([CLIP]) == [] and files.inspect(CLIP) == []
    prediction = files.predict(CLIP)
    assert [s.presence for s in prediction.values()] == [None, None, 0.0]
    assert [s.notes for s in prediction.values()] == [{}, {"missing_frames": 1}, {"missing_frames": 3}]
    assert not prediction["1"].mask(0).any() and prediction["2"].is_empty()
    np.testing.assert_array_equal(prediction["1"].mask(2), truth("1")[2])
    assert not Files(path=str(tmp_path / "m"), missing="empty", kind="prob").predict(CLIP)["1"].prob_at(0).any()


def test_a_run_counts_what_is_missing(tiny, capsys):
    for frame in tiny.mask_file().parents[1].joinpath("1").iterdir():
        frame.unlink()
    tiny.mask_file().parents[1].joinpath("1").rmdir()
    tiny.mask_file(clip="b").unlink()
    assert run_ensemble.main(["run", *tiny.arguments]) == 1  # two of three clips fail
    assert "are missing in its files" not in capsys.readouterr().err
    for _ in range(2):  # also when nothing has to be computed
        assert run_ensemble.main(["run", *tiny.arguments, "sources.soc.missing=empty"]) == 0
        note = "note: soc: 1 expressions, and 1 frames of others, are missing in its files and are empty\n"
        assert note in capsys.readouterr().err


# ReferDINO


def referdino_meta(seed: int, queries=4, size=(3, 5), dtype=np.float32) -> dict:
    random = np.random.default_rng(seed)
    return {
        "scores": random.random((T, queries)).astype(dtype) * dtype(0.6),
        "boxes": random.random((T, queries, 4)).astype(dtype),
        "masks": random.standard_normal((T, queries, *size)).astype(dtype),
    }


def write_referdino(folder: Path, metas: dict, save=np.savez, **changes) -> Path:
    """As ReferDINO saves a video; its name is the last part of `video_path`."""
    folder.mkdir(exist_ok=True)
    save(folder / "any_name.npz", **{"video_path": "data/mevis/bear", "size": np.array([H, W]), **metas, **changes})
    return folder


def official(meta: dict, threshold=0.275) -> np.ndarray:
    """The masks that refine_from_refdino.py starts from, bool [T, H, W]; written from its description."""
    found, masks = torch.from_numpy(meta["scores"]), torch.from_numpy(meta["masks"])
    valid = (found > threshold).float()
    kept = (found * valid).sum(0) / (valid.sum(0) + 1e-6) > threshold
    if not kept.any():
        return np.zeros((T, H, W), bool)
    upsampled = torch.nn.functional.interpolate(masks[:, kept], size=(H, W), mode="bilinear", align_corners=False)
    return (upsampled > 0).numpy().any(axis=1)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_referdino_as_the_official_script_reads_it(tmp_path, save):
    metas = {i: referdino_meta(int(i)) for i in IDS}
    metas["2"]["scores"][:] = 0.2
    folder = write_referdino(tmp_path / "npz", metas, save)
    for path in (folder, folder / "any_name.npz"):
        files = Files(path=str(path))
        assert files.check([CLIP]) == [] and files.inspect(CLIP) == []
        prediction = check_prediction(pickle.loads(pickle.dumps(files.predict(CLIP))), CLIP, "referdino")
        for i, meta in metas.items():
            np.testing.assert_array_equal(np.stack([prediction[i].mask(t) for t in range(T)]), official(meta))
        assert [prediction[i].presence for i in IDS] == [1.0, 1.0, 0.0]
        kept = [q for q in range(4) if (s := metas["0"]["scores"][:, q])[s > 0.275].sum() > 0]
        np.testing.assert_array_equal(prediction["0"].scores, metas["0"]["scores"][:, kept].max(axis=1))
    assert Files(path=str(folder), threshold=0.9).predict(CLIP)["0"].presence == 0.0
    assert Files(path=str(folder), threshold=0.1).predict(CLIP)["2"].presence == 1.0
    old = files.fingerprint(CLIP)
    metas["0"]["scores"][0, 0] += 0.1
    write_referdino(folder, metas, save)
    assert files.fingerprint(CLIP) != old


def test_referdino_queries_are_instances(tmp_path):
    metas = {i: referdino_meta(int(i)) for i in IDS}
    metas["1"]["scores"][:] = 0.1
    source = Referdino(path=str(write_referdino(tmp_path / "npz", metas)))
    assert source.check([CLIP]) == [] and source.inspect(CLIP) == []
    groups = by_expression(check_prediction(source.predict(CLIP), CLIP, "referdino"), CLIP, "referdino")
    (nothing,) = groups["1"]
    assert nothing.is_empty() and nothing.presence == 0.0 and nothing.notes["instance"] is None
    union = np.zeros((T, H, W), bool)
    for instance in groups["0"]:
        found = metas["0"]["scores"][:, int(instance.notes["instance"])]
        assert instance.notes["key_frame"] == found.argmax() and instance.scores.tolist() == found.tolist()
        union |= np.stack([instance.mask(t) for t in range(T)])
    np.testing.assert_array_equal(union, official(metas["0"]))


INSTANCES = """
sources:
  soc: {{adapter: referdino, path: {path}}}
  mutr: null
  referformer: null
steps:
  smr: null
  smr_flow: null
  tracks: {{op: propagate, input: soc, with: flow, key_frame: given}}
  instances: {{op: unite, input: tracks}}
output: instances
"""


def test_queries_are_propagated_each_from_its_best_frame(tiny, tmp_path):
    """Two queries of the expressions 0 and 1, none of expression 2, from files to a complete run."""
    for clip in tiny.clips:
        masks = np.full((tiny_files.T, 2, tiny_files.H // 2, tiny_files.W // 2), -4, np.float32)
        masks[:, 0, 4:12, 4:12] = masks[:, 1, 14:22, 20:28] = 4
        found = np.float32([[0.3, 0.9], [0.9, 0.3], [0.4, 0.4], [0.5, 0.5], [0.3, 0.3]])
        metas = {str(i): {"scores": found * (i < 2), "boxes": found, "masks": masks} for i in range(3)}
        (tmp_path / "npz").mkdir(exist_ok=True)
        size = np.array([tiny_files.H, tiny_files.W])
        np.savez(tmp_path / "npz" / f"{clip}.npz", video_path=f"x/{clip}", size=size, **metas)
    recipe = tmp_path / "instances.yaml"
    recipe.write_text(f"base: {tiny.recipe}\n" + INSTANCES.format(path=tmp_path / "npz"))
    assert run_ensemble.main(["run", f"recipe={recipe}", f"out={tiny.out}"]) == 0
    record = read_record(tiny.out / "clips" / "a.json")
    keys = {name: notes["key_frames"] for name, notes in record.notes["tracks"].items()}
    assert {"0/0": [1], "0/1": [0], "1/0": [1], "1/1": [0]}.items() <= keys.items()
    nothing = [tiny.out / "Annotations" / "a" / "2" / f"{frame}.png" for frame in tiny_files.FRAMES]
    assert all(not png.decode(path.read_bytes(), "").values.any() for path in nothing)
    assert png.decode((nothing[0].parents[1] / "0" / nothing[0].name).read_bytes(), "").values.any()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.dtype(">f4").type])
def test_referdino_of_other_floats(tmp_path, dtype):
    metas = {i: referdino_meta(int(i), dtype=dtype) for i in IDS}
    files = Files(path=str(write_referdino(tmp_path / "npz", metas)))
    single = {name: array.astype(np.float32) for name, array in metas["0"].items()}
    sequence = files.predict(CLIP)["0"]
    np.testing.assert_array_equal(np.stack([sequence.mask(t) for t in range(T)]), official(single))


def test_referdino_wrong(tmp_path):
    metas = {i: referdino_meta(int(i)) for i in IDS}
    short = {name: array[:2] for name, array in metas["0"].items()}
    wrong = [
        ({"size": np.array([W, H])}, f"size [{W}, {H}], expected the clip's [{H}, {W}]"),
        ({"video_path": "data/judo"}, "no masks of video 'bear'; files of ReferDINO, of the videos judo"),
        ({"video_path": np.array(["a", "b"])}, "video_path: an array of"),
        ({"0": short}, "0: scores of 2 frames, expected 3"),
        ({"0": {**metas["0"], "masks": metas["0"]["masks"][:, :2]}}, "0: masks of shape (3, 2, 3, 5), scores of"),
        ({"0": {**metas["0"], "scores": [1, 2]}}, "0: its `scores` are [1, 2], expected floats [T, Q]"),
        ({"0": {**metas["0"], "scores": metas["0"]["scores"] * np.nan}}, "0: not all scores are numbers"),
        ({"0": {**metas["0"], "masks": metas["0"]["masks"] * np.nan}}, "0: not all logits are numbers"),
        ({"0": {"boxes": metas["0"]["boxes"]}}, "it has boxes"),
        ({"0": np.zeros(3)}, "0: an array of float64 (3,), expected one pickled dictionary"),
        ({"0": [metas["0"]]}, "expected one pickled dictionary"),
        ({"0": None}, "a pickled NoneType, expected a dictionary"),
    ]
    for changes, words in wrong:
        reported = problems(Files(path=str(write_referdino(tmp_path / "npz", metas, **changes))))
        assert words in reported and str(tmp_path / "npz") in reported
    write_referdino(tmp_path / "npz", metas)
    np.savez(tmp_path / "npz" / "z.npz", masks=np.zeros(3))
    assert "no entries `video_path` and `size`" in problems(Files(path=str(tmp_path / "npz")))
    (tmp_path / "npz" / "z.npz").unlink()
    assert "remove `kind: prob`" in problems(Files(path=str(tmp_path / "npz"), kind="prob"))


# Hostile pickles: nothing in them runs


class Evil:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def opened(content, where="f: 0", protocol=4) -> dict:
    """As numpy saves an object: an object array, pickled."""
    return unpickle_dict(io.BytesIO(pickle.dumps(np.array(content, object), protocol=protocol)), where)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "make",
    [
        lambda mark: Evil(os.system, f"touch {mark}"),
        lambda mark: Evil(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: {"scores": Evil(exec, f"open({str(mark)!r}, 'w')")},
        lambda mark: {"scores": [[({"x": Evil(Path.touch, mark)},)]]},
        lambda mark: {"scores": Evil(np.load, str(mark))},
        lambda mark: {"scores": Evil(getattr, "text", "upper")},
        lambda mark: {"scores": Evil(np.ndarray, (1 << 40,))},
        lambda mark: {Evil(Path.touch, mark): 1},
        lambda mark: Path(mark),
        lambda mark: {1, 2},
    ],
    ids=["system", "eval", "exec", "nested", "load", "getattr", "ndarray", "key", "path", "set"],
)
def test_code_in_a_pickle_does_not_run(tmp_path, make, protocol):
    content = np.empty((), object)
    content[()] = make(tmp_path / "ran")
    with pytest.raises(InputError, match=r"^f: 0: .*nothing in it ran"):
        opened(content, protocol=protocol)
    assert not (tmp_path / "ran").exists()


def test_code_in_a_file_does_not_run(tmp_path):
    metas = {i: referdino_meta(int(i)) for i in IDS}
    metas["1"] = {**metas["1"], "boxes": Evil(os.system, f"touch {tmp_path / 'ran'}")}
    reported = problems(Files(path=str(write_referdino(tmp_path / "npz", metas))))
    assert "`posix.system`" in reported and "any_name.npz: 1: " in reported and not (tmp_path / "ran").exists()


def array_pickle(shape: bytes, dtype=b"f4", data=b"\0" * 8) -> bytes:
    """A handwritten pickle of {"a": array}, whose shape may be false."""
    array = (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\x01btR(K\x01" + shape + b"cnumpy\ndtype\n"
        b"(X" + struct.pack("<I", len(dtype)) + dtype + b"\x89\x88tR\x89B" + struct.pack("<I", len(data)) + data + b"tb"
    )
    return b"\x80\x04}X\x01\0\0\0a" + array + b"s."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (array_pickle(b"K\x03\x85"), r"an array of float32 \[3\], but 8 bytes"),
        (array_pickle(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), "but 8 bytes"),
        (array_pickle(b"J\xff\xff\xff\xff\x85"), "an array of shape"),
        (array_pickle(b"K\x02\x85", b"O8"), "an object array of shape"),
        (array_pickle(b"K\x02\x85", b"V4"), "an array of dtype"),
        (array_pickle(b"K\x02\x85")[:-30], "damaged"),
        (b"\x80\x04]" + b"]" * 40_000 + b"a" * 40_000 + b".", "a pickled list"),
        (b"\x80\x04)" + b"\x85" * 90_000 + b".", "a pickled tuple"),
        (b"\x80\x04)" + b"\x85" * 200_000 + b".", "more than 100,000 operations"),
        (b"\x80\x04B\xff\xff\xff\xff.", "damaged"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.", "damaged"),
        (b"\x80\x04Nr\xff\xff\xff\xff.", "a pickled NoneType"),
        (b"\x80\x04Njabcd.", "damaged"),
        (b"\x80\x04}K\x01K\x02s.", "with the key int"),
        (b"\x80\x04.", "damaged"),
        (b"\x80\x04tR.", "damaged"),
        (b"", "damaged"),
        (b"\x80\x04NNb.", "the state of an object"),
        (b"\x80\x04c\xff\xff\nx\n.", "damaged"),
    ],
    ids=lambda v: str(v)[:24],
)
def test_false_pickles(data, words):
    with pytest.raises(InputError, match=f"^f: 0: .*{words}"):
        unpickle_dict(io.BytesIO(data), "f: 0")


def test_the_handwritten_pickle_is_one():
    np.testing.assert_array_equal(unpickle_dict(io.BytesIO(array_pickle(b"K\x02\x85")), "f")["a"], np.zeros(2, "<f4"))


PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(), st.binary()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=4), PLAIN, max_size=4), st.sampled_from([3, 4]))
def test_plain_containers_are_read_as_python_reads_them(content, protocol):
    whole = np.empty((), object)
    whole[()] = content
    assert opened(whole, protocol=protocol) == content


@settings(max_examples=60)
@given(
    st.sampled_from(["f4", "f2", ">f8", "u1", "i8", "?", "<i2"]),
    st.lists(st.integers(0, 3), max_size=4),
    st.booleans(),
    st.sampled_from([3, 4]),
)
def test_arrays_are_read_as_numpy_reads_them(dtype, shape, by_columns, protocol):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    array = np.asfortranarray(array) if by_columns else array
    read = opened({"a": array, "again": array}, protocol=protocol)
    for name in ("a", "again"):
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=3), st.booleans())
def test_changed_pickles_are_read_or_refused(at, piece, insert):
    data = pickle.dumps(np.array(referdino_meta(0, 2, (2, 2)), object), protocol=4)
    at %= len(data)
    changed = data[:at] + piece + data[at + (0 if insert else len(piece)) :]
    try:
        assert type(unpickle_dict(io.BytesIO(changed), "f")) is dict
    except InputError as error:
        assert str(error).startswith("f: ")


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    from rvos_ensemble.adapters.files.tools import referdino

    monkeypatch.setattr(referdino, "MOST_BYTES", 1000)
    metas = {i: referdino_meta(int(i)) for i in IDS}
    reported = problems(Files(path=str(write_referdino(tmp_path / "npz", metas, np.savez_compressed))))
    assert "more than the 1,000 that such a file can have" in reported
    with zipfile.ZipFile(tmp_path / "npz" / "any_name.npz") as archive:
        assert "0.npy" in archive.namelist()


# A wrong file says what it is

RLE = sa2va_rle(truth("0")[0])
OTHERS = [
    ({"orig_img_h": H, "orig_img_w": W, "pred_masks": [RLE["counts"]]}, "a pred.json of SAM3-agent"),
    ({"bear": {"0": [{"frame": "00000", "mask": RLE, "instance": "a"}]}}, "a file of seeds"),
    ({"videos": {"bear": {"expressions": {"0": {"exp": "x"}}, "frames": []}}}, "meta_expressions.json"),
    ({"17": [None, RLE], "18": [RLE]}, "mask_dict.json"),
    ([{"object_name": "dog", "best_frame": 3, "discriminative_description": "x"}], "an answer of a language model"),
    ({"video_id": "bear", "expression_id": "0", "results": []}, "an answer of a language model"),
    ({"is_match": True, "reason": "x"}, "an answer of a language model"),
    ([{"image_id": 1, "segmentation": RLE, "score": 0.5}], "a list of COCO detections"),
    ({"bear": {"selected_frames": {"0": [1, 2]}}}, "a list of key frames"),
    ({"bear": {"0": {"index_info": {"class_index": 1}}}}, "a list of key frames"),
    ({"bear": {"0": [0.5, 0.25, 1]}}, "scores per frame without masks"),
    ({"bear": {"0": 0.5}}, "one value for each expression"),
]


@pytest.mark.parametrize(("content", "what"), OTHERS, ids=lambda v: str(v)[:30])
def test_a_wrong_file_says_what_it_is(tmp_path, content, what):
    path = tmp_path / "masks.json"
    path.write_text(json.dumps(content))
    reported = problems(Files(path=str(path)))
    assert f"{path}: this is {what}" in reported and ";" in reported


def test_text_instead_of_json_is_shown(tmp_path):
    path = tmp_path / "masks.json"
    path.write_text("The video shows a bear.\nIt walks.")
    assert "cannot be read as json" in (reported := problems(Files(path=str(path))))
    assert 'it begins with "The video shows a bear."' in reported
