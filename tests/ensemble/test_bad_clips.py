"""What is wrong with one video costs its clip; what is wrong with its files is told whole; nobody waits for a pipe."""

import errno
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import test_datasets
import torch
from test_datasets import FRAMES, LABELS, SIZE, write_annotations, write_json, write_pictures, youtube
from test_training_loop import SHORT, Plane

from rvos_ensemble.adapters.core.clip import BadClips, Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.datasets.folder import VideoFolder
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.mevis import Mevis
from rvos_ensemble.adapters.datasets.palette_truth import PaletteTruth
from rvos_ensemble.adapters.datasets.picture_size import picture_size
from rvos_ensemble.adapters.datasets.ref_davis17 import RefDavis17
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.training.loop.loop import fit
from rvos_ensemble.adapters.training.samples.folder import FolderClips

ROOT = Path(__file__).resolve().parents[2]
LONG = "n" * 250  # a name that a file can have, and its results cannot


def bad_of(call) -> BadClips:
    with pytest.raises(BadClips) as caught:
        call()
    return caught.value


def failure(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    """A folder of one good video."""
    write_pictures(tmp_path / "JPEGImages" / "good", FRAMES[:2])
    return tmp_path


def of_folder(root, **settings):
    return VideoFolder(root=str(root), **settings).clips()


# One video, one clip


def test_bad_clips_carry_the_good_ones_to_other_processes(folder):
    (folder / "JPEGImages" / "empty").mkdir()
    error = pickle.loads(pickle.dumps(bad_of(lambda: of_folder(folder))))
    assert isinstance(error, InputError) and [c.name for c in error.clips] == ["good"]
    assert error.bad.keys() == {"empty"} and error.problems == error.bad["empty"]
    assert "JPEGImages/empty: no pictures in it" in str(error)


def make_loop(path):
    path.symlink_to(path.name)


def make_dangling(path):
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("x", Path.mkdir, "no pictures in it"),
        ("x", make_loop, "Too many levels of symbolic links"),
        ("x", make_dangling, "No such file or directory"),
        (LONG, lambda p: write_pictures(p, ["0"]), "has 250 bytes, at most 240"),
        ("caf\udce9", lambda p: write_pictures(p, ["0"]), "a name that is not UTF-8"),
        ("x", lambda p: write_pictures(p, ["0", LONG]), "frame 'nnn"),
        ("x", lambda p: write_pictures(p, ["0", "caf\udce9"]), "a name that is not UTF-8"),
    ],
)
def test_a_folder_that_cannot_be_a_clip_costs_that_clip(folder, name, make, told):
    make(folder / "JPEGImages" / name)
    (folder / "JPEGImages" / ".hidden").mkdir()
    (folder / "JPEGImages" / "notes.txt").write_text("")
    error = bad_of(lambda: of_folder(folder))
    assert [c.name for c in error.clips] == ["good"] and len(error.bad) == 1
    (problem,) = error.problems
    assert told in problem
    (problem + next(iter(error.bad))).encode()  # can be printed and written


