"""Tests of what the report keeps of a clip: scores of frames, images, overlays."""

import base64
import json
import zlib

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.reference import default_radius, j_and_f
from helpers.report_page import make_clip, png, run, statuses
from helpers.tiny import FRAMES, H, T, W
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.metrics import scores as metrics
from rvos_ensemble.ensemble.metrics.frame_scores import pack_scores, read_scores
from rvos_ensemble.ensemble.report import overlays
from rvos_ensemble.ensemble.report.page import clip_data
from rvos_ensemble.ensemble.report.page.page_notes import notes_of
from rvos_ensemble.ensemble.report.record import ClipRecord

# Scores of every frame


def test_scores_of_every_frame_are_those_of_the_pictures(tiny):
    assert run(tiny) == 0
    scores = read_scores(tiny.out / "clips/a.npz")["smr_flow"]
    assert list(scores) == ["0", "1", "2"]
    for e, per_frame in scores.items():
        for t, frame in enumerate(FRAMES):
            truth = np.array(Image.open(tiny.root / "valid/Annotations/a" / f"{frame}.png")) == int(e) // 2 + 1
            assert (per_frame.J[t], per_frame.F[t]) == j_and_f(
                png(tiny.out, "a", e, frame), truth, default_radius(H, W)
            )
    table = pd.read_csv(tiny.out / "metrics.csv", dtype={"expression": str})
    assert list(table.columns) == ["clip", "expression", "text", "step", "J", "F", "J&F"]
    assert len(table) == 3 * 3 * 5 and not table.duplicated(["clip", "expression", "step"]).any()
    for row in table[table["clip"] == "a"].itertuples():
        assert np.mean(read_scores(tiny.out / "clips/a.npz")[row.step][row.expression].J) == row.J


def test_nothing_is_scored_twice(tiny, monkeypatch):
    calls = []
    original = metrics.score_many
    monkeypatch.setattr(metrics, "score_many", lambda *a: calls.append(1) or original(*a))
    assert run(tiny) == 0
    assert len(calls) == 9, "once per expression"
    assert run(tiny) == 0
    assert len(calls) == 9


def test_missing_scores_stay_missing(tmp_path):
    values = metrics.Scores(np.array([0.5, 1.0]), np.array([0.25, 0.0]))
    for scores in ({}, {"soc": {"0": values}, "final": {"10": values}}):
        file = tmp_path / "clips" / "a.npz"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pack_scores(scores, 2))
        back = read_scores(tmp_path / "clips/a.npz")
        assert {s: list(of) for s, of in back.items()} == {s: list(of) for s, of in scores.items()}
        assert all(np.array_equal(back[s][e].F, values.F) for s, of in back.items() for e in of)


@pytest.mark.parametrize("what", ["record of an earlier version", "clips/a.npz", "report/a.js", "damaged clips/a.npz"])
def test_what_is_missing_or_old_is_made_again(tiny, what):
    assert run(tiny) == 0
    before = (tiny.out / "report.html").read_bytes()
    file = tiny.out / what.split()[-1]
    if what.startswith("record"):
        record = json.loads((tiny.out / "clips/a.json").read_text())
        del record["files"]
        (tiny.out / "clips/a.json").write_text(json.dumps(record))
        (tiny.out / "clips/a.npz").unlink()
    elif what.startswith("damaged"):
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.unlink()
    assert run(tiny) == 0
    assert statuses(tiny.out) == {"a": "done", "b": "reused", "c": "reused"}
    assert (tiny.out / "report.html").read_bytes() == before


# Pictures of a clip


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_runs_are_the_mask(mask):
    runs = clip_data.runs_of(mask)
    assert runs.sum() == mask.size and (runs[1:] > 0).all()
    assert np.array_equal(np.repeat(np.arange(len(runs)) % 2 == 1, runs), mask.ravel())


@pytest.mark.parametrize(("noted", "shown"), [(0, [0]), (3, [3]), ([1, 2], [1, 2])])
def test_key_frames_that_a_source_names_are_a_list(noted, shown):
    record = ClipRecord("a", notes={"soc": {"0": {"key_frame": noted}}})
    assert notes_of(record, "soc", "0") == {"keys": shown}


