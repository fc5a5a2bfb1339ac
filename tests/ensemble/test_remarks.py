"""The lines below the table of a run: steps that lose, the best row and its command, votes that are unions."""

import json
import shlex
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import FRAMES, MODELS, make_tiny, save

import run_ensemble
from rvos_ensemble.ensemble.metrics.bootstrap import paired_interval
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.ensemble.report.record import ClipRecord
from rvos_ensemble.ensemble.report.remarks import remarks

CLIPS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """soc, mutr, referformer -> smr (vote) -> smr_flow."""
    return load(make_tiny(tmp_path_factory.mktemp("tiny")).arguments)


def frame_of(scores: dict[str, list[float]], **columns) -> pd.DataFrame:
    """One expression per clip; {step: J&F of every clip}."""
    rows = [
        {"clip": clip, "expression": "0", "text": "", "step": step, "J": value, "F": value, "J&F": value}
        for step, values in scores.items()
        for clip, value in zip(CLIPS, values, strict=False)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_a_step_is_compared_with_its_best_input(recipe):
    """The interval is that of the differences; the other rows of the table do not matter."""
    mutr, smr = [0.5, 0.6, 0.7, 0.8], [0.4, 0.51, 0.58, 0.69]
    scores = {"soc": [0.1] * 4, "mutr": mutr, "referformer": [0.2] * 4, "smr": smr, "smr_flow": [0.9] * 4}
    low, high = paired_interval({c: [s - m] for c, s, m in zip(CLIPS, smr, mutr, strict=True)})
    assert remarks(recipe, frame_of(scores), [])[1:] == [
        "Steps below their inputs (J&F, 95 % interval over clips):",
        f"  smr: -10.5 [{100 * low:+.1f}, {100 * high:+.1f}] against mutr, its best input: significantly lower",
    ]


def test_losses_within_the_noise_are_said_to_be(recipe):
    scores = {"soc": [0.5] * 4, "mutr": [0.5] * 4, "referformer": [0.5] * 4, "smr": [0.6] * 4}
    lines = remarks(recipe, frame_of(scores | {"smr_flow": [0.9, 0.1, 0.9, 0.1]}), [], ["recipe=tiny"])
    assert lines[0].startswith("Output smr_flow against soc, the best source: J&F +0.0 [")
    assert lines[2].startswith("  smr_flow: -10.0 [") and lines[2].endswith("against its input smr: within the noise")
    assert lines[3].startswith("Best row: smr, J&F +10.0 [") and "within the noise" in lines[3]


def test_one_clip_gives_no_interval(recipe):
    lines = remarks(recipe, frame_of({"smr": [0.6], "smr_flow": [0.5]}), [])
    assert lines[1] == "  smr_flow: -10.0 against its input smr: one clip is too few to tell"


def test_of_a_table_in_which_every_step_wins_only_the_gain_over_the_best_source_is_said(recipe):
    """Nothing of differences that the table shows as 0.0."""
    scores = {"soc": [0.5] * 4, "mutr": [0.4] * 4, "referformer": [0.3] * 4, "smr": [0.6] * 4}
    assert remarks(recipe, frame_of(scores | {"smr_flow": [0.5996] * 4}), []) == [
        "Output smr_flow against soc, the best source: J&F +10.0 [+10.0, +10.0] (95 % interval over clips): "
        "significantly higher"
    ]


def test_an_output_that_is_worse_than_the_best_source_is_said_to_be(recipe):
    scores = {"soc": [0.5] * 4, "mutr": [0.2] * 4, "referformer": [0.3] * 4, "smr": [0.2] * 4, "smr_flow": [0.4] * 4}
    [line, *_] = remarks(recipe, frame_of(scores), [])
    assert line.startswith("Output smr_flow against soc, the best source: J&F -10.0 [-10.0, -10.0]")
    assert line.endswith("significantly lower")


def test_where_expressions_refer_to_nothing_final_decides(recipe):
    """A step with a lower J&F that answers "nothing" rightly is not below its input."""
    scores = {"smr": [0.6, 0.6, 0.6, 0.6], "smr_flow": [0.5, 0.5, 0.5, 0.5]}
    frame = frame_of(scores, no_target=[True, True, False, False] * 2, empty=[False] * 4 + [True, True, False, False])
    assert remarks(recipe, frame, []) == []
    worse = remarks(recipe, frame.assign(empty=[True, True, False, False] + [False] * 4), [])
    assert worse[0].startswith("Steps below their inputs (Final") and worse[1].startswith("  smr_flow: -36.7 [")


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (["1 of 2", "1 of 2"], "note: smr is a union: one vote of 2 reaches its threshold 0.5"),
        (["1 of 2", "2 of 4"], "note: smr is a union for 1 of 2 expressions: one vote of 2 reaches"),
        (["2 of 3", "3 of 6"], None),
        (["1 of 1", "1 of 1"], None),
    ],
)
def test_votes_that_are_unions(recipe, votes, expected):
    records = [ClipRecord("a", notes={"smr": {str(e): {"votes": v} for e, v in enumerate(votes)}})]
    lines = remarks(recipe, frame_of({"smr": [0.5]}), records)
    assert [line for line in lines if line.startswith("note")] == lines and len(lines) == (expected is not None)
    assert expected is None or lines[0].startswith(expected)


def test_the_command_below_the_table_takes_the_best_row(tmp_path, capsys, monkeypatch):
    """Two of three models are noise: the good one is better than their vote, and its masks are submitted instead."""
    tiny = make_tiny(tmp_path / "a folder")
    random = np.random.default_rng(0)
    for model in MODELS[1:]:
        for clip in tiny.clips:
            for e in "012":
                for frame in FRAMES:
                    save((random.random((48, 70)) < 0.2).astype(np.uint8) * 255, tiny.mask_file(model, clip, e, frame))
    monkeypatch.setattr(sys, "argv", ["run_ensemble.py"])
    lines = [line for line in tiny.recipe.read_text().split("\n") if "smr_flow:" not in line]
    tiny.recipe.write_text("\n".join(lines).replace("output: smr_flow", "output: smr"))
    assert run_ensemble.main(tiny.arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    [at] = [i for i, line in enumerate(lines) if line.startswith("Best row: soc, J&F +")]
    assert "against the output smr: significantly higher" in lines[at]
    words = shlex.split(lines[at + 1])
    assert words[:2] == ["python", "run_ensemble.py"] and run_ensemble.main(words[2:]) == 0
    assert json.loads((tiny.out / "manifest.json").read_text())["output"] == "soc"
    assert "Best row" not in capsys.readouterr().out


def test_failed_clips_are_not_said_to_lack_ground_truth(tmp_path, capsys):
    tiny = make_tiny(tmp_path, clips=("a", "b"))
    own = tmp_path / "broken.py"
    own.write_text(
        "import rvos_ensemble as rv\n\n\nclass Broken(rv.Adapter):\n"
        "    def predict(self, clip):\n        raise RuntimeError('no')\n"
    )
    recipe = tiny.recipe.read_text()
    tiny.recipe.write_text(
        recipe.replace(f"{{adapter: files, path: {tiny.root}/predictions/soc}}", f"{{adapter: {own}}}")
    )
    assert run_ensemble.main(tiny.arguments) == 1
    said = capsys.readouterr()
    assert "no clip is finished: nothing to score" in said.out and "no ground truth" not in said.out + said.err
