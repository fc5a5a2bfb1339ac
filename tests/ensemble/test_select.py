"""The steps `select` and `consensus`: each rule against a loop over expressions, and recipes that use them wrongly."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.ops import OPS
from helpers.reference import default_radius, j_and_f
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.traits import Traits

SIZE, T = (6, 9), 3
NAMES = ["a", "b", "c"]
IMAGES = SimpleNamespace(size=SIZE, read=lambda t: np.zeros((*SIZE, 3), np.uint8), fingerprint=lambda: "")
quick = settings(max_examples=30)


class Annotated:
    """A ground truth {expression: masks, or None if it is not annotated}."""

    def __init__(self, **masks):
        self.masks = {name.removeprefix("e"): m for name, m in masks.items()}

    def read(self, expression):
        masks = self.masks.get(expression)
        return None if masks is None else MaskSequence.binary(masks).with_(presence=float(masks.any()))

    def fingerprint(self):
        return repr(sorted((e, None if m is None else m.tobytes()) for e, m in self.masks.items()))

    def problems(self):
        return []


def clip_of(truth=None, expressions=("0", "1")):
    return Clip("v", ("0", "1", "2"), tuple(Expression("v", i, "the star") for i in expressions), IMAGES, truth)


def block(left, width=3, frames=range(T)):
    masks = np.zeros((T, *SIZE), bool)
    masks[list(frames), 1:5, left : left + width] = True
    return masks


def binary(masks, scores=None, presence=None):
    return MaskSequence.binary(masks, scores).with_(presence=presence)


def select(inputs, clip=None, **values):
    """The step's result on expression 0 (each input is its one sequence), and the name of the chosen input."""
    clip = clip or clip_of(expressions=("0",))
    step = OPS["select"]("s", inputs=list(inputs), **values)
    (result,) = step.run(clip, {name: {"0": s} for name, s in inputs.items()}).values()
    return result, result.notes["chosen"]


def same(a, b):
    return all(np.array_equal(a.mask(t), b.mask(t)) for t in range(T))


def problems_of(op, **values):
    with pytest.raises(InputError) as error:
        OPS[op]("s", **values)
    return "\n".join(error.value.problems)


# ------------------------------------------------------------------------------------------------------------ medoid
def test_the_medoid_is_the_result_with_its_scores_and_presence():
    inputs = {"a": binary(block(5)), "b": binary(block(1), [0.5, 0.6, 0.7], 0.9), "c": binary(block(0))}
    result, chosen = select(inputs)
    assert chosen == "b" and same(result, inputs["b"]) and result.presence == 0.9
    assert result.scores.tolist() == inputs["b"].scores.tolist()
    assert result.notes["agreement"] == {"a": 0.0, "b": 0.25, "c": 0.25}, "b is before c"
    assert select(inputs, weights=[9, 1, 1])[1] == "a"


def test_every_expression_has_its_own_medoid_and_the_notes_of_the_source_are_kept():
    near, far = binary(block(0)).with_(notes={"key_frame": 1}), binary(block(5))
    inputs = {"a": {"0": near, "1": far}, "b": {"0": far, "1": near}, "c": {"0": near, "1": near}}
    result = OPS["select"]("s", inputs=NAMES).run(clip_of(), inputs)
    assert [s.notes["chosen"] for s in result.values()] == ["a", "b"] and list(result) == ["0", "1"]
    assert all(s.notes["key_frame"] == 1 for s in result.values())


def test_the_overlap_decides_how_much_empty_frames_count():
    """a and b share nothing but empty frames; c and d share half of their masks in every frame."""
    inputs = {"a": block(0, frames=[0]), "b": block(6, frames=[0]), "c": block(0), "d": block(0, 6)}
    inputs = {name: binary(masks) for name, masks in inputs.items()}
    assert [select(inputs, overlap=overlap)[1] for overlap in ("frame", "shown", "video")] == ["a", "c", "c"]


