"""`compare`: its numbers are those of the runs, its pictures their masks, and what cannot be compared is an error."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import FRAMES, make_tiny
from PIL import Image

import run_ensemble
from rvos_ensemble.ensemble.commands.comparison.pictures import StoredClip, tiles
from rvos_ensemble.ensemble.commands.comparison.runs import read_run
from rvos_ensemble.ensemble.metrics.bootstrap import paired_interval


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Two runs of three clips, the second with a stricter vote; and one of another output, of two of the clips."""
    tiny = make_tiny(tmp_path_factory.mktemp("tiny"))
    made = {}
    for name, *more in (
        ("a",),
        ("strict", "steps.smr.threshold=5", "steps.smr.leftover=1.0"),
        ("two", "data.videos=[a,b]", "output=smr", "report=false"),
    ):
        made[name] = tiny.root.parent / name
        arguments = [
            f"recipe={tiny.recipe}",
            f"out={made[name]}",
            "submission=false",
            f"store={tiny.root.parent}/store",
        ]
        assert run_ensemble.main([*arguments, *more]) == 0
    return made


@pytest.fixture
def copy(runs, tmp_path):
    """A copy of the first run, whose metrics.csv and manifest.json a test may change."""

    def make(name="copy", table=lambda t: t, manifest=lambda m: m) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in ("metrics.csv", "manifest.json", ".rvos_ensemble"):
            shutil.copy(runs["a"] / file, folder)
        text = dict.fromkeys(("clip", "expression", "text", "step"), str)
        table(pd.read_csv(folder / "metrics.csv", dtype=text)).to_csv(folder / "metrics.csv", index=False)
        content = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest(content)))
        return folder

    return make


def compare(out, *arguments) -> int:
    return run_ensemble.main(["compare", *map(str, arguments), f"out={out}"])


def refused(capsys, out, *arguments) -> str:
    assert compare(out, *arguments) == 2 and not (out / "compare.html").exists()
    return capsys.readouterr().err


def metrics(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "metrics.csv", dtype={"expression": str})
    return table.pivot(index=["clip", "expression"], columns="step", values="J&F")


def test_gains_are_those_of_the_metrics_of_the_runs(runs, tmp_path, capsys):
    assert compare(tmp_path, runs["a"], runs["strict"]) == 0
    printed = capsys.readouterr().out
    found = pd.read_csv(tmp_path / "compare.csv")
    second = found[found.run == str(runs["strict"])].set_index("step")
    delta = metrics(runs["strict"]) - metrics(runs["a"])
    for step, name in [*((s, s) for s in delta.columns), ("(output)", "smr_flow")]:
        assert second.loc[step, "delta"] == pytest.approx(delta[name].mean(), abs=1e-12), step
        by_clip = {clip: of.tolist() for clip, of in delta[name].groupby(level=0)}
        expected = paired_interval(by_clip)
        assert (second.loc[step, "low"], second.loc[step, "high"]) == pytest.approx(expected, abs=1e-9), step
        assert (second.loc[step, "clips"], second.loc[step, "expressions"]) == (3, 9)
    assert abs(second.loc["smr", "delta"]) > 0.01 and second.loc["soc", "delta"] == 0
    assert "the same in all runs: soc, mutr, referformer" in printed
    each = pd.read_csv(tmp_path / "compare_expressions.csv", dtype={"expression": str}).set_index("step")
    for step in delta.columns:
        own = each.loc[step].set_index(["clip", "expression"])["delta"]
        pd.testing.assert_series_equal(own.sort_index(), delta[step].sort_index(), check_names=False)
        assert own.is_monotonic_decreasing
    worst = delta["smr_flow"].idxmin()
    assert f"{100 * delta['smr_flow'].min():+.1f}" in printed.split("worst losses:")[1].splitlines()[1]
    assert "/".join(worst) in printed.split("worst losses:")[1].splitlines()[1]


