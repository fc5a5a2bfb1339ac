"""Weights: what is published, what a file is, and recipes that run with them."""

import json

import pytest
import torch
from helpers import tiny_detectors
from safetensors.torch import save_file
from test_shipped_recipes import simulated, small  # noqa: F401  a small rendering of `shapes`, and masks for it

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints import weights
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights, weights_file
from rvos_ensemble.propagators.inference.families.aot import AOTFamily
from rvos_ensemble.propagators.inference.families.deaot import DeAOTFamily
from rvos_ensemble.propagators.networks.variants import VARIANTS


def test_every_variant_is_listed(capsys):
    assert run_ensemble.main(["weights"]) == 0
    printed = capsys.readouterr().out
    published, unpublished = (
        {**getattr(AOTFamily, k), **getattr(DeAOTFamily, k)} for k in ("published", "unpublished")
    )
    assert published.keys() | unpublished.keys() == VARIANTS.keys() and not published.keys() & unpublished.keys()
    assert all(f"\n  {name} " in printed for name in VARIANTS)
    assert "R50_DeAOTL_PRE_YTB_DAV.pth" in printed


def test_what_a_file_is(checkpoints, tmp_path, capsys):
    assert run_ensemble.main(["weights", "verify", str(checkpoints("aott"))]) == 0
    assert "aott (propagator `aot`), 5." in capsys.readouterr().out
    file = tmp_path / "broken.pth"
    file.write_bytes(checkpoints("aott").read_bytes()[:1000])
    assert run_ensemble.main(["weights", "verify", str(file)]) == 2
    assert str(file) in capsys.readouterr().err
    assert run_ensemble.main(["weights", "vrify", str(file)]) == 2
    assert "weights takes nothing, `verify PATH` or `export FILE NAME.safetensors`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [("mask2former", "mask2former"), ("mm-grounding-dino", "grounding_dino"), ("sam3", "sam3")],
)
def test_what_a_folder_of_transformers_is(kind, adapter, tmp_path, capsys):
    folder = tiny_detectors.write(tmp_path / "folder", kind)
    assert run_ensemble.main(["weights", "verify", str(folder)]) == 0
    assert f"all of them fit; sources.NAME.adapter={adapter} " in capsys.readouterr().out
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert run_ensemble.main(["weights", "verify", str(folder)]) == 2
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize("name", weights.shipped())
def test_every_shipped_file_is_known_small_and_has_a_card(name, capsys):
    file = weights.shipped()[name]
    assert run_ensemble.main(["weights", "verify", name]) == 0
    assert ", fits" in capsys.readouterr().out
    assert file.stat().st_size <= (8e6 if name.endswith("_real") else 4 * 2**20)
    assert file.with_suffix(".md").read_text().startswith(f"# {name}\n")


def test_a_training_becomes_a_file_to_ship(checkpoints, tmp_path, capsys):
    file = tmp_path / "mine.safetensors"
    assert run_ensemble.main(["weights", "export", str(checkpoints("aott")), str(file)]) == 0
    assert run_ensemble.main(["weights", "verify", str(file)]) == 0
    assert f"{file}: aott (propagator `aot`)" in capsys.readouterr().out
    assert {v.dtype for v in read_weights(file).values()} <= {torch.float16, torch.int64}
    huge = {k: v * 1e6 if k.endswith("conv_out.bias") else v for k, v in read_weights(checkpoints("aott")).items()}
    assert any(k.endswith("conv_out.bias") for k in huge)
    torch.save(huge, tmp_path / "huge.pth")
    assert run_ensemble.main(["weights", "export", str(tmp_path / "huge.pth"), str(file)]) == 2
    assert "more than fp16 can hold" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["stage1", "stage2", pytest.param("lsvos2023", marks=pytest.mark.slow)])
def test_recipes_say_which_propagator_ran(name, small, simulated, checkpoints, tmp_path, capsys):  # noqa: F811
    given = [f"propagators.aot.weights={checkpoints('aott')}", "propagators.aot.max_long_edge=160"]
    if name != "stage1":
        given += [f"propagators.deaot.weights={checkpoints('deaott')}", "propagators.deaot.max_long_edge=160"]
    out = tmp_path / "out"
    arguments = [f"recipe={name}", *small, simulated, "data.videos=[06_easy_odd_one_out]", f"out={out}", *given]
    assert run_ensemble.main(arguments) == 0
    printed = capsys.readouterr().out
    assert f"propagated by aot ({checkpoints('aott')})" in printed
    told = json.loads((out / "manifest.json").read_text())
    assert told["propagators"]["aot"] == f"aot ({checkpoints('aott')})"
    assert told["propagators"].keys() == {"aot"} | (set() if name == "stage1" else {"deaot"})
    ran = {
        n["propagator"]
        for step in told["clips"]["06_easy_odd_one_out"]["notes"].values()
        for n in step.values()
        if "propagator" in n
    }
    assert ran == set(told["propagators"])


def test_weights_of_the_other_family_are_named(small, checkpoints, capsys):  # noqa: F811
    assert run_ensemble.main(["recipe=stage1", *small, f"propagators.aot.weights={checkpoints('deaott')}"]) == 2
    assert "deaott, which is no AOT" in capsys.readouterr().err


def test_safetensors_and_names_of_our_own_weights_are_read(tmp_path, monkeypatch):
    torch.manual_seed(0)
    state = {"layer.weight": torch.randn(3, 4).half(), "layer.bias": torch.randn(3).half()}
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "tiny_nano.safetensors"
    save_file(state, file)
    for given in (file, str(file)):
        assert all(torch.equal(v, state[k]) for k, v in read_weights(given).items())
    monkeypatch.setattr(weights, "SHIPPED", [tmp_path / "weights"])
    assert weights_file("tiny_nano") == file and weights_file(file) == file
    assert read_weights("tiny_nano").keys() == state.keys()
    with pytest.raises(InputError, match=r"other_nano: no such file, expected .*, or one of ours: tiny_nano"):
        read_weights("other_nano")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * 64 + b])
def test_damaged_safetensors_are_named(tmp_path, damage):
    file = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=r"w\.safetensors: not safetensors, or a file that is cut short"):
        read_weights(file)
