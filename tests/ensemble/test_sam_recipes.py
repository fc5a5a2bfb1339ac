"""Shipped recipes with SAM 2 in place of AOT or DeAOT: a folder in the Hugging Face layout, and an official file."""

import json
from pathlib import Path

import pytest
from helpers.tiny_sam import rewrite_config, tiny_sam, write_folder, write_original
from test_shipped_recipes import simulated, small  # noqa: F401  a small rendering of `shapes`, and masks for it

import run_ensemble
from rvos_ensemble.propagators.inference.sam.checkpoints import original_config

NAMES = json.loads((Path(__file__).parents[1] / "propagators/sam/golden_sam2_official.json").read_text())["names"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("sam2"), tiny_sam("sam2"))


@pytest.fixture
def official(tmp_path, monkeypatch):
    """An official file; its network is used at 128 instead of 1024 pixels."""
    monkeypatch.setattr(original_config, "IMAGE_SIZE", 128)
    return write_original(tmp_path / "sam2.1_hiera_tiny.pt", NAMES, -4.3)


def test_two_stages_with_a_folder_and_an_official_file(small, simulated, folder, official, tmp_path, capsys):  # noqa: F811
    given = [f"propagators.aot.weights={folder}", f"propagators.deaot.weights={official}"]
    given += [f"propagators.{name}.propagator=sam2" for name in ("aot", "deaot")]
    arguments = ["recipe=stage2", *small, simulated, "data.videos=[06_easy_odd_one_out]", *given]
    out = tmp_path / "out"
    assert run_ensemble.main([*arguments, f"out={out}", "engine.workers=1"]) == 0
    printed = capsys.readouterr().out
    assert f"propagated by aot (sam2, {folder})" in printed
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["propagators"] == {"aot": f"aot (sam2, {folder})", "deaot": f"deaot (sam2, {official})"}
    notes = manifest["clips"]["06_easy_odd_one_out"]["notes"]
    assert {n["propagator"] for step in notes.values() for n in step.values() if "propagator" in n} == {"sam2"}
    rewrite_config(folder, num_maskmem=6)
    assert run_ensemble.main(["check", *arguments]) == 2
    assert (
        "memory_temporal_positional_encoding has shape (7, 1, 1, 64), expected (6, 1, 1, 64)" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "recipe,name", [("stage1", "aot"), ("single", "aot"), ("lsvos2024", "vos"), ("referdino_plus", "vos")]
)
def test_settings_of_recipes_do_not_stand_in_the_way(recipe, name, small, simulated, folder, capsys):  # noqa: F811
    rewrite_config(folder, num_maskmem=7)
    given = [f"propagators.{name}.propagator=sam2", f"propagators.{name}.weights={folder}"]
    code = run_ensemble.main(["check", f"recipe={recipe}", *small, *given])
    assert code == 0, capsys.readouterr()


def test_weights_that_are_missing_are_found_by_check(small, simulated, tmp_path, capsys):  # noqa: F811
    given = ["propagators.aot.propagator=sam2", f"propagators.aot.weights={tmp_path}"]
    assert run_ensemble.main(["check", "recipe=stage1", *small, *given]) == 2
    printed = capsys.readouterr().err
    assert f"{tmp_path}: has no config.json" in printed and f"{tmp_path}: has no model.safetensors" in printed
