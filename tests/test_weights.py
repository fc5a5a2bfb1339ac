"""Weights: what is published, what a file is, and recipes that run with them."""

import json

import pytest
from test_shipped_recipes import small  # noqa: F401  the small rendering of `shapes`

import run_ensemble
from propagators.networks.published import PUBLISHED, UNPUBLISHED
from propagators.networks.variants import VARIANTS


def test_every_variant_is_listed(capsys):
    assert run_ensemble.main(["weights"]) == 0
    printed = capsys.readouterr().out
    assert PUBLISHED.keys() | UNPUBLISHED.keys() == VARIANTS.keys() and not PUBLISHED.keys() & UNPUBLISHED.keys()
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
    assert "weights takes nothing, or `verify FILE`" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["stage1", "stage2", "lsvos2023"])
def test_recipes_say_which_propagator_ran(name, small, checkpoints, tmp_path, capsys):  # noqa: F811
    weights = [f"propagators.aot.weights={checkpoints('aott')}", "propagators.aot.max_long_edge=160"]
    if name != "stage1":
        weights += [f"propagators.deaot.weights={checkpoints('deaott')}", "propagators.deaot.max_long_edge=160"]
    out = tmp_path / "out"
    arguments = [f"recipe={name}", *small, "data.videos=[06_odd_one_out]", f"out={out}", *weights]
    assert run_ensemble.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "propagated by aot" in printed and "in place of" not in printed
    told = json.loads((out / "manifest.json").read_text())
    assert told["propagators"] == {"aot": "aot"} | ({} if name == "stage1" else {"deaot": "deaot"})
    ran = {
        n["propagator"]
        for step in told["clips"]["06_odd_one_out"]["notes"].values()
        for n in step.values()
        if "propagator" in n
    }
    assert ran == set(told["propagators"])


def test_weights_of_the_other_family_are_named(small, checkpoints, capsys):  # noqa: F811
    assert run_ensemble.main(["recipe=stage1", *small, f"propagators.aot.weights={checkpoints('deaott')}"]) == 2
    assert "deaott, which is no AOT" in capsys.readouterr().err
