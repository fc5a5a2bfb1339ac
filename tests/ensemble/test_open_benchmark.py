"""The ablation of `open` and `topdown_real` on real clips, in miniature: rows and oracles."""

import json
import sys

import cv2
import numpy as np
import pytest
from test_open_recipe import FINDER, FLOW, SIDE, SQUARES, H, W

from benchmarks import open as benchmark
from rvos_ensemble.adapters.inference.image_classes import extra

SENTENCES = {"1": "the red thing", "2": "the one on the right"}


@pytest.fixture
def clips(tmp_path):
    """A clip of two moving squares with true masks, and its sentences."""
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / folder / "squares").mkdir(parents=True)
    for t in range(3):
        picture, truth = np.full((H, W, 3), 128, np.uint8), np.zeros((H, W), np.uint8)
        for number, (colour, y, x) in enumerate(SQUARES.values(), 1):
            place = np.s_[y : y + SIDE, x + 2 * t : x + 2 * t + SIDE]
            picture[place], truth[place] = colour[::-1], number
        cv2.imwrite(str(tmp_path / "JPEGImages" / "squares" / f"{t:05d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
        cv2.imwrite(str(tmp_path / "Annotations" / "squares" / f"{t:05d}.png"), truth)
    rows = [["squares", 3, {"exp": text, "obj_id": number}] for number, text in SENTENCES.items()]
    (tmp_path / "sentences.json").write_text(json.dumps(rows))
    (tmp_path / "finder.py").write_text(FINDER)
    return tmp_path


@pytest.mark.parametrize(
    ("recipe", "source", "flow", "good", "poor"),
    [
        ("open", "objects", FLOW[:2], ["one frame", "raw tracks", "tracklets", "refused", "open"], ["salient"]),
        (
            "topdown_real",
            "proposals",
            ["propagators.aot.propagator=flow"],
            ["+ propagation", "+ tracklets", "+ tracklet-NMS"],
            ["image-level", "salient"],
        ),
    ],
)
def test_rows_and_oracles(recipe, source, flow, good, poor, clips, monkeypatch, capsys):
    monkeypatch.setattr(extra, "path_of", lambda package: None)
    given = ["--recipe", recipe, "--real", clips, "--expressions", clips / "sentences.json", "--every", 1, *flow]
    monkeypatch.setattr(sys, "argv", ["open", *map(str, given), f"sources.{source}.adapter={clips / 'finder.py'}"])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "'the red thing': proposals/" in printed or "'the red thing': objects/" in printed
    table = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    rows = {row: (float(jf), reads[0] if reads else "") for row, jf, *reads in table[1:-1]}
    oracles = [f"oracle of {name}" for name in ("candidates", "tracks", "tracklets")]
    assert list(rows) == [*oracles, *[r for r in benchmark.ABLATIONS[recipe].rows]] and set(rows) == {
        *oracles,
        *good,
        *poor,
    }
    assert all(rows[row][0] > 85 for row in (*oracles, *good))
    assert all(rows[row][1] == "1.00 of 2" for row in good)
    assert all(rows[row][0] < 60 for row in poor), "one of three frames, or one of two objects"
    assert rows["salient"][1] == "0.50 of 2" and table[-1][-1].strip(" |") == "0.50"


def test_a_grounding_network_takes_the_place_of_the_words(clips, monkeypatch, capsys):
    monkeypatch.setattr(extra, "path_of", lambda package: None)
    given = ["--recipe", "topdown_real", "--real", clips, "--expressions", clips / "sentences.json", "--every", 2]
    network = [f"steps.{step}.{s}" for step in ("grounded", "topdown") for s in ("op=ground", "weights=grounding_nano")]
    settings = ["propagators.aot.propagator=flow", f"sources.proposals.adapter={clips / 'finder.py'}", *network]
    monkeypatch.setattr(sys, "argv", ["open", *map(str, given), *settings])
    benchmark.main()
    printed = capsys.readouterr().out
    assert "'the red thing': proposals/" in printed and " by red" not in printed, "it says which object, not why"
    assert "| + tracklet-NMS | " in printed
