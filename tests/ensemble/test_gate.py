"""The step `gate`: jurors, rules, and what is refused before anything is computed."""

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.ops import OPS
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import check_prediction
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.engine.clips import input_problems
from rvos_ensemble.ensemble.engine.keys import keys_of
from rvos_ensemble.ensemble.fusion.existence import expected_final_tau
from rvos_ensemble.ensemble.recipe.recipe import load

SIZE, T = (4, 6), 3
IMAGES = SimpleNamespace(size=SIZE, read=lambda t: np.zeros((*SIZE, 3), np.uint8), fingerprint=lambda: "")
CLIP = Clip("v", ("0", "1", "2"), (Expression("v", "0", "the star"), Expression("v", "1", "the disc")), IMAGES)
Gate = OPS["gate"]


def sequence(area=6, presence=None, scores=None, probability=None):
    """Masks of `area` pixels in every frame."""
    masks = np.zeros((T, SIZE[0] * SIZE[1]), bool)
    masks[:, :area] = True
    masks = masks.reshape(T, *SIZE)
    if probability is not None:
        return MaskSequence.prob(masks * np.uint8(probability), scores).with_(presence=presence)
    return MaskSequence.binary(masks, scores).with_(presence=presence)


def gate(jurors, **given):
    return Gate("final", input="m", jurors=jurors, **given)


def run(step, **inputs):
    """The result, checked as the engine does; inputs are one sequence for both expressions, or one for each."""
    read = {n: dict(zip("01", s if isinstance(s, tuple) else (s, s), strict=True)) for n, s in inputs.items()}
    return check_prediction(step.run(CLIP, {name: read[name] for name in step.inputs}), CLIP, "final")


def decisions(result):
    return [result[e].notes["gate"]["decision"] for e in "01"]


def verdict_file(folder, verdicts, name="gpt"):
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"v": verdicts}))
    return str(file)


def problems_of(*arguments, **given):
    with pytest.raises(InputError) as caught:
        Gate("final", *arguments, **given)
    return caught.value.problems


def test_masks_are_emptied_and_the_notes_say_why(tmp_path):
    file = verdict_file(tmp_path, {"0": "no", "1": 0.9})
    masks = sequence(scores=np.ones(T), probability=200)
    step = gate({"gpt": {"verdicts": file}, "sam3": {"presence": "s", "weight": 3}}, tau=0.4)
    result = run(step, m=masks.with_(notes={"origin": "x"}), s=sequence(presence=0.5))
    assert step.inputs == ["m", "s"] and step.masks_from == ["m"] and step.replacement == "m"
    empty, kept = result["0"], result["1"]
    assert empty.is_empty() and empty.kind == "prob" and empty.masks.dtype == np.uint8 and not empty.scores.any()
    assert kept.masks is masks.masks and kept.scores is masks.scores
    assert (empty.presence, kept.presence) == (0.375, pytest.approx(0.6))
    assert empty.notes == {
        "origin": "x",
        "gate": {
            "decision": "emptied",
            "presence": 0.375,
            "tau": 0.4,
            "rule": "mean",
            "jurors": {"gpt": 0.0, "sam3": 0.5},
        },
    }
    assert json.loads(json.dumps(kept.notes))["gate"]["decision"] == "kept"
    assert "gpt, sam3: emptied if mean < 0.4" in step.describe()


@pytest.mark.parametrize("rule, k, needed", [("any_absent", None, 1), ("k_absent", 2, 2), ("all_absent", None, 3)])
def test_rules_need_some_of_three_jurors(tmp_path, rule, k, needed):
    for says in itertools.product((0, 1), repeat=3):
        jurors = {
            n: {"verdicts": verdict_file(tmp_path, {"0": p, "1": 1}, n)} for n, p in zip("abc", says, strict=True)
        }
        result = run(gate(jurors, rule=rule, k=k), m=sequence())
        assert result["0"].is_empty() == (says.count(0) >= needed) and not result["1"].is_empty()


