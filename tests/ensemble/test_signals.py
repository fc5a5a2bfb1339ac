"""What propagators state about their masks: in gates, choices and key frames, and what is known before a run."""

import numpy as np
import pytest
from helpers.ops import OPS

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.traits import Traits, common_traits
from rvos_ensemble.ensemble.engine.clips import input_problems
from rvos_ensemble.ensemble.engine.storage.store import decode, encode
from rvos_ensemble.propagators.core.key_frames import choose

NAN, T, SIZE = float("nan"), 4, (4, 6)


class Black:
    """Frames without content."""

    size = SIZE

    def read(self, t):
        return np.zeros((*SIZE, 3), np.uint8)

    def fingerprint(self):
        return ""


CLIP = Clip("v", tuple("0123"), (Expression("v", "0", "the star"), Expression("v", "1", "the disc")), Black())


def sequence(object_score=None, predicted_iou=None, shown=(1, 1, 1, 1), scores=None):
    """Masks on the shown frames, with signals."""
    masks = np.zeros((T, *SIZE), bool)
    masks[np.array(shown, bool), 1:3, 1:4] = True
    given = {"object_score": object_score, "predicted_iou": predicted_iou}
    signals = {name: np.float32(values) for name, values in given.items() if values is not None}
    return MaskSequence.binary(masks, scores).with_(signals=signals)


def both(of):
    return {"0": of, "1": of}


# Signals --------------------------------------------------------------------------------------------------------------


def gated(juror, of, **more):
    step = OPS["gate"]("g", input="m", jurors={"j": juror}, **more)
    return step.run(CLIP, {"m": both(sequence()), "s": both(of)})["0"]


@pytest.mark.parametrize(
    "juror, of, presence",
    [
        ({"object_score": "s"}, sequence([NAN, 0.25, 0.75, 0.5]), 0.75),
        ({"object_score": "s"}, sequence([0.25, 0.125, NAN, NAN], shown=(0, 0, 1, 0)), 0.25),
        ({"object_score": "s", "at_least": 0.5}, sequence([0.25, 0.375, NAN, 0.25]), 0.0),
        ({"predicted_iou": "s"}, sequence(predicted_iou=[0.25, 0.5, NAN, 0.75]), 0.5),
        ({"object_score": "s"}, sequence(shown=(0, 0, 0, 0)), 0.0),  # no key mask: nothing was propagated
    ],
)
def test_a_gate_reads_signals(juror, of, presence):
    result = gated(juror, of)
    assert result.presence == presence and result.is_empty() == (presence < 0.5)


def test_a_juror_without_signals_is_an_error_or_silent():
    for of in (sequence(), sequence([NAN] * T), sequence(predicted_iou=[0.5] * T)):
        with pytest.raises(InputError, match=r"expression '0': juror j: input s states no object_score.*sam2"):
            gated({"object_score": "s"}, of)
        assert gated({"object_score": "s", "missing": "unknown"}, of).notes["gate"]["decision"] == "undecided"


def test_a_choice_by_signals():
    step = OPS["select"]("c", inputs=["a", "b"], rule="best", by="predicted_iou")
    a, b = sequence(predicted_iou=[0.5, 0.5, NAN, 0.5]), sequence(predicted_iou=[NAN, 0.75, 0.5, 0.625])
    result = step.run(CLIP, {"a": both(a), "b": both(b)})["0"]
    assert result.notes["chosen"] == "b" and result.signals is b.signals, "the chosen masks keep their signals"
    with pytest.raises(InputError, match="expression '0': a states no predicted_iou"):
        step.run(CLIP, {"a": both(sequence()), "b": both(b)})


def test_masks_that_are_kept_keep_their_signals_and_others_have_none():
    of = sequence([NAN, 0.75, 0.5, 0.25])
    inputs = {"m": both(of), "s": both(of)}
    kept = OPS["gate"]("g", input="m", jurors={"j": {"object_score": "m"}}).run(CLIP, inputs)
    gone = OPS["gate"]("g", input="m", jurors={"j": {"object_score": "m"}}, tau=0.9).run(CLIP, inputs)
    assert kept["0"].signals is of.signals and gone["0"].signals == {}
    for op, settings in {"vote": {"threshold": 1}, "average": {}, "union": {}, "consensus": {}}.items():
        fused = OPS[op]("f", inputs=["m", "s"], **settings).run(CLIP, inputs)
        assert fused["0"].signals == {}, op
    read = decode(encode(kept))["0"].signals
    assert np.array_equal(read["object_score"], of.signals["object_score"], equal_nan=True)