def test_what_only_some_runs_have_is_left_out_and_said(runs, tmp_path, capsys):
    assert compare(tmp_path, runs["a"], runs["two"]) == 0
    printed = capsys.readouterr().out
    assert "3 of its 9 expressions are not in all runs and are left out (clips c)" in printed
    found = pd.read_csv(tmp_path / "compare.csv").set_index(["step", "run"])
    assert set(found.expressions) == {6}
    output = found.loc[("(output)", str(runs["two"]))]
    assert output["name"] == "smr", "outputs are compared whatever their names are"
    both = metrics(runs["a"]).loc[["a", "b"]]
    assert output["delta"] == pytest.approx((both["smr"] - both["smr_flow"]).mean(), abs=1e-12)
    page = (tmp_path / "compare.html").read_text()
    assert "are left out" in page and "<img" not in page, "the second stores no pictures"


def test_steps_that_only_one_run_has(runs, copy, tmp_path, capsys):
    other = copy(table=lambda t: t.replace({"step": {"mutr": "mine"}}))
    assert compare(tmp_path / "out", runs["a"], other) == 0
    printed = capsys.readouterr().out
    assert f"only in {other}, not in {runs['a']}: mine" in printed
    assert set(pd.read_csv(tmp_path / "out" / "compare.csv").step) == {
        "(output)",
        "soc",
        "referformer",
        "smr",
        "smr_flow",
    }


