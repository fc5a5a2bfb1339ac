"""The shipped recipes on `shapes`, the template of adapters, and what README promises. CONTRIBUTING: test_extension."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from helpers.simulated_files import write_predictions

import run_ensemble
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.ensemble.report import submission

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["data.clips=7", "data.frames=8", "data.size=[90,160]"]  # the seventh clip is the odd one
VIDEOS = {  # the networks take seconds per clip
    "files": ["02_hard_leaving_and_returning", "06_easy_odd_one_out"],
    "networks": ["06_easy_odd_one_out"],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Arguments for a small rendering of `shapes`."""
    root = tmp_path_factory.mktemp("shapes") / "rendered"
    return [*SMALL, f"data.root={root}"]


@pytest.fixture(scope="module")
def simulated(small, tmp_path_factory):
    """The argument that replaces the networks by simulated segmenters."""
    folder = tmp_path_factory.mktemp("simulated") / "masks"
    return f"predictions={write_predictions(rendered(small), folder)}"


def rendered(small, videos=None) -> Shapes:
    return Shapes(root=small[-1].removeprefix("data.root="), clips=7, frames=8, size=[90, 160], videos=videos)


@pytest.mark.parametrize(
    "name,sources",
    [
        *((name, "files") for name in ("single", "stage1", "stage2")),
        pytest.param("lsvos2023", "files", marks=pytest.mark.slow),  # its votes: test_lsvos2023.py
        *((name, "networks") for name in ("stage2", "referformer_post")),
    ],
)
def test_a_shipped_recipe_runs(name, sources, small, simulated, tmp_path, capsys):
    out = tmp_path / "out"
    given = {"networks": [], "files": [simulated]}[sources]
    assert run_ensemble.main([f"recipe={name}", *small, f"data.videos={VIDEOS[sources]}", *given, f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert ("simulated" in printed) == (sources == "files") and ("_nano" in printed), "sources say what they are"
    assert submission.check(out / "submission.zip", rendered(small, VIDEOS[sources]).clips()) == []
    table = pd.read_csv(out / "metrics.csv", dtype={"expression": str})
    steps = json.loads((out / "metrics.json").read_text())["steps"]
    assert set(table.step) == set(steps) and table["J&F"].between(0, 1).all()
    for row in ("J", "F"):
        source = next(iter(steps))
        assert steps[source][row] == pytest.approx(table[table.step == source][row].mean(), abs=1e-12)
    notes = json.loads((out / "manifest.json").read_text())["clips"]["06_easy_odd_one_out"]["notes"]
    ran = {n["propagator"] for step in notes.values() for n in step.values() if "propagator" in n}
    assert ran == ({"aot", "deaot"} if name in ("stage2", "lsvos2023") else {"aot"})


def test_the_data_never_reveal_a_group(small, tmp_path):
    """As in the competition, the pipeline does not know the objects of `shapes`."""
    clips = rendered(small).clips()
    assert all(e.objects == () for c in clips for e in c.expressions)
    assert all(c.truth.read(e.id) is not None for c in clips for e in c.expressions)


def test_the_template_is_an_adapter(small, tmp_path):
    recipe = tmp_path / "template.yaml"
    recipe.write_text(
        "data: shapes\n"
        f"sources: {{mine: {{adapter: {ROOT / 'adapters/TEMPLATE.py'}, threshold: 0.4}}}}\n"
        "steps: {kept: {op: union, inputs: [mine]}}\noutput: kept\n"
    )
    assert (
        run_ensemble.main([f"recipe={recipe}", *small, f"out={tmp_path / 'out'}", "data.videos=[06_easy_odd_one_out]"])
        == 0
    )


def test_the_readme_names_what_exists(capsys):
    readme = (ROOT / "README.md").read_text()
    assert run_ensemble.main(["list"]) == 0
    listed = capsys.readouterr().out
    for name in ("single", "stage1", "stage2", "lsvos2023", "ref_youtube_vos"):
        assert f"`{name}`" in readme or f"={name}" in readme
        assert f"  {name} " in listed
    for link in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (ROOT / link).exists(), link
    [call] = re.findall(r"\.venv/bin/python (-m pytest[^\n]*)", readme)
    assert f'"$environment/bin/python" {call}\n' in (ROOT / ".ci/run").read_text(), "CI runs what README says"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [10, 11, 12])
def test_stage_2_beats_stage_1_beats_the_best_source(seed, tmp_path):
    """With simulated sources, whose errors are known, and flow; nothing was tuned on these seeds."""
    out = tmp_path / "out"
    masks = write_predictions(Shapes(root=str(tmp_path / "shapes"), seed=seed), tmp_path / "masks")
    arguments = ["recipe=stage2", f"data.seed={seed}", f"data.root={tmp_path / 'shapes'}", f"out={out}"]
    flow = ["propagators.aot.propagator=flow", "propagators.deaot.propagator=flow", "propagators.deaot.learn=0.0"]
    assert run_ensemble.main([*arguments, f"predictions={masks}", *flow]) == 0
    steps = {n: s["J&F"] for n, s in json.loads((out / "metrics.json").read_text())["steps"].items()}
    best = max(steps[n] for n in ("soc", "mutr", "referformer", "uninext"))
    assert steps["final"] > steps["smr_aot"] > best