@pytest.mark.parametrize("rule", ["argmax", "top", "product"])
def test_key_frames_by_signals(rule):
    of = sequence(predicted_iou=[NAN, 0.25, 0.75, 0.5], object_score=[0.5, 0.75, 0.25, NAN], scores=[1, 0, 0, 0])
    more = {"k": 1} if rule == "top" else {}
    for by, frame in (("scores", 0), ("object_score", 1), ("predicted_iou", 2)):
        assert choose({"rule": rule, "by": by, **more}, of).frames == (frame,)
    with pytest.raises(InputError, match=r"states no object_score.*choose another rule"):
        choose({"rule": rule, "by": "object_score"}, sequence())
    with pytest.raises(InputError, match=r"same object_score 0.5 on all frames"):
        choose({"rule": rule, "by": "object_score"}, sequence([0.5] * T))
    instead = choose({"rule": rule, "by": "object_score", "without_scores": "agreement"}, sequence())
    assert instead.rule == "agreement"
    assert choose({"rule": rule, "by": "object_score"}, sequence(shown=(0,) * T)).note == "every mask is empty"


# Before a run ---------------------------------------------------------------------------------------------------------


class Source:
    """A source of which something is known."""

    def __init__(self, traits):
        self.known = traits

    def traits(self, clip):
        return self.known


class Speaks:
    """A propagator that states something."""

    def __init__(self, *signals):
        self.signals = signals


def problems(**steps):
    made = {name: OPS[settings.pop("op")](name, **settings) for name, settings in steps.items()}
    sources = {"m": Source(Traits("binary", scores=True, signals=())), "x": Source(Traits("binary", scores=True))}
    found = input_problems(sources, made, CLIP, {"sam": Speaks("predicted_iou", "object_score"), "flow": Speaks()})
    return [problem.partition(": use another")[0] for problem in found]


@pytest.mark.parametrize("op", ["propagate", "refine", "track"])
def test_what_propagators_state_is_known_before_the_run(op):
    def moved(by):
        return {"op": op, "input": "m", "with": by, "key_frame": "argmax"}

    gate = {"op": "gate", "input": "p", "jurors": {"j": {"object_score": "p"}}}
    later = {"op": "propagate", "input": "p", "with": "flow", "key_frame": {"rule": "argmax", "by": "predicted_iou"}}
    best = {"op": "select", "inputs": ["p", "g"], "rule": "best", "by": "object_score"}
    assert problems(p=moved("sam"), g=dict(gate), k=dict(later), b=dict(best)) == []
    lacks = "input {} states no object_score, as masks do that sam2, sam3 or edgetam propagated"
    found = problems(p=moved("flow"), g=dict(gate), k=dict(later), b=dict(best))
    assert [found[0], *found[2:]] == [
        f"step g: juror j: {lacks.format('p')}",
        f"step b: {lacks.format('p')}",
        f"step b: {lacks.format('g')}",
    ]
    assert "step k: key_frame of clip 'v', expression '0': p states no predicted_iou" in found[1]


def test_fused_masks_are_known_to_state_nothing():
    moved = {"op": "propagate", "input": "m", "with": "sam"}
    for op, settings in {"vote": {"threshold": 1}, "average": {}, "union": {}, "consensus": {}}.items():
        fused = {"op": op, "inputs": ["p", "m"], **settings}
        gate = {"op": "gate", "input": "f", "jurors": {"j": {"object_score": "f"}}}
        (line,) = problems(p=dict(moved), f=fused, g=gate)
        assert "input f states no object_score" in line
    assert problems(g={"op": "gate", "input": "x", "jurors": {"j": {"object_score": "x"}}}) == [], "unknown"


def test_traits_of_sequences():
    stated = {"0": sequence([0.5] * T), "1": sequence([0.5] * T)}
    assert Traits(sequences=stated).all().signals == ("object_score",)
    assert Traits(sequences={**stated, "1": sequence()}).all().signals is None
    assert Traits(sequences={"0": sequence()}).of("0").signals == ()
    assert common_traits([Traits("prob", signals=()), Traits("prob", signals=())]) == Traits("prob", signals=())