def test_a_juror_without_opinion_leaves_it_to_the_others_and_none_changes_nothing(tmp_path):
    half = {"verdicts": verdict_file(tmp_path, {"0": "no"}, "half"), "missing": "unknown"}
    other = {"presence": "s", "missing": "unknown"}
    for rule in ("mean", "any_absent", "all_absent", "expected_final"):
        step = gate({"half": half, "other": other}, rule=rule)
        result = run(step, m=sequence(presence=0.25), s=sequence())
        assert decisions(result) == ["emptied", "undecided"]
        assert result["1"].presence == 0.25 and result["1"].notes["gate"]["jurors"] == {"half": None, "other": None}
    result = run(gate({"half": half, "other": other}, rule="k_absent", k=2), m=sequence(), s=sequence())
    assert decisions(result) == ["undecided", "undecided"]
    with pytest.raises(InputError, match=r"v/1.*missing: unknown"):
        run(gate({"half": {**half, "missing": "error"}}), m=sequence())
    with pytest.raises(InputError, match="expression '0': juror other: input s states no presence"):
        run(gate({"other": {"presence": "s"}}), m=sequence(), s=sequence())


@pytest.mark.parametrize(
    "juror, source, presence",
    [
        ({"empty": "s"}, sequence(0), 0.0),
        ({"empty": "s"}, sequence(1), 1.0),
        ({"area": "s", "at_least": 0.25}, sequence(6), 1.0),
        ({"area": "s", "at_least": 0.25}, sequence(5), 0.0),
        ({"area": "s", "logistic": {"midpoint": 0.25, "slope": 20}}, sequence(12), 1 / (1 + math.exp(-5))),
        ({"scores": "s"}, sequence(scores=[0.25, 0.5, 0.75]), 0.5),
        ({"scores": "s", "logistic": {"midpoint": 0, "slope": 1e6}}, sequence(scores=[-3, -3, -3]), 0.0),
        ({"confidence": "s"}, sequence(probability=204), 0.8),
        ({"confidence": "s"}, sequence(probability=100), 0.0),  # no pixel above one half
        ({"presence": "s", "at_least": 0.5}, sequence(presence=0.625), 1.0),
        ({"agreement": ["s", "m", "t"]}, sequence(12), (0.5 + 0.25 + 0.5) / 3),
    ],
)
def test_signals(juror, source, presence):
    result = run(gate({"j": juror}), m=sequence(6), s=source, t=sequence(3))
    assert result["0"].presence == pytest.approx(presence, abs=1e-6)


def test_empty_sources_do_not_agree_on_an_object():
    result = run(gate({"j": {"agreement": ["s", "t"]}}), m=sequence(), s=sequence(0), t=sequence(0))
    assert decisions(result) == ["emptied", "emptied"]


@settings(max_examples=30)
@given(st.tuples(*[st.integers(0, 24)] * 3))
def test_agreement_of_three_sources(areas):
    """Masks of the first n pixels: two of them share the smaller number."""
    ious = [min(a, b) / max(a, b, 1) for a, b in ((areas[0], areas[1]), (areas[0], areas[2]), (areas[1], areas[2]))]
    a, b, c = (sequence(n) for n in areas)
    result = run(gate({"j": {"agreement": ["a", "b", "c"]}}), m=sequence(), a=a, b=b, c=c)
    assert result["0"].presence == pytest.approx(np.mean(ious))


