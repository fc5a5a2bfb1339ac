"""Recipes of published systems for MeViS and MeViSv2, from networks to the checked zip, on that form of `shapes`."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

import run_ensemble
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.ensemble.report import submission

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"clips": 2, "frames": 4, "size": [90, 160]}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Arguments for a small rendering and a common store, in which recipes find what others have computed."""
    folder = tmp_path_factory.mktemp("mevis")
    data = [f"data.{key}={value}" for key, value in SIZE.items()]
    return [*data, f"data.root={folder / 'rendered'}", f"store={folder / 'store'}"]


def test_the_rendering_has_every_kind_of_expression(shared):
    clips = rendered(shared).clips()
    present = [clip.truth.read(e.id).presence for clip in clips for e in clip.expressions]
    assert {0.0, 1.0} == set(present), "otherwise the tests below would show nothing about existence"


def rendered(shared) -> Shapes:
    root = next(a.removeprefix("data.root=") for a in shared if a.startswith("data.root="))
    return Shapes(root=root, benchmark="mevis", **SIZE)


@pytest.mark.parametrize("name", ["lsvos2024", "referdino_plus", "sasasa2va", "agreement", "mevisv2_2026"])
def test_a_recipe_runs_from_networks_to_the_zip(name, shared, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_ensemble.main([f"recipe={name}", *shared, f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "N-acc T-acc Final" in printed and "<- output" in printed
    clips = rendered(shared).clips()
    assert submission.check(out / "submission.zip", clips, "") == []
    table = pd.read_csv(out / "metrics.csv", dtype={"expression": str})
    steps = json.loads((out / "metrics.json").read_text())["steps"]
    for step, row in steps.items():
        own = table[table.step == step]
        nothing, something = own[own.no_target], own[~own.no_target]
        accuracies = nothing["empty"].mean(), 1 - something["empty"].mean()
        assert (row["N-acc"], row["T-acc"]) == pytest.approx(accuracies)
        assert row["Final"] == pytest.approx((own["J&F"].mean() + sum(accuracies)) / 3)


def test_instances_and_jurors_are_in_the_manifest(shared, tmp_path):
    out = tmp_path / "out"
    assert run_ensemble.main(["recipe=mevisv2_2026", *shared, f"out={out}", "report=false"]) == 0
    for clip in json.loads((out / "manifest.json").read_text())["clips"].values():
        for notes in clip["notes"]["united"].values():
            assert notes["instances"], "every expression has at least one seed, or says that it has none"
        for notes in clip["notes"]["gated"].values():
            assert set(notes["gate"]["jurors"]) >= {"judge"} and notes["gate"]["decision"] in ("kept", "emptied")


def test_the_recipe_of_the_docs_can_be_built(tmp_path):
    docs = (ROOT / "docs/mevisv2.md").read_text()
    [example] = re.findall(r"```yaml\n# my_mevisv2.yaml\n(.*?)```", docs, re.DOTALL)
    file = tmp_path / "my_mevisv2.yaml"
    file.write_text(example)
    recipe = load([f"recipe={file}", "propagators.vos.weights=deaot_nano", f"data.root={tmp_path}"])
    assert recipe.output == "final" and recipe.dataset.team_file and recipe.config["team"]["team_name"] == "Ours"
