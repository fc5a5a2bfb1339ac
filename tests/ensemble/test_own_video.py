"""Small networks of ours on a video of the user's: unknown words are named, and a note says what they have seen."""

import cv2
import numpy as np
import pytest

import run_ensemble

ONE = ["recipe=single", "source=soc", "engine.workers=1", "propagators.aot.propagator=flow", "overlays=null"]


@pytest.fixture
def video(tmp_path):
    """Arguments for three frames of noise."""
    file = tmp_path / "mine.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 64))
    for seed in range(3):
        writer.write(np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8))
    writer.release()
    return [f"data.video={file}", f"out={tmp_path / 'out'}"]


def test_words_that_a_network_does_not_know_are_named_with_those_it_knows(video, capsys):
    words = "data.expressions=[a Dog running left, the red disc, 'a cat, running']"
    assert run_ensemble.main([*ONE, *video, words]) == 2
    told = capsys.readouterr().err
    assert (
        "soc_nano is a small network of ours that knows only the words of `shapes`, not: dog, running, cat"
        in told.lower()
    )
    [known] = [line for line in told.splitlines() if "knows these words: a, and, another, at" in line]
    assert "while, yellow" in known and "<unk>" not in known


def test_sources_that_have_seen_shapes_alone_warn_on_real_video(video, capsys):
    assert run_ensemble.main([*ONE, *video, "data.expressions=[the red disc]"]) == 0
    told = capsys.readouterr().err
    assert "note: soc (soc_nano) was trained on rendered shapes only: masks of real video are of no use" in told
