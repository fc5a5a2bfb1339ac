"""`precision: auto`: what it means on faked machines, one decision per run, and the keys of results."""

import pickle

import pytest
import torch

from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference import device, precision
from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION
from rvos_ensemble.adapters.inference.precision import Decision, decide, of_cpu, of_cuda
from rvos_ensemble.ensemble.engine.keys import keys_of
from rvos_ensemble.ensemble.engine.workers.workers import _Worker
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.ensemble.report.publication import manifest
from rvos_ensemble.propagators.blend import Blend

BF16 = {"cpu": Decision("bf16", "a test"), "cuda": Decision("bf16", "a test")}


class Network(Component):
    """A component with the two settings."""

    defaults = {"device": DEVICE, "precision": PRECISION}


@pytest.fixture(autouse=True)
def undecided(monkeypatch):
    """A process that has decided nothing, on a machine without instructions for bfloat16 and without CUDA."""
    monkeypatch.delenv(precision.VARIABLE, raising=False)
    monkeypatch.setattr(precision, "_decided", {})
    monkeypatch.setattr(precision, "_bound", False)
    monkeypatch.setattr(precision, "_flags", lambda: frozenset({"avx2", "fma"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def never():
    raise AssertionError("measured where the flags decide")


@pytest.mark.parametrize(
    ("flags", "speedup", "expected"),
    [
        ({"avx2"}, None, "fp32"),
        (set(), None, "fp32"),
        ({"avx512f", "avx512_bf16", "amx_tile", "amx_bf16"}, None, "bf16"),
        ({"amx_tile", "amx_int8"}, None, "fp32"),
        ({"avx512_bf16"}, 2.0, "bf16"),
        ({"avx512_bf16"}, 1.1, "fp32"),
        ({"bf16"}, 1.9, "bf16"),
    ],
)
def test_a_cpu_is_judged_by_its_flags_and_by_a_measurement_where_they_do_not_decide(flags, speedup, expected):
    decision = of_cpu(frozenset(flags), never if speedup is None else lambda: speedup)
    assert decision.precision == expected and decision.reason
    assert speedup is None or f"{speedup:.1f}x" in decision.reason


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 0), "fp32"), ((7, 5), "fp32"), ((8, 0), "bf16"), ((12, 0), "bf16")]
)
def test_cuda_is_judged_by_the_lowest_compute_capability(monkeypatch, capability, expected):
    assert of_cuda(capability).precision == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: [(9, 0), capability][i])
    assert Network().settings.precision == expected
    assert Network(device="cpu").settings.precision == "fp32" and set(precision.decided()) == {"cpu", "cuda"}


def test_a_process_decides_once(monkeypatch):
    asked = []
    monkeypatch.setattr(precision, "_flags", lambda: asked.append(1) or frozenset({"amx_tile", "amx_bf16"}))
    assert [Network().settings.precision for _ in range(3)] == ["bf16"] * 3 and asked == [1]
    assert Network(precision="fp32").settings.precision == "fp32"
    assert device.dtype_of(torch.device("cpu"), "auto") == torch.bfloat16


def test_the_measurement_is_a_ratio_of_this_machine():
    assert 0 < precision.measured_speedup() < 100


def test_the_environment_replaces_the_decision(monkeypatch):
    monkeypatch.setenv(precision.VARIABLE, "bf16")
    assert Network().settings.precision == "bf16" and precision.VARIABLE in decide("cpu").reason
    monkeypatch.setattr(precision, "_decided", {})
    monkeypatch.setenv(precision.VARIABLE, "half")
    with pytest.raises(InputError, match="RVOS_PRECISION is 'half', expected one of auto, fp32, bf16, fp16"):
        Network()


def test_workers_take_the_decision_of_the_process_that_started_the_run(monkeypatch):
    decide("cpu")
    worker = pickle.loads(pickle.dumps(_Worker(decided_here, None)))
    assert worker("cpu") == "fp32"
    monkeypatch.setattr(precision, "_PROCESS", "another process")  # on a machine with AMX and a GPU
    monkeypatch.setattr(precision, "_decided", {})
    monkeypatch.setattr(precision, "_flags", lambda: frozenset({"amx_tile", "amx_bf16"}))
    assert worker("cpu") == "fp32" and worker("cuda") == "fp32"
    assert "no cuda device" in decide("cuda").reason


def decided_here(kind):
    return decide(kind).precision


@pytest.mark.parametrize(
    "propagator", ["{propagator: aot, weights: aot_nano}", "{propagator: blend, of: [flow, aot_nano]}"]
)
def test_keys_hold_the_precision_that_auto_means_and_those_of_fp32_are_as_before(tiny, monkeypatch, propagator):
    def key(extra=()):
        recipe = load([f"recipe={tiny.recipe}", f"propagators.flow={propagator}", *extra])
        return keys_of(recipe, recipe.dataset.clips()[0])["smr_flow"]

    own = key()
    if "blend" not in propagator:
        assert own == key(["propagators.flow.precision=fp32"])
    monkeypatch.setattr(precision, "_decided", BF16)
    assert key() != own


def test_a_blend_names_the_precisions_of_its_members(monkeypatch):
    exact = Blend(of=["flow", "aot_nano"])
    monkeypatch.setattr(precision, "_decided", BF16)
    low = Blend(of=["flow", "aot_nano"])
    assert (exact.precisions, low.precisions, low.low_precisions) == (["fp32"], ["bf16"], ["bf16"])
    assert exact.fingerprint() != low.fingerprint()


def test_the_manifest_and_the_table_say_what_was_taken(tiny, monkeypatch):
    monkeypatch.setattr(precision, "_decided", BF16)
    recipe = load([f"recipe={tiny.recipe}", "propagators.flow={propagator: aot, weights: aot_nano}"])
    assert recipe.describe_propagator("flow") == "flow (aot, aot_nano, bf16)"
    assert manifest(recipe, {}, 0.0)["precision"] == {
        "used": {"flow": "bf16"},
        "auto": {kind: {"precision": "bf16", "reason": "a test"} for kind in ("cpu", "cuda")},
    }