@pytest.mark.parametrize(
    "frames, size", [(1, (1, 1)), (5, (48, 70)), (3, (240, 240)), (4, (720, 406)), (900, (20, 30))]
)
def test_pictures_hold_the_masks(frames, size):
    clip = make_clip(frames, size, ("0", "1"))
    random = np.random.default_rng(1)
    masks = np.stack([cv2.blur(random.random(size), (9, 9)).reshape(size) > 0.5 for _ in range(frames)])
    masks[-1] = True
    shared, other = MaskSequence.binary(masks), MaskSequence.binary(~masks)
    body = json.loads(
        clip_data.body_of(clip_data.pack(clip, {"soc": {"0": shared, "1": shared}, "x": {"0": other, "1": shared}}))
    )
    assert body["rows"] == {"0": {"soc": 0, "x": 1}, "1": {"soc": 0, "x": 0}} and body["truth"] == {}
    assert max(body["size"]) == min(max(size), clip_data.SIDE) and len(body["times"]) <= clip_data.FRAMES
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(body["runs"])), "<u2")
    counts = numbers[: 2 * len(body["times"])]
    pieces = np.split(numbers[len(counts) :], np.cumsum(counts)[:-1])
    h, w = body["size"]
    for k, (i, t) in [(k, p) for k in (0, 1) for p in enumerate(body["times"])]:
        mask = np.repeat(np.arange(counts[k * len(body["times"]) + i]) % 2, pieces[k * len(body["times"]) + i])
        wanted = (masks[t] ^ bool(k)).astype(np.float64)
        if all(full % 2 == 0 and full >= 2 * small for full, small in zip(size, (h, w), strict=True)):
            wanted = cv2.resize(wanted, (size[1] // 2, size[0] // 2), interpolation=cv2.INTER_AREA)  # halved first
        wanted = cv2.resize(wanted, (w, h), interpolation=cv2.INTER_AREA)
        clear = np.abs(wanted - 0.5) > 0.01
        assert np.array_equal((mask.reshape(h, w) == 1)[clear], (wanted > 0.5)[clear])
    sheet = cv2.imdecode(np.frombuffer(base64.b64decode(body["frames"]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    for i, t in enumerate(body["times"]):
        y, x = i // body["columns"] * h, i % body["columns"] * w
        wanted = cv2.resize(clip.read(t), (w, h), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(sheet[y : y + h, x : x + w] - wanted).mean() < 25


# Overlays


@pytest.mark.parametrize("kind", overlays.KINDS)
def test_overlays_play_every_frame_with_its_mask(tiny, kind):
    assert run(tiny, f"overlays={kind}") == 0
    files = sorted(tiny.out.glob("overlays/*/*"))
    assert [str(f.relative_to(tiny.out / "overlays")) for f in files] == [
        f"{c}/{e}.{kind}" for c in "abc" for e in "012"
    ]
    video = cv2.VideoCapture(str(files[0]))
    pictures = []
    while (read := video.read())[0]:
        pictures.append(read[1][..., ::-1].astype(int))
    assert len(pictures) == T and pictures[0].shape == (H, W, 3), "48 x 70 is even already"
    for picture, frame in zip(pictures, FRAMES, strict=True):
        mask = png(tiny.out, "a", "0", frame)
        inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) > 0  # compression blurs the edges
        outside = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0
        pink = picture[..., 0] - picture[..., 1]
        assert pink[inside].mean() > pink[outside].mean() + 50
    assert run(tiny, f"overlays={kind}") == 0 and set(statuses(tiny.out).values()) == {"reused"}
    files[0].unlink()
    assert run(tiny, f"overlays={kind}") == 0 and files[0].is_file()
    assert run(tiny) == 0 and not (tiny.out / "overlays").exists(), "belongs to another run"


@pytest.mark.parametrize("kind", overlays.KINDS)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (31, 1000)])
def test_overlays_of_odd_sizes(kind, size, tmp_path):
    masks = MaskSequence.binary(np.ones((3, *size), bool))
    file = tmp_path / f"a.{kind}"
    file.write_bytes(overlays.encode(make_clip(3, size), masks, kind))
    video = cv2.VideoCapture(str(file))
    assert sum(1 for _ in iter(lambda: video.read()[0], False)) == 3


def test_an_overlay_of_another_kind_is_refused(tiny, capsys):
    assert run(tiny, "overlays=avi") == 2
    assert "`overlays` is 'avi', expected one of nothing, false, mp4, gif" in capsys.readouterr().err
    assert run(tiny, "overlays=false") == 0 and not (tiny.out / "overlays").exists()