# -------------------------------------------------------------------------------------------------------------- best
def test_best_by_scores_presence_and_confidence():
    soft = np.full((T, *SIZE), 100, np.uint8)
    confident, unsure = soft.copy(), soft.copy()
    confident[1, 1:3], unsure[:, 1:3] = 250, 140
    inputs = {
        "a": MaskSequence.prob(unsure, [0.9, 0.1, 0.2]).with_(presence=0.8),
        "b": MaskSequence.prob(confident, [0.5, 0.5, 0.5]).with_(presence=0.3),
        "c": MaskSequence.prob(unsure, [0.5, 0.5, 0.5]).with_(presence=0.8),
    }
    assert [select(inputs, rule="best", by=by)[1] for by in ("scores", "presence", "confidence")] == ["b", "a", "b"]
    assert select(inputs, rule="best", by="scores", weights=[1, 1, 1.5])[1] == "c"
    result, _ = select(inputs, rule="best", by="scores")
    assert result.notes["scores"] == {"a": 0.4, "b": 0.5, "c": 0.5}
    assert MaskSequence.prob(soft).is_empty()
    empty_and_unsure = {"a": MaskSequence.prob(soft), "b": MaskSequence.prob(unsure)}
    assert select(empty_and_unsure, rule="best", by="confidence")[1] == "b", "no mask, no confidence"


@pytest.mark.parametrize(
    ("by", "message"), [("scores", "a has no scores"), ("presence", "a states no presence"), ("confidence", "a has no")]
)
def test_best_by_what_a_source_does_not_state(by, message):
    with pytest.raises(InputError, match=f"clip 'v', expression '0': {message}"):
        select({"a": binary(block(0))}, rule="best", by=by)


def test_problems_of_the_inputs_are_known_before_the_run():
    step = OPS["select"]("s", inputs=NAMES, rule="best", by="scores")
    known = {"a": Traits("binary", scores=True), "b": Traits("prob", scores=False), "c": Traits(kind="votes")}
    lines = "\n".join(step.input_problems(clip_of(), known))
    assert "input c is a vote map" in lines and "input b has no scores" in lines and "input a" not in lines
    cascade = OPS["select"]("s", inputs=["a", "b"], rule="cascade", doubt={"score": 0.5})
    assert cascade.input_problems(clip_of(), known) == [], "the last input is never doubted"
    confident = OPS["select"]("s", inputs=["a", "b"], rule="best", by="confidence")
    (line,) = confident.input_problems(clip_of(), known)
    assert "input a has no probabilities" in line
    present = OPS["select"]("s", inputs=["a", "b"], rule="best", by="presence")
    (line,) = present.input_problems(clip_of(), {"a": Traits(presence=False), "b": Traits()})
    assert "input a states no presence" in line


def test_traits_are_those_that_all_inputs_share():
    known = {"a": Traits("binary", True, presence=True), "b": Traits("binary", False, presence=True)}
    known["c"] = Traits("binary", True)
    assert OPS["select"]("s", inputs=NAMES).traits(known) == Traits("binary")
    assert OPS["select"]("s", inputs=["a", "b"]).traits(known) == Traits("binary", presence=True)
    assert OPS["select"]("s", inputs=["a", "c"]).traits(known) == Traits("binary", scores=True)
    consensus = OPS["consensus"]("s", inputs=["a", "c"]).traits(known)
    assert consensus == Traits("binary", True, False, presence=True, signals=())


# ------------------------------------------------------------------------------------------------------------ a file
def test_best_by_a_file(tmp_path):
    file = tmp_path / "choices.json"
    file.write_text(json.dumps({"v": {"0": "b", "1": "a"}, "other": "c"}))
    inputs = {name: {e: binary(block(i)) for e in "01"} for i, name in enumerate(NAMES)}
    step = OPS["select"]("s", inputs=NAMES, rule="best", by="file", file=str(file))
    assert step.problems(clip_of()) == []
    assert {e: s.notes["chosen"] for e, s in step.run(clip_of(), inputs).items()} == {"0": "b", "1": "a"}
    before = step.fingerprint(clip_of())
    file.write_text(json.dumps({"v": {"0": "b", "1": "a"}, "other": "a"}))
    assert step.fingerprint(clip_of()) == before, "choices of other clips do not matter"
    file.write_text(json.dumps({"v": {"0": "b", "1": "c"}, "other": "a"}))
    assert step.fingerprint(clip_of()) != before


