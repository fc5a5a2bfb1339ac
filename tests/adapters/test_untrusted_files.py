"""Untrusted files: every fault that attacks on the readers revealed is reported in a sentence, or read correctly."""

import json
import os
import resource
import signal
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import FRAMES, MODELS, H, T, W

import run_ensemble
from rvos_ensemble.adapters import Clip, Expression, InputError
from rvos_ensemble.adapters.core.io import disk, json_text, png
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.datasets.mevis import Mevis
from rvos_ensemble.adapters.files import Files
from rvos_ensemble.adapters.files.storage import Folder, Zip
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights
from rvos_ensemble.adapters.proposals import Proposals
from rvos_ensemble.ensemble.report import submission

HUGE = 10**400
WRAPS = [9223372036854775807, 9223372036854775807, 3074]  # its sum is 48 * 64, modulo 2^64


@pytest.fixture(autouse=True)
def no_hang():
    """A reader that waits for a pipe fails its test instead of the suite."""

    def late(*_):
        raise TimeoutError("waited for 60 s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(arguments, capsys) -> str:
    """The message of the command line about wrong input."""
    code = run_ensemble.main(arguments)
    message = capsys.readouterr()
    assert code == 2 and "Traceback" not in message.err + message.out
    return message.err


def failure(function) -> str:
    with pytest.raises(InputError) as error:
        function()
    return str(error.value)


class Blank:
    size = (H, W)

    def fingerprint(self):
        return ""


CLIP = Clip("a", tuple(FRAMES), tuple(Expression("a", str(i), "it") for i in range(3)), Blank())


def reported(files) -> str:
    """All that `check` and `inspect` report, if `predict` fails too."""
    problems = [*files.check([CLIP]), *files.inspect(CLIP)]

    def everything():
        for sequence in files.predict(CLIP).values():
            for t in range(T):
                sequence.masks[t]

    failure(everything)
    assert problems
    return "\n".join(dict.fromkeys(problems))


def dump(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# Run lengths


@pytest.mark.parametrize(
    "counts",
    [
        [9223372036854775807, 9223372036854775807, H * W + 2],
        [0] * 10_000 + [H * W],
        [float(H * W)],
        [True, H * W - 1],
        [str(H * W)],
        [HUGE],
        [-1, H * W + 1],
        [],
        "",
        "P" * 10_000,
        "oooooooooo0",
        None,
        {"0": H * W},
    ],
    ids=lambda c: str(c)[:20],
)
def test_runs_that_are_none(tmp_path, counts):
    rle = {"size": [H, W], "counts": counts}
    path = dump(tmp_path / "m.json", {"a": {str(i): [None] * (T - 1) + [rle] for i in range(3)}})
    assert reported(Files(path=str(path))).count(f"{path}: video 'a'") == 3
    own = dump(tmp_path / "p.json", {"a": {FRAMES[0]: [{**rle, "score": 0.5}]}})
    (problem,) = Proposals(path=str(own)).check([CLIP])
    assert str(own) in problem and "proposal 0" in problem


@pytest.mark.parametrize("size", [[float(H), W], [H, W, 1], f"{H}x{W}", {"0": H}, None, [str(H), str(W)]], ids=str)
def test_sizes_that_are_none(tmp_path, size):
    rle = {"size": size, "counts": [H * W]}
    path = dump(tmp_path / "m.json", {"a": {str(i): [rle] * T for i in range(3)}})
    assert "expected the clip's" in reported(Files(path=str(path)))


def test_a_sum_that_wraps_is_told_by_check(tiny, capsys):
    rles = [{"size": [H, W], "counts": [2**63 - 1, 2**63 - 1, H * W + 2]}] * T
    path = dump(tiny.root / "wraps.json", {c: {str(i): rles for i in range(3)} for c in tiny.clips})
    message = refused(["check", *tiny.arguments, f"sources.mutr.path={path}"], capsys)
    assert "frame 0: damaged: its runs do not add up" in message


def a2d(folder: Path, counts, **changes) -> list[str]:
    """A benchmark of one image, its prediction with these runs."""
    rle = {"size": [8, 10], "counts": [10, 20, 50]}
    note = {"image_id": "v", "segmentation": rle, "area": 20, **changes}
    gt = dump(folder / "gt.json", {"images": [{"id": "v", "height": 8, "width": 10}], "annotations": [note]})
    row = {"image_id": "v", "segmentation": {"size": [8, 10], "counts": counts}, "score": 0.5}
    pred = dump(folder / "pred.json", [row])
    return ["evaluate", f"gt={gt}", f"pred={pred}", "protocol=a2d_sentences", f"out={folder / 'out'}"]


@pytest.mark.parametrize(
    "counts", [[0] * 1000 + [80], [0] * 10**6 + [80], WRAPS, [80.0], [HUGE]], ids=lambda c: str(c)[:9]
)
def test_evaluation_of_runs_that_are_none(tmp_path, capsys, counts):
    message = refused(a2d(tmp_path, counts), capsys)
    assert "pred.json: [0], image 'v': damaged" in message


def test_empty_runs_mean_what_they_say(tmp_path, capsys):
    """They are legal, but pycocotools stops where two masks have one."""
    assert run_ensemble.main(a2d(tmp_path, [10, 0, 0, 20, 0, 0, 50, 0, 0])) == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["summary"]["Overall IoU"] == 1


@pytest.mark.parametrize("changes", [{"area": HUGE}, {"area": "20"}, {"iscrowd": "no"}, {"iscrowd": 2}])
def test_numbers_of_a_truth_that_are_none(tmp_path, capsys, changes):
    assert f"{next(iter(changes))} is" in refused(a2d(tmp_path, [80], **changes), capsys)


@pytest.mark.parametrize("image", [HUGE, "v\0", -5])
def test_ids_of_images_are_arbitrary(tmp_path, image):
    gt, pred = tmp_path / "gt.json", tmp_path / "pred.json"
    rle = {"size": [8, 10], "counts": [10, 20, 50]}
    images = [{"id": i, "height": 8, "width": 10} for i in (image, type(image)(7))]
    dump(
        gt, {"images": images, "annotations": [{"image_id": i["id"], "segmentation": rle, "area": 20} for i in images]}
    )
    dump(pred, [{"image_id": i["id"], "segmentation": rle, "score": 0.5} for i in images])
    assert (
        run_ensemble.main(["evaluate", f"gt={gt}", f"pred={pred}", "protocol=a2d_sentences", f"out={tmp_path}/o"]) == 0
    )
    assert json.loads((tmp_path / "o" / "metrics.json").read_text())["summary"]["mAP 0.5:0.95"] == 1


def test_an_image_of_any_size_is_refused(tmp_path, capsys):
    arguments = a2d(tmp_path, [80])
    content = json.loads((tmp_path / "gt.json").read_text())
    content["images"][0].update(height=10**9, width=10**9)
    dump(tmp_path / "gt.json", content)
    assert "expected at most" in refused(arguments, capsys)


def test_mask_dict_of_mevis(tmp_path):
    from PIL import Image

    folder = tmp_path / "valid_u"
    (folder / "JPEGImages" / "a").mkdir(parents=True)
    for frame in FRAMES:
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "JPEGImages" / "a" / f"{frame}.jpg")
    entry = {"expressions": {"0": {"exp": "it", "anno_id": [7]}}, "frames": FRAMES}
    dump(folder / "meta_expressions.json", {"videos": {"a": entry}})
    dump(folder / "mask_dict.json", {"7": [{"size": [48, 64], "counts": WRAPS}] * T})
    (clip,) = Mevis(root=str(tmp_path)).clips()
    assert len(clip.problems()) == 1 and len(clip.truth.inspect()) == T
    assert "annotation '7', frame number 0: damaged" in failure(lambda: clip.truth.read("0").mask(0))
    entry["expressions"]["0"]["anno_id"] = [[7]]
    dump(folder / "meta_expressions.json", {"videos": {"a": entry}})
    assert "an object's id is [7]" in failure(Mevis(root=str(tmp_path)).clips)


# Side files


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({frame: 0.1 for frame in FRAMES}, "scores are not a list of 5 numbers, one for every frame in order"),
        ("12345", "scores are not a list of 5 numbers, one for every frame in order: '12345'"),
        (["1", "2", "3", "4", "5"], "that of frame 0 is '1'"),
        ([True] * T, "that of frame 0 is True"),
        ([[0.5]] * T, "that of frame 0 is [0.5]"),
        ([0.5] * (T - 1) + [1e300], "score of frame 4 is not finite: 1e+300"),
        ([0.5] * (T - 1) + [HUGE], "score of frame 4 is not finite: a number of"),
        ([0.5] * (T - 1) + [float("nan")], "score of frame 4 is not finite"),
        (None, "scores are not a list"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_scores_that_are_none(tiny, capsys, scores, words):
    path = dump(tiny.root / "s.json", {c: {str(i): scores for i in range(3)} for c in tiny.clips})
    message = refused(["check", *tiny.arguments, f"sources.soc.scores={path}"], capsys)
    assert f"{path}: video 'a', expression '0'" in message and words in message


@pytest.mark.parametrize("key", [2.0, True, "2", [2], {"index_info": [2]}, {"index_info": {"class_index": 1.0}}, HUGE])
def test_key_frames_that_are_none(tiny, key):
    path = dump(tiny.root / "k.json", {"a": {str(i): key for i in range(3)}})
    soc = tiny.root / "predictions" / "soc"
    assert "expected a key frame 0..4" in reported(Files(path=str(soc), key_frames=str(path)))


@pytest.mark.parametrize("about", ["{", "[]", '{"label": 3}', '{"label": ["x"]}', "\xff", '{"label": "a\\nb"}'])
def test_a_damaged_remark_is_told_by_check(tiny, capsys, about):
    path = tiny.root / "predictions" / "soc.about.json"
    path.write_bytes(about.encode("latin-1"))
    assert str(path) in refused(["check", *tiny.arguments], capsys)
    assert Files(path=str(tiny.root / "predictions" / "soc")).label() == ""


# Json


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": 1, "a": 2}', "one object has the key 'a' twice"),
        (b"[" * 100_000, "more than 64 deep"),
        (b"[" * 300 + b"]" * 300, "more than 64 deep"),
        (b'{"a": ' + b"1" * 5000 + b"}", "digits"),
        (b'{"a": {"b": ["\\ud800"]}}', "'a', 'b', 0: half a character"),
        (b'{"\\udfff": 1}', "half a character"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
        (b"", "not a json file"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_json_is_read_strictly(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_bytes(text)
    message = failure(lambda: json_text.read_json(path))
    assert message.startswith(f"{path}: ") and words in message


def test_duplicate_keys_of_many_are_found_quickly():
    keys = ",".join(f'"{i}": 0' for i in range(200_000))
    assert "twice" in failure(lambda: json_text.parse_json(f'{{{keys}, "199999": 1}}', "x.json"))


def test_what_json_may_hold():
    content = {"é": ["\N{GRINNING FACE}", 1, 2.5, None, True], "n": [[[[0]]]]}
    assert json_text.parse_json(json.dumps(content), "x") == content
    assert json_text.parse_json(b"\xef\xbb\xbf{}", "x") == {}


@pytest.mark.parametrize("name", ["meta_expressions", "obj_ids"])
def test_json_of_a_data_set(tiny, capsys, name):
    path = tiny.root / "meta_expressions" / "valid" / f"{name}.json"
    path.write_text(path.read_text()[:-1] + ', "a": {}, "a": {}}')
    assert f"{path}: one object has the key 'a' twice" in refused(["check", *tiny.arguments], capsys)


@pytest.mark.parametrize(
    "entry", [{"1": {"frames": "abc", "expressions": ["x"]}}, {"1": {"frames": ["0"], "expressions": "x"}}]
)
def test_texts_are_no_lists(tiny, capsys, entry):
    path = tiny.root / "meta_expressions" / "valid" / "meta_expressions.json"
    dump(path, {"videos": {"a": {"objects": entry}}})
    assert "lists of texts both" in refused(["check", *tiny.arguments], capsys)


# Files that are none, or too large


def test_a_pipe_is_not_waited_for(tiny, capsys):
    mask = tiny.mask_file()
    mask.unlink()
    os.mkfifo(mask)
    assert f"{mask}: a pipe, expected a file" in refused(["check", *tiny.arguments], capsys)
    for read in (file_stamp, png.read, png.size, disk.read_file, read_weights):
        assert "a pipe" in failure(lambda read=read: read(mask))
    assert "a pipe" in failure(lambda: file_hash((str(mask), 0, 0)))
    for suffix in (".zip", ".json", ".npz", ".pth"):
        os.mkfifo(tiny.root / f"pipe{suffix}")
        assert "no masks at this path" in failure(
            lambda s=suffix: Files(path=str(tiny.root / f"pipe{s}")).predict(CLIP)
        )


def test_a_sparse_mask_of_20_gb(tiny, capsys):
    mask = tiny.mask_file()
    os.truncate(mask, 20 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert f"{mask}: 21,474,836,480 bytes, more than" in refused(["check", *tiny.arguments], capsys)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def zip_of(tiny, name="soc.zip", change=None) -> Path:
    """The masks of a model as a zip; `change` may alter the bytes of the first."""
    path = tiny.root / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for clip in tiny.clips:
            for i in range(3):
                for frame in FRAMES:
                    data = tiny.mask_file(MODELS[0], clip, str(i), frame).read_bytes()
                    data = change(data) if change and (clip, i, frame) == ("a", 0, FRAMES[0]) else data
                    archive.writestr(f"{clip}/{i}/{frame}.png", data)
    return path


def test_a_member_that_unpacks_to_hundreds_of_megabytes(tiny, capsys):
    path = zip_of(tiny, change=lambda data: data + bytes(png.MAX_BYTES))
    assert path.stat().st_size < 2 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refused(["check", *tiny.arguments, f"sources.soc.path={path}", "sources.soc.scores=null"], capsys)
    assert f"{path}:a/0/00000.png: 268," in message and "was not unpacked" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
    clips = [Clip(name, CLIP.frames, CLIP.expressions, Blank()) for name in tiny.clips]
    (problem,) = submission.check(path, clips, "")
    assert "a/0/00000.png: 268," in problem and "was not unpacked" in problem


def patched(path: Path, magic: bytes, offset: int, value: bytes) -> Path:
    data = bytearray(path.read_bytes())
    at = data.index(magic) + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


CENTRAL = b"PK\x01\x02"


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (6, b"\xff\xff"),  # a version that nobody can read
        (8, b"\x00\x08\x08\x00\x00\x00\x00\x00"),  # names in UTF-8, see below
        (8, b"\x01\x00"),  # encrypted
        (10, b"\x63\x00"),  # a method that nobody knows
        (24, struct.pack("<I", 3_500_000_000)),
        (42, b"\xff\xff\xff\x7f"),
    ],
    ids=["version", "utf8", "encrypted", "method", "size", "place"],
)
def test_headers_of_zips(tiny, offset, value):
    path = patched(zip_of(tiny), CENTRAL, offset, value[:2] if offset == 8 else value)
    if value[:2] == b"\x00\x08":
        patched(path, CENTRAL, 46, b"\xff")
    assert str(path) in reported(Files(path=str(path)))
    assert submission.check(path, [CLIP], "")


def test_a_name_twice(tiny):
    path = zip_of(tiny)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("a/0/00000.png", b"again")
    assert "a/0/00000.png: twice in the zip" in reported(Files(path=str(path)))


def test_scores_under_a_damaged_name(tmp_path):
    arrays = {f"a/{i}/masks": np.zeros((T, H, W), bool) for i in range(3)} | {"a/0/scores": np.ones(T)}
    np.savez(tmp_path / "m.npz", **arrays)
    data = (tmp_path / "m.npz").read_bytes()
    at = data.rindex(b"a/0/scores.npy")
    (tmp_path / "m.npz").write_bytes(data[:at] + b"a/0/tcores.npy" + data[at + 14 :])
    assert "damaged: a/0/tcores.npy" in reported(Files(path=str(tmp_path / "m.npz")))


def test_names_that_nothing_reads(tiny):
    """A link to itself and the like harm nobody who does not need them."""
    soc = tiny.root / "predictions" / "soc"
    os.symlink("loop", soc / "loop")
    os.symlink("loop", soc / "Annotations" / "loop")
    os.symlink("nowhere", soc / "Annotations" / "x")
    assert Files(path=str(soc)).check([CLIP]) == [] and Files(path=str(soc)).inspect(CLIP) == []
    for part in (soc / "Annotations" / "a" / "0" / f"{FRAMES[0]}.png", soc / "Annotations" / "a"):
        part.rename(tiny.root / "moved")
        os.symlink(part.name, part)
        assert f"{part}" in reported(Files(path=str(soc)))
        part.unlink()
        (tiny.root / "moved").rename(part)
    long = Clip("a", CLIP.frames, (Expression("a", "n" * 230, "it"),), Blank())
    assert f"no masks of expression '{'n' * 230}'" in "".join(Files(path=str(soc)).check([long]))
    assert "no masks at this path" in failure(lambda: Files(path=str(soc / ("n" * 300))).predict(CLIP))
    assert "Too many levels" in failure(lambda: Folder(str(soc)).entries("loop"))
    assert "File name too long" in failure(lambda: Folder(str(soc)).entries("n" * 300))


def test_a_mask_cut_short_is_told_by_check(tiny, capsys):
    mask = tiny.mask_file("soc", "b", "1", FRAMES[3])
    mask.write_bytes(mask.read_bytes()[:-20])
    assert f"{mask}: damaged PNG" in refused(["check", *tiny.arguments], capsys)


def test_all_damaged_masks_of_a_clip_at_once(tiny, capsys):
    """Twelve took thirteen runs."""
    files = [tiny.mask_file("soc", "a", str(i), frame) for i in range(3) for frame in FRAMES[1:]]
    for file in files:
        file.write_bytes(file.read_bytes()[:-20])
    message = refused(["check", *tiny.arguments], capsys)
    assert all(f"{file}: damaged PNG" in message for file in files) and len(files) == 12
    source = Files(path=str(tiny.root / "predictions" / "soc"))
    assert len(source.inspect(CLIP)) == 12 and source.inspect(Clip("b", CLIP.frames, CLIP.expressions, Blank())) == []


# PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize(
    ("bits", "colour", "rest"), [(7, 0, b"\0\0\0"), (8, 1, b"\0\0\0"), (8, 0, b"\1\0\0"), (8, 0, b"\0\0\2")]
)
def test_headers_of_pngs(bits, colour, rest):
    head = chunk(b"IHDR", struct.pack(">IIBB", 4, 4, bits, colour) + rest)
    data = png.SIGNATURE + head + chunk(b"IDAT", zlib.compress(bytes(20))) + chunk(b"IEND", b"")
    assert "x.png: damaged PNG" in failure(lambda: png.decode(data, "x.png"))


# Arrays


@pytest.mark.parametrize(
    "head",
    [
        b"{'descr': '|b1', 'fortran_order': False, 'shape': (5, 48, 70), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (5, 48, 70), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999999), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (5, 48, 70), }",
        b"{'descr': [('a', '<f4'), 'fortran_order': False, 'shape': (5,), }",
        b"{'descr': '|V999999999', 'fortran_order': False, 'shape': (5, 48, 70), }",
        b"((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((",
        b"{'descr': 3, 'fortran_order': None, 'shape': 'x', }",
        b"\xff\xfe",
        b"1" * 60,
        b"[" * 9000,
    ],
    ids=lambda h: str(h)[:40],
)
def test_headers_of_arrays(tmp_path, head):
    """A header that promises more than there is, or is no header at all."""
    path = tmp_path / "m.npz"
    head += b" " * (64 - (len(head) + 11) % 64) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(40)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(3):
            archive.writestr(f"a/{i}/masks.npy", data)
    for kind in (None, "prob"):
        assert f"{path}: a/0/masks" in reported(Files(path=str(path), kind=kind))


def test_scores_of_another_shape_are_not_unpacked(tmp_path):
    arrays = {f"a/{i}/masks": np.zeros((T, H, W), bool) for i in range(3)}
    np.savez_compressed(tmp_path / "m.npz", **arrays, **{"a/0/scores": np.zeros((T, 10**7), np.float32)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "expected 5 numbers, one for every frame" in reported(Files(path=str(tmp_path / "m.npz")))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize("dtype", ["<f2", ">f4", ">f8", "<f8", "g", ">i2", "<i8"])
def test_arrays_of_any_byte_order_and_precision(tmp_path, dtype):
    masks = np.random.default_rng(0).random((T, H, W)) > 0.5
    np.savez(tmp_path / "m.npz", **{f"a/{i}/masks": masks.astype(dtype) for i in range(3)})
    files = Files(path=str(tmp_path / "m.npz"), kind="binary")
    assert files.check([CLIP]) == [] and files.inspect(CLIP) == []
    np.testing.assert_array_equal(files.predict(CLIP)["1"].mask(2), masks[2])


# Torch


def logits() -> torch.Tensor:
    return torch.where(torch.rand(T, H, W, generator=torch.Generator().manual_seed(0)) > 0.5, 3.0, -3.0)


def save_pth(path: Path, masks, scores=None) -> Files:
    entry = {"mask_logits": masks, **({} if scores is None else {"class_info": scores})}
    torch.save({"a": {str(i): entry for i in range(3)}}, path)
    return Files(path=str(path), kind="logits")


@pytest.mark.parametrize(
    "change", [torch.nn.Parameter, lambda m: m.requires_grad_(), torch.Tensor.half, torch.Tensor.double]
)
@pytest.mark.parametrize("crc", [True, False])
def test_tensors_that_are_plain(tmp_path, change, crc):
    torch.serialization.set_crc32_options(crc)
    try:
        files = save_pth(tmp_path / "m.pth", change(logits()), torch.linspace(0, 1, T).requires_grad_())
    finally:
        torch.serialization.set_crc32_options(True)
    assert files.check([CLIP]) == [] and files.inspect(CLIP) == []
    sequence = files.predict(CLIP)["2"]
    np.testing.assert_array_equal(sequence.mask(1), (logits()[1] > 0).numpy())
    assert sequence.scores.tolist() == torch.linspace(0, 1, T).tolist()


@pytest.mark.parametrize(
    "masks",
    [
        logits().to_sparse(),
        torch.quantize_per_tensor(logits(), 0.1, 0, torch.quint8),
        torch.empty(T, H, W, device="meta"),
        logits().to(torch.complex64),
        logits().to(torch.float8_e4m3fn),
        torch.tensor(1.0),
        logits().tolist(),
        "masks",
    ],
    ids=["sparse", "quantised", "meta", "complex", "float8", "0-d", "list", "text"],
)
def test_tensors_that_are_not(tmp_path, masks):
    path = tmp_path / "m.pth"
    assert f"{path}: video 'a', expression '0'" in reported(save_pth(path, masks))


@pytest.mark.parametrize("scores", [torch.ones(T, 1), torch.ones(T, dtype=torch.bool), "12345", {"0": 1}, [HUGE] * T])
def test_scores_in_pth_that_are_none(tmp_path, scores):
    assert "score" in reported(save_pth(tmp_path / "m.pth", logits(), scores))


def test_names_that_are_no_texts(tmp_path):
    torch.save({"a": {i: {"mask_logits": logits()} for i in range(3)}}, tmp_path / "m.pth")
    files = Files(path=str(tmp_path / "m.pth"), kind="logits")
    assert "the name of an expression is 0, expected a text" in reported(files)


def damage(path: Path) -> None:
    """Flips a bit in the numbers of the largest part."""
    with zipfile.ZipFile(path) as archive:
        info = max(archive.infolist(), key=lambda info: info.file_size)
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + info.file_size // 2 + 64] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_in_a_torch_file(tmp_path, capsys):
    files = save_pth(tmp_path / "m.pth", torch.rand(T, H, W) * 9 - 4)
    assert files.inspect(CLIP) == []
    damage(tmp_path / "m.pth")
    assert "m.pth: damaged: Bad CRC-32" in reported(files)
    torch.save({"state_dict": {"w": torch.rand(1000)}}, tmp_path / "w.pth")
    damage(tmp_path / "w.pth")
    assert "w.pth: damaged: Bad CRC-32" in refused(["weights", "verify", str(tmp_path / "w.pth")], capsys)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"hello world, this is text\n" * 50,
        b"{}",
        b"\x80",
        b"\x80\x02.",
        b"(lp0\n.",
        b"0" * 9,
        b"PK\x03\x04",
        bytes(999),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".txt"])
def test_weights_of_anything(tmp_path, capsys, content, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert str(path) in refused(["weights", "verify", str(path)], capsys)


MARKS = {
    "uninext": "detr.detr.x",
    "soc": "spatial_decoder.x vita.x",
    "mutr": "pixel_decoder.x mti.x",
    "referformer": "pixel_decoder.x class_embed.0.weight text_encoder.embeddings.word_embeddings.weight",
    "aot": "LSTT.layers.0.x LSTT.layers encoder.patch_embed.proj.weight encoder.conv1.weight",
    "urvos": "vocabulary short_side backbone.layer1 backbone.conv1.weight",
    "grounding": "visual_proj.weight text_proj.weight modality.weight visual.layers.0.weight "
    "text_encoder.embeddings.token_type_embeddings.weight text_encoder.embeddings.word_embeddings.weight",
}


@pytest.mark.parametrize("model", MARKS)
@pytest.mark.parametrize("shape", [(), (0,), (16,), (2, 2), (1 << 40, 2)])
def test_any_tensors_under_the_names_of_a_model(tmp_path, capsys, model, shape):
    path = tmp_path / "w.pth"
    tensor = torch.zeros(()).expand(shape) if shape and shape[0] > 99 else torch.zeros(shape)
    backbones = ("backbone.0.body.layer3.5.conv1.weight", "backbone.0.body.patch_embed.proj.weight")
    torch.save({name: tensor for name in [*MARKS[model].split(), *backbones]}, path)
    assert str(path) in refused(["weights", "verify", str(path)], capsys)


@pytest.mark.parametrize("name", [3, None, (1, 2)])
def test_weights_whose_names_are_no_texts(tmp_path, name):
    torch.save({name: torch.zeros(3), "x": torch.zeros(3)}, tmp_path / "w.pth")
    assert "expected a text" in failure(lambda: read_weights(tmp_path / "w.pth"))


def test_weights_are_detached(tmp_path):
    torch.save({"module.w": torch.nn.Parameter(torch.ones(3))}, tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth")
    assert type(weights["w"]) is torch.Tensor and not weights["w"].requires_grad
    torch.save({"module.w": torch.ones(3), "w": torch.zeros(3)}, tmp_path / "w.pth")
    assert "holds 'w' twice" in failure(lambda: read_weights(tmp_path / "w.pth"))


# Proposals, submissions


@pytest.mark.parametrize(
    "rows",
    [
        [{"image_id": [1], "segmentation": None, "score": 0.5}],
        [{"image_id": f"a/{FRAMES[0]}", "segmentation": None, "score": True}],
        [{"image_id": f"a/{FRAMES[0]}", "segmentation": None, "score": HUGE}],
        [3],
        {"a": {FRAMES[0]: "text"}},
        {"a": {FRAMES[0]: {"score": 1}}},
        {"a": 3},
        3,
    ],
    ids=lambda r: str(r)[:40],
)
def test_proposals_that_are_none(tmp_path, rows):
    path = dump(tmp_path / "p.json", rows)
    assert f"{path}: " in "".join(Proposals(path=str(path)).check([CLIP]))


@pytest.mark.parametrize(
    "images", [[], {"images": 3}, {"images": [{"id": 1}]}, {"images": [{"id": [1], "file_name": "a/0"}]}]
)
def test_images_of_proposals_that_are_none(tmp_path, images):
    path = dump(tmp_path / "i.json", images)
    rows = dump(tmp_path / "p.json", [{"image_id": 1, "segmentation": None, "score": 0.5}])
    assert f"{path}: " in "".join(Proposals(path=str(rows), images=str(path)).check([CLIP]))


def test_all_damaged_pictures_of_proposals_at_once(tmp_path):
    folder = tmp_path / "p" / "a"
    folder.mkdir(parents=True)
    for frame in FRAMES:
        data = png.encode_indices(np.ones((H, W), np.uint8))
        (folder / f"{frame}.png").write_bytes(data[:-20] if frame != FRAMES[0] else data)
    assert len(Proposals(path=str(tmp_path / "p")).inspect(CLIP)) == T - 1


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + b"\0" * 18, b"text" * 99])
def test_submissions_of_anything(tmp_path, data):
    (tmp_path / "s.zip").write_bytes(data)
    assert str(tmp_path / "s.zip") in submission.check(tmp_path / "s.zip", [CLIP])[0]


def test_names_in_zips_of_other_tools(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("/a//0/x.png", b"")
    assert Zip(str(tmp_path / "m.zip")).entries("a/0") == ([], ["x.png"])
    assert Zip(str(tmp_path / "m.zip")).read("a/0/x.png") == b""