class Page(HTMLParser):
    """The tags of a page; ids must be unique and images have a text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_with_pictures(runs, copy, tmp_path):
    assert compare(tmp_path, runs["a"], runs["strict"], runs["two"]) == 0
    text = (tmp_path / "compare.html").read_text()
    page = Page(text)
    assert not page.open
    images = [a for tag, a in page.tags if tag == "img"]
    assert images and len(images) % 3 == 0
    assert all(a["src"].startswith("data:image/webp;base64,") and "block" in a["alt"] for a in images)
    assert not re.search(r"https?://|<script|url\(", text), "nothing is loaded"
    (link,) = [a["href"] for tag, a in page.tags if tag == "a" and "strict" in a["href"]]
    assert (tmp_path / link).resolve() == runs["strict"] / "report.html"


def test_sentences_of_a_data_set_cannot_break_the_page(copy, tmp_path, capsys):
    def hostile(table):
        return table.assign(text="</td><script>alert(1)</script> \x1b[31m")

    assert compare(tmp_path / "out", copy("<b>one", hostile), copy("two", hostile)) == 0
    assert "\x1b" not in capsys.readouterr().out
    text = (tmp_path / "out" / "compare.html").read_text()
    assert "<script" not in text and "<b>one" not in text and not Page(text).open


def test_pictures_show_the_masks_and_the_frame_of_the_largest_change(runs):
    stored = StoredClip(runs["a"] / "report" / "b.js")
    assert stored.size == (48, 70) and len(stored.times) == len(FRAMES)
    for i, frame in enumerate(FRAMES):
        written = np.array(Image.open(runs["a"] / "Annotations" / "b" / "1" / f"{frame}.png")) > 0
        np.testing.assert_array_equal(stored.prediction("1", "smr_flow", i), written)
        truth = np.array(Image.open(runs["a"].parent / "data" / "valid" / "Annotations" / "b" / f"{frame}.png"))
        np.testing.assert_array_equal(stored.truth("1", i), truth == 1)
    scores = {}
    for name in ("a", "strict"):
        with np.load(runs[name] / "clips" / "b.npz") as file:
            s, e = file["steps"].tolist().index("smr_flow"), file["expressions"].tolist().index("1")
            scores[name] = file["scores"][s, e].mean(0)
    worst = int(np.argmin(scores["strict"] - scores["a"]))
    frame, pictures = tiles(read_run(str(runs["a"])), read_run(str(runs["strict"])), ("b", "1"), gains=False)
    assert frame == f"frame {FRAMES[worst]}" and len(pictures) == 3


def test_pictures_that_are_damaged_are_left_out(runs, tmp_path):
    for name in ("a", "strict"):
        shutil.copytree(runs[name], tmp_path / name)
    for file in (tmp_path / "a" / "report").iterdir():
        file.write_text('receive("a",\n{"size":[4,')
    assert compare(tmp_path / "out", tmp_path / "a", tmp_path / "strict") == 0
    assert "<img" not in (tmp_path / "out" / "compare.html").read_text()


def test_final_decides_where_expressions_refer_to_nothing(copy, tmp_path, capsys):
    """The last expression of each clip refers to nothing; the second run answers one of them rightly."""

    def answers(right):
        def change(table):
            nothing = table["expression"] == "2"
            return table.assign(no_target=nothing, empty=nothing & table["clip"].isin(right))

        return change

    one, other = copy("one", answers([])), copy("other", answers(["b"]))
    assert compare(tmp_path / "out", one, other) == 0
    assert "N-acc T-acc Final" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "out" / "compare.csv").set_index(["step", "run"]).loc["(output)"]
    assert found.loc[str(one), ["N-acc", "T-acc"]].tolist() == [0, 1] and set(found.measure) == {"Final"}
    assert found.loc[str(other), "N-acc"] == pytest.approx(1 / 3)
    assert found.loc[str(other), "delta"] == pytest.approx(1 / 9), "a third of N-acc, which is a third of Final"


def with_truth(value):
    return lambda m: {**m, "clips": {c: {**r, "truth": value} for c, r in m["clips"].items()}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": lambda t: t.replace({"clip": {"a": "x", "b": "y", "c": "z"}})}, "no expression is in all of them"),
        (
            {"table": lambda t: t.replace({"text": {"block 1": "block 7"}})},
            "is 'block 1' in one and 'block 7' in the other",
        ),
        ({"manifest": with_truth("another")}, "runs on different data: clip . has different ground truth"),
        (
            {"manifest": lambda m: {**m, "clips": {c: {**r, "frames": 9} for c, r in m["clips"].items()}}},
            "runs on different data: clip . has 5 and 9 frames",
        ),
        ({"table": lambda t: t.drop(columns="J")}, "manifest.json or metrics.csv is damaged"),
        ({"table": lambda t: t.assign(J="x")}, "manifest.json or metrics.csv is damaged"),
        ({"manifest": lambda m: {}}, "manifest.json or metrics.csv is damaged"),
        ({"manifest": lambda m: []}, "manifest.json or metrics.csv is damaged"),
    ],
)
def test_runs_that_cannot_be_compared(changes, message, runs, copy, tmp_path, capsys):
    assert re.search(message, refused(capsys, tmp_path / "out", runs["a"], copy(**changes)))


def test_folders_that_are_no_runs(runs, copy, tmp_path, capsys):
    out, empty, evaluation, unscored = tmp_path / "out", tmp_path / "empty", tmp_path / "evaluation", copy("unscored")
    empty.mkdir()
    evaluation.mkdir()
    (evaluation / "metrics.json").write_text("{}")
    (unscored / "metrics.csv").unlink()
    assert "two or more runs, such as runs/a runs/b, found 1" in refused(capsys, out, runs["a"])
    message = refused(capsys, out, runs["a"], empty, evaluation, unscored, tmp_path / "missing", "ot=x")
    for part in ("no manifest.json in it", "the folder of an evaluation", "no ground truth", "no such folder"):
        assert part in message
    assert "unknown key `ot`, did you mean `out`?" in message, "all problems together"
    assert "given twice" in refused(capsys, out, runs["a"], runs["a"].parent / "strict" / ".." / "a")
    assert "the folder of a run" in refused(capsys, runs["strict"], runs["a"], runs["strict"])
    assert "not empty" in refused(capsys, runs["a"].parent / "data", runs["a"], runs["strict"])