def test_expected_final_with_a_number_and_with_a_signal():
    jurors = {"j": {"presence": "m"}}
    tau = expected_final_tau(0.5, 0.2, "targets")
    options = {"rule": "expected_final", "no_target_share": 0.2, "jf_over": "targets"}
    pair = (sequence(presence=tau - 1e-6, probability=255), sequence(presence=tau, probability=128))
    assert decisions(run(gate(jurors, jf=0.5, **options), m=pair)) == ["emptied", "kept"]
    result = run(gate(jurors, jf={"confidence": "m"}, **options), m=pair)
    for e, jf in (("0", 1.0), ("1", 128 / 255)):
        assert result[e].notes["gate"]["tau"] == pytest.approx(expected_final_tau(jf, 0.2, "targets"), abs=1e-4)
    mean = 1 - (1 / (1 - 3503 / 33072) + 0.7) / (33072 / 3503 + 1 / (1 - 3503 / 33072) + 1.7)
    assert gate(jurors, rule="expected_final").tau() == pytest.approx(mean)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"jurors": {}}, "no jurors"),
        ({"jurors": {"a": None}}, "jurors.a is None, expected {KIND"),
        ({"jurors": {"a": {}}}, "jurors.a has nothing, expected one of verdicts"),
        ({"jurors": {"a": {"presence": "s", "empty": "s"}}}, "jurors.a has presence, empty"),
        ({"jurors": {"a": {"presense": "s"}}}, "unknown key `presense`, did you mean `presence`?"),
        ({"jurors": {"a": {"area": "s"}}}, "an area is no probability"),
        ({"jurors": {"a": {"agreement": ["s", "s"]}}}, "at least two different names"),
        ({"jurors": {"a": {"empty": "s", "at_least": 1, "logistic": {}}}}, "both `at_least` and `logistic`"),
        ({"jurors": {"a": {"empty": "s", "logistic": {"slope": 0}}}}, "setting `slope` is 0"),
        ({"jurors": {"a": {"empty": "s", "states": "absence"}}}, "`states` is of `verdicts` only"),
        ({"jurors": {"a": {"empty": "s"}}, "rule": "any"}, "one of mean, any_absent"),
        ({"jurors": {"a": {"empty": "s"}}, "rule": "k_absent"}, "k is None with rule k_absent"),
        ({"jurors": {"a": {"empty": "s"}}, "k": 1}, "k is 1 with rule mean"),
        ({"jurors": {"a": {"empty": "s"}}, "rule": "k_absent", "k": 2}, "there are 1 jurors"),
        ({"jurors": {"a": {"empty": "s"}}, "rule": "expected_final", "tau": 0.5}, "computes it"),
        ({"jurors": {"a": {"empty": "s", "weight": 0}}}, "weight 0"),
        ({"jurors": {"a": {"empty": "s", "weight": 2}}, "rule": "all_absent"}, "which rule all_absent does not read"),
        ({"jurors": {"a": {"empty": "s"}}, "tau": 1.5}, "`tau` is 1.5"),
        ({"jurors": {"a": {"empty": "s"}}, "jf": {"verdicts": "f"}}, "jf: unknown key `verdicts`"),
        ({"jurors": {"a": {"empty": "s"}}, "jf": {}}, "jf has nothing"),
        ({"jurors": {"a": {"empty": "s"}}, "no_target_share": 0}, "above 0"),
    ],
)
def test_wrong_settings(given, message):
    assert any(message in problem for problem in problems_of(input="m", **given)), problems_of(input="m", **given)


def test_a_value_that_is_no_probability_is_refused():
    with pytest.raises(InputError, match=r"a value of 3, expected a probability.*`at_least`"):
        run(gate({"j": {"scores": "s"}}), m=sequence(), s=sequence(scores=[3, 3, 3]))


def test_sources_that_cannot_say_it_are_refused_before_anything_is_computed(tmp_path):
    known = {
        "m": Traits("votes"),
        "s": Traits("binary", scores=False, presence=False),
        "t": Traits(),
    }
    jurors = {"a": {"presence": "s"}, "b": {"scores": "s"}, "c": {"confidence": "s"}, "d": {"presence": "t"}}
    found = gate(jurors, jf={"confidence": "s"}, rule="expected_final").input_problems(CLIP, known)
    assert [p.partition(":")[0] for p in found] == [
        "input m is a vote map, which has no masks",
        "juror a",
        "juror b",
        "juror c",
        "jf",
    ]
    assert gate({"d": {"empty": "s"}}).input_problems(CLIP, known | {"m": Traits("prob")}) == []


def test_the_presence_of_a_gate_is_known_to_later_steps():
    first = Gate("g", input="m", jurors={"a": {"empty": "m"}})
    second = Gate("final", input="g", jurors={"a": {"presence": "g"}, "b": {"presence": "m"}})
    adapter = SimpleNamespace(traits=lambda clip: Traits("binary", False, False, presence=False))
    found = input_problems({"m": adapter}, {"g": first, "final": second}, CLIP)
    assert found == [
        "step final: juror b: input m states no presence: use another signal, such as `scores`, or a step that gives "
        "it, as `gate`"
    ]