def test_a_file_that_names_no_source_for_an_expression(tmp_path):
    file = tmp_path / "choices.csv"
    file.write_text("video,expression,source\nv,1,b\n")
    values = {"inputs": NAMES, "rule": "best", "by": "file", "file": str(file)}
    (line,) = OPS["select"]("s", **values).problems(clip_of())
    assert str(file) in line and "'v'" in line and "expressions 0" in line and "otherwise: first" in line
    step = OPS["select"]("s", **values, otherwise="first")
    assert step.problems(clip_of()) == []
    inputs = {name: {e: binary(block(i)) for e in "01"} for i, name in enumerate(NAMES)}
    result = step.run(clip_of(), inputs)
    assert {e: s.notes["chosen"] for e, s in result.items()} == {"0": "a", "1": "b"}
    assert "not named" in result["0"].notes["reason"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"v": {"0": "sa2va", "1": "b"}}', ["chooses sa2va", "inputs are a, b, c"]),
        ("I would choose the second mask.", ["line 1", "as JSON, or CSV"]),
        (None, ["cannot be read"]),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_recipe(tmp_path, content, parts):
    file = tmp_path / "choices.json"
    if content:
        file.write_text(content)
    lines = problems_of("select", inputs=NAMES, rule="best", by="file", file=str(file))
    for part in [str(file), *parts]:
        assert part in lines


# ----------------------------------------------------------------------------------------------------------- cascade
FINE = binary(block(2), [0.9, 0.9, 0.9])


@pytest.mark.parametrize(
    ("doubt", "doubtful"),
    [
        ({"score": 0.5}, binary(block(0), [0.4, 0.5, 0.5])),
        ({"empty": True}, binary(block(0, frames=[]))),
        ({"jump": 2}, binary(np.maximum(block(0, 1), block(0, 3, frames=[1])))),
        ({"agreement": 0.5}, binary(block(0))),
        ({"score": 0.1, "empty": True, "jump": 9, "agreement": 0.5}, binary(block(0), [1, 1, 1])),
    ],
)
def test_a_doubtful_source_is_passed_over(doubt, doubtful):
    inputs = {"a": doubtful, "b": FINE, "c": FINE}
    result, chosen = select(inputs, rule="cascade", doubt=doubt)
    assert chosen == "b" and list(result.notes["doubts"]) == ["a"] and len(result.notes["doubts"]["a"]) == 1
    result, chosen = select({"b": FINE, "c": FINE, "a": doubtful}, rule="cascade", doubt=doubt)
    assert chosen == "b" and result.notes["doubts"] == {}
    assert select({"a": doubtful, "b": doubtful}, rule="cascade", doubt={"empty": True, **doubt})[1] in ("a", "b")


def test_the_last_source_of_a_cascade_is_never_doubted():
    nothing = binary(block(0, frames=[]))
    result, chosen = select({"a": nothing, "b": nothing}, rule="cascade", doubt={"empty": True})
    assert chosen == "b" and list(result.notes["doubts"]) == ["a"]


def test_leaving_the_frame_is_no_jump():
    leaves = binary(block(0, frames=[0]))
    assert select({"a": leaves, "b": FINE}, rule="cascade", doubt={"jump": 1.5})[1] == "a"


def test_a_cascade_by_scores_needs_them():
    with pytest.raises(InputError, match="clip 'v', expression '0': input a: it has no scores"):
        select({"a": binary(block(0)), "b": FINE}, rule="cascade", doubt={"score": 0.5})


