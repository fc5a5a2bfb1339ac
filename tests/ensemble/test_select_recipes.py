"""Recipes that choose a source for each expression, from files to results; an oracle is never submitted."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.tiny import FRAMES, MODELS, make_tiny, save
from PIL import Image

import run_ensemble

RECIPE = """
data: {{dataset: ref_youtube_vos, root: {root}, split: valid}}
sources:
  soc: {{adapter: files, path: {root}/predictions/soc}}
  mutr: {{adapter: files, path: {root}/predictions/mutr}}
  referformer: {{adapter: files, path: {root}/predictions/referformer}}
steps:
  medoid: {{op: select, inputs: [soc, mutr, referformer]}}
  agreed: {{op: consensus, inputs: [soc, mutr, referformer], min_iou: 0.3, threshold: 2}}
  bound: {{op: select, inputs: [medoid, agreed, soc], rule: oracle}}
  united: {{op: union, inputs: [bound, soc]}}
output: agreed
report: false
engine: {{workers: 1}}
"""


@pytest.fixture
def choosing(tmp_path):
    """Two clips of the tiny benchmark with steps that choose; MUTR is lost in clip b."""
    tiny = make_tiny(tmp_path, ("a", "b"))
    tiny.recipe.write_text(RECIPE.format(root=tiny.root))
    for frame in FRAMES:
        for expression in ("0", "1", "2"):
            file = tiny.mask_file("mutr", "b", expression, frame)
            save(np.roll(np.array(Image.open(file)), 30, axis=1), file)
    return tiny


def run(tiny, *arguments) -> int:
    return run_ensemble.main([*tiny.arguments, *arguments])


def notes(tiny, step) -> dict:
    return {n: c["notes"][step] for n, c in json.loads((tiny.out / "manifest.json").read_text())["clips"].items()}


def test_one_source_for_each_expression(choosing):
    assert run(choosing, "output=medoid") == 0
    chosen = notes(choosing, "medoid")
    assert all(note["chosen"] != "mutr" and note["agreement"]["mutr"] < 0.2 for note in chosen["b"].values())
    for clip in choosing.clips:
        for expression, note in chosen[clip].items():
            for frame in FRAMES:
                file = choosing.mask_file(note["chosen"], clip, expression, frame)
                result = choosing.out / "Annotations" / clip / expression / f"{frame}.png"
                assert np.array_equal(np.array(Image.open(result)), np.array(Image.open(file)))
    assert {tuple(n["voters"]) for n in notes(choosing, "agreed")["b"].values()} == {("soc", "referformer")}
    assert {tuple(n["voters"]) for n in notes(choosing, "agreed")["a"].values()} == {MODELS}


def test_every_row_shows_its_distance_to_the_oracle(choosing, capsys):
    assert run(choosing, "report=true") == 0
    table = pd.read_csv(choosing.out / "metrics.csv").pivot(index=["clip", "expression"], columns="step", values="J&F")
    assert np.array_equal(table["bound"], table[["medoid", "agreed", "soc"]].max(axis=1))
    wanted = (table["bound"].mean() - table.mean()).to_dict()
    steps = json.loads((choosing.out / "metrics.json").read_text())["steps"]
    assert {name: row["below oracle"] for name, row in steps.items()} == pytest.approx(wanted, abs=1e-12)
    assert steps["bound"]["below oracle"] == 0 < steps["mutr"]["below oracle"]
    lines = {line.split(" ")[0]: line for line in capsys.readouterr().out.split("\n") if line}
    assert lines["mutr"].split()[4] == f"{100 * wanted['mutr']:.1f}" and "J&F below oracle" in "".join(lines.values())
    page = (choosing.out / "report.html").read_text()
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert {s["name"]: s["below"] for s in data["steps"]} == pytest.approx(wanted, abs=1e-12)
    assert data["measures"] == ["J", "F", "J&F"]
    medoid = [s["name"] for s in data["steps"]].index("medoid")
    assert {e["notes"][str(medoid)]["chosen"] for e in data["expressions"]} <= set(MODELS)
    assert run(choosing, "steps.bound=null", "steps.united=null") == 0
    steps = json.loads((choosing.out / "metrics.json").read_text())["steps"]
    assert all(list(row) == ["J", "F", "J&F"] for row in steps.values()), "no oracle, no distance"


@pytest.mark.parametrize("output", ["bound", "united"])
def test_an_oracle_is_not_submitted(choosing, capsys, output):
    assert run(choosing, f"output={output}") == 2
    error = capsys.readouterr().err
    for part in (f"output {output} depends on step bound", "ground truth", "submission=false"):
        assert part in error
    assert not choosing.out.exists() or not any(choosing.out.glob("Annotations/**/*.png"))
    assert run_ensemble.main(["check", *choosing.arguments, f"output={output}"]) == 2


def test_an_oracle_for_comparison_leaves_no_submission(choosing):
    assert run(choosing) == 0 and (choosing.out / "submission.zip").exists()
    assert run(choosing, "output=bound", "submission=false") == 0
    assert not (choosing.out / "submission.zip").exists()


def test_another_truth_is_another_oracle(choosing, capsys):
    assert run(choosing) == 0
    before = json.loads((choosing.out / "manifest.json").read_text())["clips"]["a"]["keys"]
    for frame in FRAMES:
        file = choosing.root / "valid" / "Annotations" / "a" / f"{frame}.png"
        picture = Image.open(file)
        changed = Image.fromarray(np.roll(np.array(picture), 1, axis=0), "P")
        changed.putpalette(picture.getpalette())
        save(changed, file)
    assert run(choosing) == 0
    after = json.loads((choosing.out / "manifest.json").read_text())["clips"]["a"]
    assert {name for name in before if before[name] != after["keys"][name]} == {"bound", "united"}
    assert {"bound", "united"} <= set(after["computed"]) and not {"medoid", "agreed"} & set(after["computed"])


def test_no_truth_no_oracle(choosing, capsys):
    shutil.rmtree(choosing.root / "valid" / "Annotations")
    assert run(choosing) == 2
    error = capsys.readouterr().err
    assert "step bound: no ground truth" in error and "steps.bound=null" in error and error.count("ground truth") == 1
    assert run(choosing, "steps.bound=null", "steps.united=null") == 0


def test_a_file_of_choices_beside_the_recipe(choosing, capsys):
    choosing.recipe.write_text(
        choosing.recipe.read_text().replace(
            "output: agreed",
            "  chosen: {op: select, inputs: [soc, mutr], rule: best, by: file, file: c.csv}\noutput: chosen",
        )
    )
    file = choosing.recipe.with_name("c.csv")
    file.write_text("video,source\na,mutr\nb,soc\n")
    assert run(choosing) == 0
    assert {v: {n["chosen"] for n in of.values()} for v, of in notes(choosing, "chosen").items()} == {
        "a": {"mutr"},
        "b": {"soc"},
    }
    file.write_text("video,source\na,soc\nb,soc\n")
    assert run(choosing) == 0
    clips = json.loads((choosing.out / "manifest.json").read_text())["clips"]
    assert {n: c["status"] for n, c in clips.items()} == {"a": "done", "b": "reused"}
    capsys.readouterr()
    file.write_text("video,source\na,soc\nb,referformer\n")
    assert run(choosing) == 2
    assert "chooses referformer, but the inputs are soc, mutr" in capsys.readouterr().err
    file.write_text("video,source\na,soc\n")
    assert run(choosing) == 1
    assert "video 'b': no choice for expressions 0, 1, 2" in capsys.readouterr().err


@pytest.mark.parametrize("what", [["ablate=steps"], ["ablate.steps.agreed.min_iou=[0,0.3,1]"]])
def test_an_ablation_compares_with_the_oracle_and_never_recommends_it(choosing, capsys, what):
    assert run_ensemble.main(["ablate", *choosing.arguments, *what]) == 0
    table = pd.read_csv(choosing.out / "ablation.csv")
    (oracle,) = table[table.step == "bound"].to_dict("records")
    assert oracle["J&F"] == table["J&F"].max() and np.isfinite(table["below oracle"]).all()
    np.testing.assert_allclose(table["below oracle"], oracle["J&F"] - table["J&F"], atol=1e-12)
    printed = capsys.readouterr().out
    (line,) = [
        line
        for line in printed.splitlines()
        if " bound " in line and line.endswith("upper bound") and "united" not in line
    ]
    assert " 0.0 " in line and "J&F below oracle" in printed
    best = yaml.safe_load((choosing.out / "best.yaml").read_text())
    assert best["output"] not in ("bound", "united")
    assert "+ bound" not in printed, "an oracle is no rung of the ladder"