def test_the_fingerprint_follows_the_verdicts_of_the_clip(tmp_path):
    def fingerprint(content):
        (tmp_path / "f.json").write_text(json.dumps(content))
        return gate({"a": {"verdicts": str(tmp_path / "f.json")}}).fingerprint(CLIP)

    first = fingerprint({"v": {"0": 1, "1": 0.5}})
    assert fingerprint({"v": {"0": True, "1": 0.5}, "w": {}}) == first != fingerprint({"v": {"0": 1, "1": 0.25}})


def test_what_is_left_without_sources(tmp_path):
    file = verdict_file(tmp_path, {"0": 1, "1": 1})
    jurors = {"gpt": {"verdicts": file}, "sam3": {"presence": "s"}, "agree": {"agreement": ["s", "t", "u"]}}
    step = gate(jurors, rule="k_absent", k=3)
    assert step.without(["m"]) is None
    left = {"gpt": {"verdicts": file}, "agree": {"agreement": ["t", "u"]}}
    assert step.without(["s"]) == {"jurors": left, "k": 2}
    assert step.without(["s", "t"])["jurors"] == {"gpt": {"verdicts": file}}
    assert gate({"a": {"empty": "s"}}).without(["s"]) == {"op": "select", "inputs": ["m"]}
    signal = gate({"a": {"empty": "m"}}, jf={"scores": "s"}, rule="expected_final")
    assert signal.without(["s"])["jf"] == 0.7
    changed = step.reading({"s": "x", "m": "y"})
    assert changed["input"] == "y" and changed["jurors"]["sam3"] == {"presence": "x"}
    assert changed["jurors"]["agree"] == {"agreement": ["x", "t", "u"]} and changed["jurors"]["gpt"] == {
        "verdicts": file
    }


def test_the_example_in_the_docs_is_a_gate():
    text = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
    (example,) = [part for part in text.split("```yaml\n") if "op: gate" in part]
    settings = OmegaConf.to_container(OmegaConf.create(example.partition("```")[0]))["steps"]["final"]
    assert settings.pop("op") == "gate"
    step = Gate("final", **settings)
    assert step.inputs == ["fused", "sam3", "sa2va", "referdino"]


@pytest.fixture
def gated(tiny):
    """The tiny benchmark with a gate of two jurors; the second expressions of all videos lack a verdict."""
    jurors = "{gpt: {verdicts: gpt.json}, soc: {empty: soc}}"
    recipe = tiny.recipe.with_name("gated.yaml")
    recipe.write_text(
        f"base: {tiny.recipe.name}\nsteps: {{final: {{op: gate, input: smr, jurors: {jurors}}}}}\noutput: final\n"
    )
    verdicts = {clip: {"0": "yes", "1": None, "2": 0.25} for clip in tiny.clips}
    recipe.with_name("gpt.json").write_text(json.dumps(verdicts))
    return [f"recipe={recipe}", f"out={tiny.out}"]


def test_check_counts_the_missing_verdicts_of_all_clips(gated, capsys):
    for command in (["check"], []):
        assert run_ensemble.main([*command, *gated]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "gpt" in line]
        assert len(lines) == 1 and "step final: juror gpt: " in lines[0]
        assert "no verdict on 3 of 9 expressions of a, b, c: a/1, b/1, c/1; `missing: unknown`" in lines[0]
    assert run_ensemble.main(["check", *gated, "steps.final.jurors.gpt.missing=unknown"]) == 0


def test_the_key_of_a_gate_changes_with_what_its_jurors_read(gated, tiny):
    def key(*arguments):
        recipe = load([*gated, "steps.final.input=soc", "steps.final.jurors.soc={empty: mutr}", *arguments])
        return keys_of(recipe, recipe.dataset.clips()[0])["final"]

    keys = [key()]
    assert key() == keys[0]
    file = tiny.recipe.with_name("gpt.json")
    verdicts = json.loads(file.read_text())
    file.write_text(json.dumps({**verdicts, "b": {}}))
    assert key() == keys[0], "verdicts on another clip"
    file.write_text(json.dumps({**verdicts, "a": {"0": "no"}}))
    keys += [key(), key("steps.final.jurors.soc={empty: referformer}"), key("steps.final.tau=0.25")]
    (tiny.root / "predictions" / "mutr.scores.json").unlink()  # of a source that only the juror reads
    keys.append(key())
    assert len(set(keys)) == len(keys)