@pytest.mark.parametrize("layout", ["JPEGImages", "."])
def test_a_folder_that_may_not_be_read_costs_its_clip(tmp_path, layout):
    if os.getuid() != 0:
        pytest.skip("needs the right to become another user")
    for name in ("good", "locked"):
        write_pictures(tmp_path / layout / name, FRAMES[:2])
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to(tempfile.gettempdir()) and parent != Path(tempfile.gettempdir()):
            parent.chmod(0o755)
    (tmp_path / layout / "locked").chmod(0o700)
    code = f"""
import os
from rvos_ensemble.adapters.datasets.folder import VideoFolder
from rvos_ensemble.adapters.core.clip import BadClips
data = VideoFolder(root={str(tmp_path)!r})
data.check()  # so that all is loaded that another user may not be allowed to read
os.setuid(65534)
try:
    data.clips()
except BadClips as error:
    print([c.name for c in error.clips], error.bad, error.clips[0].inspect())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    place = tmp_path / layout / "locked"
    assert done.stdout == f"['good'] {{'locked': ['{place}: cannot be read: Permission denied']}} []\n", done.stderr


def test_folders_without_pictures_among_videos_are_passed_over_but_not_in_silence(tmp_path, capsys):
    write_pictures(tmp_path / "good", FRAMES[:2])
    write_annotations(tmp_path / "Annotations" / "good", FRAMES[:2], LABELS)
    (tmp_path / "notes").mkdir()
    (clip,) = of_folder(tmp_path, expressions={"good": {"0": {"exp": "x", "obj_id": 1}}})
    assert clip.truth.read("0").mask(0).sum() == 24
    assert f"{tmp_path}: folders without pictures are skipped: notes\n" in capsys.readouterr().err
    for named in ({"videos": ["good", "notes"]}, {"expressions": {"good": ["x"], "notes": ["x"]}}):
        assert bad_of(lambda named=named: of_folder(tmp_path, **named)).bad.keys() == {"notes"}


def test_videos_of_a_json_that_cannot_be_cost_their_clips(tmp_path):
    content = youtube(tmp_path, {"good": (FRAMES, 1)})
    good = content["good"]
    wrong = {
        "x" * 300: good,
        "a/../b": good,
        "frames": {**good, "frames": ["0", "f" * 300]},
        "ids": {**good, "expressions": {"i" * 300: {"exp": "x"}, "1" * 5000: {"exp": "x"}}},
        "number": {**good, "expressions": {"0": {"exp": 5}}},
        "old": {"objects": {"1" * 5000: {"frames": ["0"], "expressions": [None]}}},
    }
    write_json(tmp_path / "meta_expressions/valid/meta_expressions.json", {"videos": {**wrong, "good": good}})
    error = bad_of(RefYoutubeVOS(root=str(tmp_path)).clips)
    assert [c.name for c in error.clips] == ["good"] and error.bad.keys() == wrong.keys()
    assert len(error.bad["ids"]) == 2 and all(len(p) < 500 for p in error.problems)


def test_half_a_character_is_told_with_its_place(folder):
    write_pictures(folder / "JPEGImages" / "other", ["0"])
    given = {"good": ["fine"], "other": {"7": "half \ud800"}}
    error = bad_of(lambda: of_folder(folder, expressions=given))
    assert [c.name for c in error.clips] == ["good"]
    (problem,) = error.problems
    assert "video 'other': the text of expression '7' has half a character" in problem
    problem.encode()
    (folder / "said.yaml").write_text('good: [fine]\nother: {"7": "half \\ud800"}\n')
    told = failure(lambda: of_folder(folder, expressions="said.yaml"))
    assert "said.yaml: cannot be read" in told and "line 2" in told and "\n" not in told
    (folder / "said.json").write_text('{"good": ["half \\udc80"], "other": ["x"]}')
    assert "said.json" in failure(lambda: of_folder(folder, expressions="said.json"))
    images = ImageFiles((folder / "JPEGImages/good/00000.jpg",))
    told = failure(lambda: Clip("a", ("0",), (Expression("a", "0", "x\udc80"),), images))
    assert "clip 'a', expression '0': its text has half a character" in told


def test_a_video_of_davis_without_frames_costs_its_clip(tmp_path):
    expressions = [(str(k), "x", "1") for k in range(4)]
    test_datasets.TestRefDavis17.write(tmp_path, {"a": expressions, "b": expressions, "c": expressions})
    frames = tmp_path / "DAVIS/JPEGImages/480p"
    for path in (frames / "a").iterdir():
        path.unlink()
    (frames / "b").rename(frames / "elsewhere")
    (frames / "b").symlink_to("b")
    error = bad_of(RefDavis17(root=str(tmp_path)).clips)
    assert [c.name for c in error.clips] == ["c"] and error.bad.keys() == {"a", "b"}
    assert "no frames *.jpg" in error.bad["a"][0] and "symbolic links" in error.bad["b"][0]


def test_mevis_in_the_layout_of_2020_is_read(tmp_path):
    old = {"objects": {"1": {"frames": ["0"], "expressions": ["x"]}}}
    write_json(tmp_path / "valid_u/meta_expressions.json", {"videos": {"v": old}})
    write_json(tmp_path / "valid_u/mask_dict.json", {})
    (clip,) = Mevis(root=str(tmp_path)).clips()
    assert clip.expressions[0].text == "x" and clip.truth is None


def test_expressions_that_grow_without_end_are_refused(folder):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    (folder / "bomb.yaml").write_text("\n".join(lines))
    assert "bomb.yaml: has an alias" in failure(lambda: of_folder(folder, expressions="bomb.yaml"))


# Pictures


def test_nobody_waits_for_a_pipe(folder):
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe.png")
    images = ImageFiles((folder / "pipe.jpg",))
    for call in (lambda: images.size, lambda: images.read(0), images.fingerprint):
        assert "pipe.jpg: a pipe, expected a file" in failure(call)
    assert "a pipe, expected a file" in images.problems()[0]
    truth = PaletteTruth((folder / "pipe.png",), {"0": ()}, ImageFiles((folder / "JPEGImages/good/00000.jpg",)))
    assert "a pipe, expected a file" in truth.problems()[0] and "a pipe" in failure(lambda: truth.labels(0))


def jpeg_of(height, width):
    """The head of a picture that was never drawn."""
    return (
        b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width) + bytes(40) + b"\xff\xd9"
    )


def png_of(height, width, bits=8, colour=2):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return png.SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("data", [jpeg_of(40000, 40000), jpeg_of(65535, 65535), png_of(20000, 20000), jpeg_of(0, 100)])
def test_a_header_that_asks_for_too_much_is_refused_before_anything_is_decoded(data, tmp_path, monkeypatch):
    (tmp_path / "0.jpg").write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", None)
    images = ImageFiles((tmp_path / "0.jpg",))
    assert "damaged" in failure(lambda: images.read(0)) and "(HxW)" in images.problems()[0]


def test_sizes_are_found_behind_large_profiles(tmp_path):
    picture = cv2.imencode(".jpg", np.zeros((30, 50, 3), np.uint8))[1].tobytes()
    profile = b"".join(b"\xff\xe2\xff\xff" + bytes(65533) for _ in range(20))
    (tmp_path / "0.jpg").write_bytes(picture[:2] + profile + picture[2:])
    assert picture_size(tmp_path / "0.jpg") == (30, 50)
    assert ImageFiles((tmp_path / "0.jpg",)).read(0).shape == (30, 50, 3)
    for suffix in (".jpg", ".png"):
        for size in ((1, 1), (7, 300)):
            path = tmp_path / f"x{suffix}"
            path.write_bytes(cv2.imencode(suffix, np.zeros((*size, 3), np.uint8))[1].tobytes())
            assert picture_size(path) == size


def test_a_png_frame_that_is_cut_short_or_altered_is_refused(tmp_path):
    data = cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))[1].tobytes()
    images = ImageFiles((tmp_path / "0.png",))
    for wrong in (data[:-100], data[:200], data[:500] + b"\0" + data[501:]):
        (tmp_path / "0.png").write_bytes(wrong)
        assert images.problems() == [] and "0.png: damaged PNG" in failure(lambda: images.read(0))


def test_everything_that_is_wrong_with_a_clip_is_found_in_one_look(tmp_path):
    youtube(tmp_path, {"a": (FRAMES, 2)}, objects={"0": "1", "1": "7"})
    pictures, annotations = (tmp_path / "valid" / name / "a" for name in ("JPEGImages", "Annotations"))
    for name in FRAMES[1:7]:
        (pictures / f"{name}.jpg").write_bytes((pictures / f"{name}.jpg").read_bytes()[:-20])
    (clip,) = RefYoutubeVOS(root=str(tmp_path)).clips()
    found = clip.inspect()
    assert [f"{name}.jpg: not a readable picture" in p for name, p in zip(FRAMES[1:4], found, strict=False)] == [
        True
    ] * 3
    assert "and 3 more frames like this: 00004.jpg, 00005.jpg, 00006.jpg" in found[3]
    assert "expression '1' refers to object '7'" in found[4] and len(found) == 5
    assert len(clip.problems()) == 1, "which decodes no pictures"
    for name in FRAMES[:5]:
        (annotations / f"{name}.png").write_bytes((annotations / f"{name}.png").read_bytes()[:-8])
    found = clip.inspect()
    assert sum("damaged PNG" in p for p in found) == 3
    assert "and 2 more annotations like this: 00003.png, 00004.png" in found[-1]


def test_images_of_any_kind_are_inspected():
    class Odd:
        size = SIZE

        def read(self, t):
            if t == 1:
                raise InputError("frame 1: gone")
            return np.zeros((*SIZE, 3), np.uint8)

        def problems(self):
            return ["odd"]

        def fingerprint(self):
            return ""

    class Half(Odd):
        def read(self, expression):
            raise InputError(f"{expression}: no truth")

    clip = Clip("a", ("0", "1"), (Expression("a", "0", "x"),), Odd(), Half())
    assert clip.inspect() == ["odd", "frame 1: gone", "0: no truth"]


# What trainings read and write


def test_wrong_folders_of_a_training_are_told_together(tmp_path):
    write_pictures(tmp_path / "JPEGImages" / "a", FRAMES[:2])
    write_annotations(tmp_path / "Annotations" / "a", FRAMES[:3], LABELS)
    write_annotations(tmp_path / "Annotations" / "b", FRAMES[:2], LABELS)
    (tmp_path / "Annotations" / "c").symlink_to("c")
    (tmp_path / "Annotations" / "notes.txt").write_text("")
    told = failure(lambda: FolderClips(tmp_path, 2))
    assert "JPEGImages/b: no such folder" in told and "Annotations/c: cannot be read" in told
    assert "1 annotated frames have no image" in told
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert "loop" in failure(lambda: FolderClips(loop, 2))


def test_what_a_training_cannot_read_is_told(tmp_path):
    write_pictures(tmp_path / "JPEGImages" / "a", FRAMES[:2])
    write_annotations(tmp_path / "Annotations" / "a", FRAMES[:2], LABELS[:5])
    assert "5x16 (HxW), expected 12x16 like its images" in failure(lambda: FolderClips(tmp_path, 2)[0])
    video = {"frames": FRAMES[:2], "expressions": {"0": {"exp": "x", "obj_id": "dog"}, "1": {"exp": "x", "obj_id": 0}}}
    write_json(tmp_path / "meta_expressions.json", {"videos": {"a": video, "b": {}}})
    told = failure(lambda: FolderClips(tmp_path, 2))
    assert "object 'dog'" in told and "object '0'" in told and "video 'b'" in told


def test_a_flipped_byte_of_a_saved_training_is_told(tmp_path):
    fit(Plane(), SHORT, tmp_path)
    path = tmp_path / "last.pth"
    whole = path.read_bytes()
    state = torch.load(path, weights_only=True)["state_dict"]["0.weight"].numpy().tobytes()
    for at in (whole.index(state), whole.index(b"settings") + 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert f"{path}: not the state of a training run, or a damaged one" in failure(
            lambda: fit(Plane(), SHORT, tmp_path)
        )
    torch.save({"step": 3}, path)
    assert "without averages" in failure(lambda: fit(Plane(), SHORT, tmp_path))
    path.write_bytes(whole)
    fit(Plane(), SHORT, tmp_path)


def test_what_a_killed_training_leaves_goes_and_what_another_writes_stays(tmp_path):
    import fcntl

    left = [tmp_path / ".0123456789abcdef.tmp", tmp_path / ".fedcba9876543210.tmp"]
    others = [tmp_path / ".last.pth.swp", tmp_path / ".other.12.tmp"]
    live = tmp_path / ".0011223344556677.tmp"
    for path in (*left, *others, live):
        path.write_bytes(b"x")
    with open(live, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fit(Plane(), SHORT, tmp_path)
        assert live.exists() and not any(p.exists() for p in left) and all(p.exists() for p in others)


@pytest.mark.parametrize("name", ["last.pth", "log.jsonl"])
def test_a_training_on_a_full_disk_names_the_file_and_leaves_no_other(tmp_path, monkeypatch, name):
    import io

    from rvos_ensemble.adapters.core.io import disk

    class FullDisk(io.FileIO):
        def write(self, data):
            if self.path.name == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    class Output(disk._Output, FullDisk):
        pass

    monkeypatch.setattr(disk, "_Output", Output)
    with pytest.raises(OSError, match="No space left on device") as caught:
        fit(Plane(), SHORT, tmp_path)
    assert caught.value.filename == str(tmp_path / name) and not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    fit(Plane(), SHORT, tmp_path)
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["step"] == SHORT["steps"]