# ------------------------------------------------------------------------------------------------------------ oracle
@quick
@given(arrays(bool, (4, T, *SIZE)))
def test_the_oracle_has_the_highest_jf_of_all(stack):
    *masks, truth = stack
    inputs = {name: binary(m) for name, m in zip(NAMES, masks, strict=True)}
    _, chosen = select(inputs, clip_of(Annotated(e0=truth), ("0",)), rule="oracle")
    scores = {
        name: np.mean([j_and_f(m[t], truth[t], default_radius(*SIZE)) for t in range(T)])
        for name, m in zip(NAMES, masks, strict=True)
    }
    assert scores[chosen] == pytest.approx(max(scores.values()), abs=1e-12)


def test_an_empty_source_wins_where_the_expression_refers_to_nothing():
    nothing = block(0, frames=[])
    inputs = {"a": binary(block(1, 1, [0])), "b": binary(nothing, presence=0.1), "c": binary(block(1))}
    result, chosen = select(inputs, clip_of(Annotated(e0=nothing), ("0",)), rule="oracle")
    assert chosen == "b" and result.presence == 0.1 and result.notes["J&F"]["b"] == 1


def test_an_oracle_without_truth():
    step = OPS["select"]("s", inputs=NAMES, rule="oracle")
    assert step.reads_truth and not OPS["select"]("s", inputs=NAMES).reads_truth
    for clip in (clip_of(), clip_of(Annotated())):
        (line,) = step.problems(clip)
        assert "no ground truth" in line and "steps.s=null" in line
    partly = clip_of(Annotated(e1=block(1)))
    assert step.problems(partly) == []
    inputs = {name: {e: binary(block(i)) for e in "01"} for i, name in enumerate(NAMES)}
    result = step.run(partly, inputs)
    assert {e: s.notes["chosen"] for e, s in result.items()} == {"0": "a", "1": "b"}
    assert "no ground truth" in result["0"].notes["reason"]


def test_the_fingerprint_of_an_oracle_is_that_of_its_truth():
    step = OPS["select"]("s", inputs=NAMES, rule="oracle")
    clips = [clip_of(t) for t in (None, Annotated(e0=block(1)), Annotated(e0=block(2)), Annotated(e1=block(1)))]
    assert len({step.fingerprint(clip) for clip in clips}) == 4
    medoid = OPS["select"]("s", inputs=NAMES)
    assert len({medoid.fingerprint(clip) for clip in clips}) == 1
    assert medoid.fingerprint(clips[0]) != OPS["select"]("s", inputs=["x", "b", "c"]).fingerprint(clips[0])


# ---------------------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("op", "values", "part"),
    [
        ("select", {"rule": "medioid"}, "one of medoid, best, cascade, oracle"),
        ("select", {"weights": [1, 2]}, "2 weights for 3 inputs"),
        ("select", {"weights": [0, 0, 0]}, "not all 0"),
        ("select", {"rule": "best", "by": "file"}, "`by: file` needs `file`"),
        ("select", {"rule": "cascade"}, "needs `doubt`, one or several of score, empty, jump, agreement"),
        ("select", {"rule": "cascade", "doubt": {"empty": False}}, "needs `doubt`"),
        ("select", {"rule": "cascade", "doubt": {"scores": 0.5}}, "did you mean `score`"),
        ("select", {"rule": "cascade", "doubt": {"jump": 0.5}}, "above 1"),
        ("consensus", {"threshold": 4}, "a count lies in 1..3"),
        ("consensus", {"threshold": 1.5}, "threshold"),
        ("consensus", {"threshold": None}, "threshold"),
        ("consensus", {"weights": [1, 0, 1]}, "weights"),
        ("consensus", {"weights": [1, 1]}, "2 weights for 3"),
        ("consensus", {"min_iou": 1.5}, "min_iou"),
    ],
)
def test_wrong_settings(op, values, part):
    assert part in problems_of(op, inputs=NAMES, **values)


