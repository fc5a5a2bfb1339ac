"""`ablate=gate`: the scores at every tau are those of the gate itself; tau is chosen on clips that are not reported."""

import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from helpers.tiny_mevis import EXPRESSIONS, make_tiny_mevis
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation.gate import choose, gate_step, sweep
from rvos_ensemble.ensemble.ablation.gate_clip import Gated, gate_clip
from rvos_ensemble.ensemble.ablation.weights import halves
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore, existence
from rvos_ensemble.ensemble.recipe.recipe import load

MEASURES = ["J", "F", "J&F", "N-acc", "T-acc", "Final"]
CLIPS = "abcdef"
GATE = """
steps:
  final:
    op: gate
    input: soc
    jurors:
      gpt: {verdicts: gpt.json, missing: unknown}
      sa2va: {empty: mutr, weight: 0.5}
      agree: {agreement: [soc, mutr, referformer]}
    rule: mean
    tau: 0.6
    no_target_share: 0.25
output: final
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny MeViSv2 with a gate of three jurors, one of whom has no opinion on some expressions."""
    folder = tmp_path_factory.mktemp("gate")
    made = make_tiny_mevis(folder, CLIPS)
    rng = np.random.default_rng(1)
    noisy = {
        c: {e: round(float(rng.beta(2, 2) / 2 + 0.5 * bool(of)), 3) for e, of in EXPRESSIONS.items()} for c in CLIPS
    }
    del noisy["a"]["0"], noisy["d"]["3"]
    (folder / "gpt.json").write_text(json.dumps(noisy))
    recipe = made.recipe.with_name("gated.yaml")
    recipe.write_text(f"base: {made.recipe.name}\n{GATE}")
    return type(made)(made.root, recipe, folder / "out", made.clips)


def ablate(tiny, *arguments):
    return run_ensemble.main(["ablate", *tiny.arguments, "ablate.resamples=200", *arguments])


@pytest.fixture(scope="module")
def swept(tiny):
    assert ablate(tiny, "ablate=gate") == 0
    files = {f: (tiny.out / f).read_text() for f in ("gate.svg", "gate_accuracies.svg", "best.yaml")}
    return pd.read_csv(tiny.out / "gate.csv"), pd.read_csv(tiny.out / "ablation.csv"), files


def test_the_sweep_equals_the_gate_at_every_tau(tiny, swept):
    """The same numbers to the last bit as with each tau as a setting, which runs the gate and scores its masks."""
    of_all = swept[0][swept[0].clips == "all"]
    assert len(of_all) > 10 and of_all.tau.is_monotonic_increasing
    assert of_all["Final"].nunique() > 5 and of_all.emptied.iloc[0] == 0
    some = of_all.iloc[[*range(0, len(of_all) - 1, 4), -1]]  # the last is tau = 1
    assert ablate(tiny, f"ablate.final.tau={some.tau.tolist()}") == 0
    run = pd.read_csv(tiny.out / "ablation.csv").iloc[1:]
    assert len(run) == len(some)
    for name in MEASURES:
        np.testing.assert_allclose(some[name], run[name], rtol=0, atol=1e-15)


def test_tau_is_chosen_on_one_half_and_reported_on_the_other(tiny, swept):
    frame, rows, files = swept
    searched = frame[frame.clips == "searched"]
    tau = searched.tau.iloc[int(searched.Final.argmax())]
    best = OmegaConf.create(files["best.yaml"])
    assert best.steps.final.tau == tau and best.output == "final"
    assert list(rows.label[1:]) == [
        f"tau={tau:.4g}, chosen on the other half",
        "expected_final",
        "masks as they are (tau=0)",
    ]
    assert set(rows.clips) == {3} and "which the search did not see" in files["best.yaml"].replace("\n# ", " ")
    reported = frame[frame.clips == "reported"]
    assert rows.Final.iloc[3] == pytest.approx(reported[reported.tau == 0].Final.item(), abs=1e-15)
    clips = load(tiny.arguments).dataset.clips()
    assert [len(half) for half in halves(clips, 0)] == [3, 3]
    for name in ("gate.svg", "gate_accuracies.svg"):
        root = ElementTree.fromstring(files[name])
        assert root.tag.endswith("}svg") and "T-acc" in files[name]
        assert (tiny.out / name).with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert "expected_final: " in files["gate.svg"]


