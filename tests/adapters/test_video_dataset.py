"""A video file: its frames are read as they were written, and the demo runs from the command line."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.datasets.video import Video
from rvos_ensemble.ensemble.recipe.config import loading

H, W, T = 48, 64, 7
BLOCK = """
from rvos_ensemble.adapters import Adapter, MaskSequence

class Red(Adapter):
    \"\"\"Whatever is red.\"\"\"

    def predict(self, clip):
        masks = [clip.read(t)[..., 0] > clip.read(t)[..., 1] + 60.0 for t in range(len(clip))]
        return {e.id: MaskSequence.binary(masks, [m.mean() for m in masks]) for e in clip.expressions}
"""


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    """An mp4 of a red block that moves 5 pixels per frame over grey."""
    path = tmp_path_factory.mktemp("video") / "my clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (W, H))
    assert writer.isOpened()
    for t in range(T):
        writer.write(picture(t)[..., ::-1].copy())
    writer.release()
    return path


def picture(t):
    """Frame t, uint8 [H, W, 3] RGB."""
    frame = np.full((H, W, 3), 128, np.uint8)
    frame[16:32, 5 * t : 5 * t + 24] = (220, 30, 30)
    return frame


def open_video(path, tmp_path, **settings):
    return Video(video=str(path), **{"expressions": ["the red block"], "cache": str(tmp_path / "cache"), **settings})


def test_frames_and_sentences(clip_file, tmp_path):
    (clip,) = open_video(clip_file, tmp_path, expressions=["the red block", "something else"]).clips()
    assert (clip.name, clip.size, len(clip)) == ("my clip", (H, W), T)
    assert clip.frames == tuple(f"{t:05d}" for t in range(T))
    assert [(e.id, e.text) for e in clip.expressions] == [("0", "the red block"), ("1", "something else")]
    assert clip.problems() == [] and clip.truth is None
    for t in (0, 6, 3):  # in any order
        assert np.abs(clip.read(t).astype(int) - picture(t)).mean() < 6  # two lossy codecs


def test_every_second_frame(clip_file, tmp_path):
    (clip,) = open_video(clip_file, tmp_path, every=2).clips()
    assert len(clip) == 4
    assert np.abs(clip.read(3).astype(int) - picture(6)).mean() < 6


def test_frames_are_extracted_once(clip_file, tmp_path):
    data = open_video(clip_file, tmp_path)
    (clip,) = data.clips()
    times = [p.stat().st_mtime_ns for p in clip.images.paths]
    assert [p.stat().st_mtime_ns for p in open_video(clip_file, tmp_path).clips()[0].images.paths] == times
    other = tmp_path / "other" / clip_file.name  # another video of the same name has frames of its own
    other.parent.mkdir()
    writer = cv2.VideoWriter(str(other), cv2.VideoWriter_fourcc(*"mp4v"), 10, (W, H))
    writer.write(picture(0))
    writer.release()
    (second,) = open_video(other, tmp_path).clips()
    assert len(second) == 1 and second.fingerprint != clip.fingerprint
    assert not list((tmp_path / "cache").glob(".*"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.mp4", "no such file, given as `video`"),
        (lambda folder: text_file(folder), "not a video that OpenCV can read"),
    ],
)
def test_a_file_that_is_no_video_is_named(make, words, tmp_path):
    with pytest.raises(InputError, match=words):
        open_video(make(tmp_path), tmp_path).clips()
    assert not list((tmp_path / "cache").glob("*"))


def text_file(folder):
    path = folder / "clip.mp4"
    path.write_text("no video")
    return path


def test_a_step_of_zero_is_refused(clip_file, tmp_path):
    with pytest.raises(InputError, match="`every` is 0"):
        open_video(clip_file, tmp_path, every=0).clips()


def test_the_demo_writes_masks_and_an_overlay(clip_file, tmp_path, capsys):
    model, out = tmp_path / "red.py", tmp_path / "out"
    model.write_text(BLOCK)
    arguments = [
        "recipe=single",
        "source=soc",
        f"sources.soc.adapter={model}",
        "propagators.aot.propagator=flow",
        f"data.video={clip_file}",
        "data.expressions=[the red block, the same again]",
        f"data.cache={tmp_path / 'cache'}",
        f"out={out}",
    ]
    assert run_ensemble.main(arguments) == 0
    for expression in ("0", "1"):
        for t in range(T):
            mask = np.asarray(Image.open(out / "Annotations" / "my clip" / expression / f"{t:05d}.png")) > 0
            truth = picture(t)[..., 0] == 220
            assert (mask & truth).sum() / (mask | truth).sum() > 0.7
        overlay = cv2.VideoCapture(str(out / "overlays" / "my clip" / f"{expression}.mp4"))
        frames = 0
        while overlay.read()[0]:
            frames += 1
        assert frames == T
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["config"]["data"]["dataset"] == "video" and manifest["config"]["overlays"] == "mp4"


def test_explicit_settings_take_precedence_over_implied_ones(clip_file):
    _, config = loading.resolve(["recipe=single", f"data.video={clip_file}", "data.expressions=[x]", "overlays=gif"])
    assert config["overlays"] == "gif" and config["data"]["dataset"] == "video"
    _, config = loading.resolve(["recipe=single"])
    assert config.get("overlays") is None and config["data"]["dataset"] == "shapes"