def test_without_an_input():
    step = OPS["select"]("s", inputs=NAMES, weights=[1, 2, 3])
    assert step.without(["b"]) == {"inputs": ["a", "c"], "weights": [1, 3]}
    assert step.without(NAMES) is None and step.replacement == "a"
    assert OPS["consensus"]("s", inputs=NAMES).without(["a"]) == {"inputs": ["b", "c"]}


# --------------------------------------------------------------------------------------------------------- consensus
def naive_consensus(stack, min_iou, threshold, weights):
    """The voters and their vote, pixel by pixel, with the agreement of `select`."""
    n = range(len(stack))

    def agreement(i, j):
        ious = [
            (a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in zip(stack[i], stack[j], strict=True)
        ]
        return float(np.mean(ious))

    values = [sum(weights[j] * agreement(i, j) for j in n) for i in n]
    best = next(i for i in n if values[i] >= max(values) - 1e-12)
    voters = [i for i in n if i == best or agreement(best, i) >= min_iou]
    total = sum(weights[i] for i in voters)
    needed = min(threshold, total) if isinstance(threshold, int) else threshold * total
    return best, voters, sum(weights[i] * stack[i].astype(int) for i in voters) >= needed - 1e-9


@quick
@given(
    arrays(bool, (3, T, *SIZE)),
    st.sampled_from([0.0, 0.2, 0.31, 0.9]),
    st.sampled_from([1, 2, 3, 0.5, 0.75, 1.0]),
    st.lists(st.integers(1, 2), min_size=3, max_size=3),
)
def test_consensus_is_the_definition(stack, min_iou, threshold, weights):
    inputs = {name: {"0": binary(m, presence=p)} for name, m, p in zip(NAMES, stack, (0.0, 0.5, 1.0), strict=True)}
    step = OPS["consensus"]("s", inputs=NAMES, min_iou=min_iou, threshold=threshold, weights=weights)
    (result,) = step.run(clip_of(expressions=("0",)), inputs).values()
    best, voters, masks = naive_consensus(stack, min_iou, threshold, weights)
    assert (result.notes["medoid"], result.notes["voters"]) == (NAMES[best], [NAMES[i] for i in voters])
    assert all(np.array_equal(result.mask(t), masks[t]) for t in range(T))
    presence = np.average([(0.0, 0.5, 1.0)[i] for i in voters], weights=[weights[i] for i in voters])
    assert result.presence == pytest.approx(presence)
    assert isinstance(result.masks, PackedMasks) and result.scores.shape == (T,)


def test_an_outlier_does_not_vote():
    inputs = {"a": {"0": binary(block(0))}, "b": {"0": binary(block(0, 4))}, "c": {"0": binary(block(6))}}
    step = OPS["consensus"]("s", inputs=NAMES, threshold=1)
    (result,) = step.run(clip_of(expressions=("0",)), inputs).values()
    assert same(result, binary(block(0, 4))) and result.notes["voters"] == ["a", "b"]
    assert result.notes["votes"] == "1 of 2"
    lonely = OPS["consensus"]("s", inputs=NAMES, threshold=3, min_iou=1.0)
    (result,) = lonely.run(clip_of(expressions=("0",)), inputs).values()
    assert same(result, binary(block(0))) and result.notes["votes"] == "1 of 1", "the medoid alone is its own vote"


def test_with_min_iou_0_it_is_the_vote_of_all():
    inputs = {name: {"0": binary(block(i))} for i, name in enumerate(NAMES)}
    clip = clip_of(expressions=("0",))
    for threshold in (2, 0.5, 1.0):
        (vote,) = OPS["vote"]("v", inputs=NAMES, threshold=threshold).run(clip, inputs).values()
        (fused,) = OPS["consensus"]("s", inputs=NAMES, threshold=threshold, min_iou=0).run(clip, inputs).values()
        assert same(vote, fused) and vote.scores.tolist() == fused.scores.tolist()