def test_every_row_is_what_a_run_of_it_scores(tiny, swept, tmp_path):
    """`expected_final` as a run: its decisions on the reported half."""
    run = [f"recipe={tiny.recipe}", f"out={tmp_path}", "report=false", "annotations=false", "submission=false"]
    settings = ["steps.final.rule=expected_final", "steps.final.tau=null"]
    assert run_ensemble.main([*run, *settings]) == 0
    metrics = pd.read_csv(tmp_path / "metrics.csv", dtype={"expression": str})
    clips = {c.name for c in halves(load(tiny.arguments).dataset.clips(), 0)[1]}
    of = metrics[(metrics.step == "final") & metrics["clip"].isin(clips)]
    row = swept[1].set_index("label").loc["expected_final"]
    assert row["J&F"] == pytest.approx(of["J&F"].mean(), abs=1e-15)
    notes = json.loads((tmp_path / "manifest.json").read_text())
    assert "emptied" in json.dumps(notes)


scores = st.builds(ExpressionScore, st.floats(0, 1), st.floats(0, 1))
gated = st.builds(
    lambda presence, kept, emptied, no_target, empty: Gated(
        presence,
        kept._replace(no_target=no_target, empty=empty),
        emptied._replace(no_target=no_target, empty=True),
        (False, False),
    ),
    st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1),
    scores,
    scores,
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=30)
@given(st.lists(gated, min_size=2, max_size=8))
def test_sweep_against_the_definition(every):
    kinds = {g.kept.no_target for g in every}
    if kinds != {True, False}:
        return
    expressions = {"a": dict(enumerate(every[:1])), "b": dict(enumerate(every[1:]))}
    swept = sweep(expressions)
    assert {0.0, 1.0} <= set(swept.tau)
    sets = set()
    for row in swept.itertuples(index=False):
        chosen = [g.at(row.tau) for g in every]
        jf = float(np.mean([s.JF for s in chosen]))
        wanted = existence(chosen, jf)
        assert (row[2], row[3], row[7]) == pytest.approx(tuple(wanted)) and row[6] == pytest.approx(jf)
        sets.add(frozenset(i for i, g in enumerate(every) if g.presence is not None and g.presence < row.tau))
    for tau in np.linspace(0, 1, 41):  # no tau decides otherwise than one of the rows
        decided = frozenset(i for i, g in enumerate(every) if g.presence is not None and g.presence < tau)
        assert decided in sets
    assert choose(swept) == swept.tau[swept.Final == swept.Final.max()].min()


def test_what_cannot_be_swept_is_refused(tiny, tmp_path, capsys):
    assert ablate(tiny, "ablate=gate", "output=smr") == 2
    assert "output smr of recipe gated needs no step with `op: gate`" in capsys.readouterr().err
    assert ablate(tiny, "ablate=gate", "ablate.step=finale") == 2
    assert "did you mean `final`?" in capsys.readouterr().err
    assert ablate(tiny, "ablate=gate", "data.videos=[a,b,c]") == 2
    assert "ablate=gate: 3 clips, expected at least 4" in capsys.readouterr().err
    with pytest.raises(InputError, match="needs no step"):
        gate_step(load([*tiny.arguments, "output=smr"]), None)


def test_a_clip_that_fails_is_a_record(tiny):
    recipe = load(tiny.arguments)
    (clip, *_) = recipe.dataset.clips()
    broken = {**recipe.config, "steps": {**recipe.config["steps"]}}
    broken["steps"]["final"] = {**broken["steps"]["final"], "jurors": {"sam3": {"presence": "smr"}}}
    record = gate_clip("gated", json.dumps([broken]), "final", 0, clip)
    assert record.status == "failed" and "input smr states no presence" in record.error
