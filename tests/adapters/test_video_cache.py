"""The frames of a video are extracted completely and verified, or not at all; an incomplete video is refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.datasets import atomic_folder
from rvos_ensemble.adapters.datasets.video import Video
from rvos_ensemble.ensemble.report import overlays

H, W, T = 48, 64, 20
ROOT = Path(__file__).resolve().parents[2]


def write_video(path, code="MJPG", frames=T, size=(H, W)):
    """Noise, so that all frames need similar space in the file."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, size[::-1])
    assert writer.isOpened()
    rng = np.random.default_rng(0)
    for _ in range(frames):
        writer.write(rng.integers(0, 255, (*size, 3), dtype=np.uint8))
    writer.release()
    return path


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def data_of(path, **settings) -> Video:
    cache = path.parent / "cache"
    return Video(**{"video": str(path), "expressions": ["a thing"], "cache": str(cache), **settings})


def entry_of(path) -> Path:
    (folder,) = (path.parent / "cache").iterdir()
    return folder


def failure(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "a.avi")


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of a given size, which is removed after the test."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        if mounted.returncode:
            pytest.skip("needs the right to mount a small disk")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True)


@pytest.mark.parametrize(
    ("name", "code"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.avi", "XVID"), ("a.mkv", "mp4v"), ("a.mov", "mp4v")]
)
def test_a_whole_video_is_taken_and_one_cut_off_is_refused(name, code, tmp_path):
    path = write_video(tmp_path / name, code)
    for every in (1, 3):
        assert len(data_of(path, every=every).clips()[0]) == len(range(0, T, every))
    shutil.rmtree(tmp_path / "cache")
    for share in (0.5, 0.98):
        write_video(path, code)
        message = failure(data_of(cut(path, share)).clips)
        assert message.startswith(f"{path}: ") and "cut off" in message
        assert re.search(rf"\d+ of {T} frames could be read|not a video|bytes are missing at its end", message)
        assert not (tmp_path / "cache").exists()


def test_readable_frames_of_a_damaged_video_are_used_on_request(video, capsys):
    cut(video, 0.5)
    assert f"of {T} frames could be read" in failure(data_of(video).prepare)
    (clip,) = data_of(video, partial=True).clips()
    assert 0 < len(clip) < T and clip.inspect() == []
    assert f"note: {video}: {len(clip)} of {T} frames" in capsys.readouterr().err
    assert "data.partial=true" in failure(data_of(video).prepare), "the entry of the one is not that of the other"


def test_a_frame_in_the_middle_that_cannot_be_decoded_is_reported(video):
    data = bytearray(video.read_bytes())
    start = data.index(b"\xff\xd8\xff", len(data) // 2)
    data[start : start + 300] = bytes(300)
    video.write_bytes(data)
    assert re.search(rf"\d of {T} frames could be read", failure(data_of(video).clips))


@pytest.mark.parametrize(
    "damage", ["delete", "flip", "cut", "add", "no stamp", "stamp", "number of stamp", "as before"]
)
def test_an_altered_entry_is_created_again(video, damage, monkeypatch):
    (clip,) = data_of(video).clips()
    folder, before = entry_of(video), clip.fingerprint
    frame, stamp = folder / "00007.jpg", folder / "frames.json"
    raw = bytearray(frame.read_bytes())
    if damage == "delete":
        frame.unlink()
    elif damage == "flip":
        status = frame.stat()
        raw[len(raw) // 2] ^= 1
        frame.write_bytes(raw)
        os.utime(frame, ns=(status.st_atime_ns, status.st_mtime_ns))
        monkeypatch.setattr(atomic_folder, "_compared", {})  # as in another process
    elif damage == "cut":
        frame.write_bytes(raw[:-10])
    elif damage == "add":
        (folder / "00020.jpg").write_bytes(raw)
    elif damage == "no stamp":
        stamp.unlink()
    elif damage == "stamp":
        stamp.write_text("[]")
    elif damage == "number of stamp":
        message = json.loads(stamp.read_text())
        del message["files"]["00019.jpg"]
        stamp.write_text(json.dumps(message))
    else:  # an entry as earlier versions left them: incomplete, and nobody knew
        stamp.unlink()
        frame.unlink()
    (clip,) = data_of(video).clips()
    assert len(clip) == T and clip.fingerprint == before
    assert [p.name for p in (video.parent / "cache").iterdir()] == [folder.name]
    assert len(list(folder.iterdir())) == T + 1


def test_an_intact_entry_is_only_checked(video, monkeypatch):
    (clip,) = data_of(video).clips()
    reads = []
    digest = atomic_folder.content_hash
    monkeypatch.setattr(atomic_folder, "content_hash", lambda path: reads.append(path) or digest(path))
    monkeypatch.setattr(Video, "_extract", None)
    data_of(video).clips()
    assert not reads
    monkeypatch.setattr(atomic_folder, "_compared", {})  # as in another process
    started = time.perf_counter()
    assert data_of(video).clips()[0].fingerprint == clip.fingerprint
    assert len(reads) == T and time.perf_counter() - started < 2


def test_files_of_others_in_an_entry_are_never_deleted(video):
    data_of(video).clips()
    mine = entry_of(video) / "mine.txt"
    mine.write_text("x")
    data_of(video).clips()
    (entry_of(video) / "00000.jpg").unlink()
    assert "files of another origin, such as mine.txt" in failure(data_of(video).clips)
    assert mine.read_text() == "x"


def test_a_full_disk_is_reported_and_leaves_nothing(video, small_disk):
    disk = small_disk("48k")
    message = failure(data_of(video, cache=str(disk / "cache")).clips)
    assert str(disk) in message and "No space left on device" in message and "`data.cache`" in message
    assert list(disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
    (clip,) = data_of(video, cache=str(disk / "cache")).clips()
    assert len(clip) == T and clip.inspect() == []


def test_a_cache_that_cannot_be_written_is_reported(video, tmp_path):
    (tmp_path / "file").write_text("x")
    message = failure(data_of(video, cache=str(tmp_path / "file" / "cache")).clips)
    assert "cannot be written: Not a directory" in message and "file/cache" in message
    data_of(video).prepare()


@pytest.mark.parametrize("settings", [{"expressions": ["x\ud800"]}, {"expressions": ["ok", 5]}, {"video": "none.avi"}])
def test_a_refused_run_leaves_nothing(video, settings):
    with pytest.raises(InputError):
        data_of(video, **settings).prepare()
    assert [p.name for p in video.parent.iterdir()] == ["a.avi"]


def test_a_sentence_with_half_a_character_is_reported_with_its_place(video):
    message = failure(lambda: data_of(video, expressions=["good", "bad \udcff"]).clips())
    assert "expressions" in message and "bad \\udcff" in message
    message.encode()


def test_a_name_that_results_cannot_carry_is_reported(tmp_path):
    write_video(tmp_path / "a.avi")
    odd = os.fsencode(tmp_path) + b"/caf\xe9.avi"
    os.rename(tmp_path / "a.avi", odd)
    message = failure(lambda: data_of(Path(os.fsdecode(odd))).clips())
    assert "not UTF-8" in message
    long = write_video(tmp_path / ("x" * 230 + ".avi"))
    assert len(data_of(long).clips()[0]) == T


PREPARE = """
import sys, time
sys.path.insert(0, {root!r})
from rvos_ensemble.adapters.datasets import video
write = video.write_file
def slow(path, data):
    time.sleep({pause})
    write(path, data)
video.write_file = slow
print(len(video.Video(video={video!r}, expressions=["x"], cache={cache!r}).clips()[0]), flush=True)
"""


def start(path, pause=0.05) -> subprocess.Popen:
    code = PREPARE.format(root=str(ROOT), video=str(path), cache=str(path.parent / "cache"), pause=pause)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_frames(path, process):
    deadline = time.monotonic() + 60
    while not list((path.parent / "cache").glob(".*/*.jpg")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)


def test_leftovers_of_a_killed_extraction_are_removed_and_those_of_a_running_one_are_not(video):
    killed = start(video)
    wait_for_frames(video, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    cache = video.parent / "cache"
    assert list(cache.glob(".*.tmp")) and not [p for p in cache.iterdir() if not p.name.startswith(".")]
    old = cache / ".b_0123456789abcdef.k3j5l2x1.tmp"  # of an earlier version, and of a video that is not here any more
    old.mkdir()
    (old / "00000.jpg").write_bytes(b"x")
    other = write_video(video.with_name("c.avi"), frames=4)
    assert len(data_of(other).clips()[0]) == 4
    assert [p.name[:2] for p in cache.iterdir()] == ["c_"]
    alive = start(video)
    wait_for_frames(video, alive)
    data_of(other).clips()
    assert list(cache.glob(".*.tmp"))
    assert alive.communicate(timeout=60)[0] == f"{T}\n"
    assert sorted(p.name[:2] for p in cache.iterdir()) == ["a_", "c_"]


def test_two_at_once_end_with_one_entry(video):
    runs = [start(video, 0.02) for _ in range(3)]
    assert [run.communicate(timeout=120)[0] for run in runs] == [f"{T}\n"] * 3
    (clip,) = data_of(video).clips()
    assert clip.inspect() == [] and len(list((video.parent / "cache").iterdir())) == 1


# Overlays


class Noise:
    size = (H, W)

    def read(self, t):
        return np.random.default_rng(t).integers(0, 255, (H, W, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", overlays.KINDS)
def test_an_overlay_that_a_full_disk_cut_short_is_reported(kind, small_disk, monkeypatch):
    clip = Clip("a", tuple(map(str, range(30))), (Expression("a", "0", "x"),), Noise())
    masks = MaskSequence.binary(np.zeros((30, H, W), bool))
    assert overlays.encode(clip, masks, kind) == overlays.encode(clip, masks, kind)
    disk = small_disk("12k")
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    with pytest.raises(OSError, match="No space left on device") as caught:
        overlays.encode(clip, masks, kind)
    assert str(disk) in str(caught.value) and list(disk.iterdir()) == []


@pytest.mark.parametrize("kind", overlays.KINDS)
def test_an_overlay_with_fewer_frames_than_the_clip_is_reported(kind, monkeypatch):
    clip = Clip("a", tuple(map(str, range(4))), (Expression("a", "0", "x"),), Noise())
    masks = MaskSequence.binary(np.zeros((4, H, W), bool))
    pictures = overlays._pictures
    monkeypatch.setattr(overlays, "_pictures", lambda *arguments: list(pictures(*arguments))[:3])
    if kind == "gif":
        monkeypatch.setattr(np, "full", lambda *_: np.array([100] * 3, np.int32))
    assert "wrote 3 of the 4 frames of clip 'a'" in failure(lambda: overlays.encode(clip, masks, kind))
