"""Weights of votes: decimals are exact, names mean the same as an order, and what cannot be counted is refused."""

from fractions import Fraction
from math import lcm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.ablation import weights as search
from rvos_ensemble.ensemble.steps.average import Average
from rvos_ensemble.ensemble.steps.consensus import Consensus
from rvos_ensemble.ensemble.steps.select import Select
from rvos_ensemble.ensemble.steps.vote import Vote

DECIMALS = st.decimals(min_value=0, max_value=20, places=3).map(lambda d: (float(d), Fraction(str(d))))


@given(st.lists(DECIMALS, min_size=1, max_size=3), st.integers(1, 1000), st.integers(0, 2**32))
def test_decimals_are_exact(weights, share, seed):
    """Against sums of Python's fractions, which no rounding can reach; 0.1 + 0.2 >= 0.3 holds."""
    floats, exact = [w for w, _ in weights], [w for _, w in weights]
    if not any(exact):
        return
    masks = np.random.default_rng(seed).random((len(weights), 4, 5)) > 0.5
    sums = sum((m.astype(object) * w for m, w in zip(masks, exact, strict=True)), np.zeros((4, 5), object))
    votes, scale = fusion.whole_votes(len(masks), floats)
    assert scale == lcm(*(w.denominator for w in exact)) and votes == [w * scale for w in exact]
    assert (fusion.vote_map(list(masks), floats) == sums * scale).all()
    assert (fusion.vote(list(masks), share / 1000, floats) == (sums >= Fraction(share, 1000) * sum(exact))).all()
    for count in {1, int(sum(exact))} - {0}:  # a count is a sum of weights
        if count <= sum(exact):
            assert (fusion.vote(list(masks), count, floats) == (sums >= count)).all()


def test_floats_would_be_wrong():
    weights, all_of_them = [0.7, 0.1, 0.1, 0.1], [np.array([[True]])] * 4
    assert sum(weights) < 1, "in floats"
    assert fusion.vote(all_of_them, 1, weights).all() and fusion.vote(all_of_them, 1.0, weights).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.1234567, 0.3], "4234567 votes, at most 65535 can be counted, and these decimals need so many to be exact"),
        ([1e-300, 1], "more than a billion votes, at most 65535"),
        ([65535, 1], "65536 votes, at most 65535 can be counted$"),
        ([0.5, float("inf")], "numbers >= 0"),
        ([0.5, -0.5], "numbers >= 0"),
        ([0.0, 0.0], "not all 0"),
        ([True, 1], "numbers >= 0"),
        (["0.5", 1], "numbers >= 0"),
        ([0.5], "1 weights for 2 masks"),
    ],
)
def test_weights_that_cannot_be_counted(weights, message):
    with pytest.raises(ValueError, match=message):
        fusion.whole_votes(2, weights)


def test_the_largest_number_of_votes_is_counted():
    mask = np.array([[True]])
    assert fusion.vote_map([mask, mask], [65534, 1]).item() == 65535
    assert fusion.vote_map([mask, mask], [65.534, 0.001]).item() == 65535
    assert fusion.whole_votes(2, [np.int64(2), np.float64(0.5)]) == ([4, 1], 2)
    assert fusion.whole_votes(2, [Fraction(1, 3), 1]) == ([1, 3], 3)


# ---------------------------------------------------------------------------------------------------------------- steps
def of(step, **settings):
    return step("s", inputs=["b", "a"], **settings).settings.weights


@pytest.mark.parametrize("step", [Vote, Consensus, Average, Select])
def test_weights_by_name(step):
    more = {"threshold": 0.5} if step is Vote else {}
    assert of(step, weights={"a": 0.7, "b": 0.3}, **more) == [0.3, 0.7]
    assert of(step, weights=[0.3, 0.7], **more) == [0.3, 0.7]
    for weights, message in (
        ({"a": 1}, "weights: none for b; give one for each input"),
        ({"a": 1, "b": 2, "cc": 3}, "weights: unknown key `cc`. Valid: a, b"),
        ({"a": 1, "b": "x"}, "expected a list of 1 or more of: .*, or {input: weight}"),
        ([1], "1 weights for 2"),
    ):
        with pytest.raises(InputError, match=message):
            of(step, weights=weights, **more)


def clip_with(masks: dict[str, np.ndarray]):
    """A clip of one expression, and predictions of masks bool [T, H, W]."""
    t, h, w = next(iter(masks.values())).shape
    clip = Clip("v", tuple(map(str, range(t))), (Expression("v", "0", ""),), NoPictures("none", known=(h, w)))
    return clip, {name: {"0": MaskSequence.binary(list(m))} for name, m in masks.items()}


@pytest.mark.parametrize(("threshold", "needed"), [(0.5, 5), (0.51, 6), (1, 10), (0.7, 7), (0.3, 3)])
def test_a_weighted_vote(threshold, needed):
    a, b = np.array([[[1, 1, 0, 0]]], bool), np.array([[[0, 1, 1, 0]]], bool)
    clip, inputs = clip_with({"a": a, "b": b})
    step = Vote("s", inputs=["b", "a"], weights={"a": 0.7, "b": 0.3}, threshold=threshold)
    fused = step.run(clip, inputs)["0"]
    votes = 7 * a[0].astype(int) + 3 * b[0]
    assert (fused.mask(0) == (votes >= needed)).all() and fused.notes["votes"] == f"{needed} of 10"
    assert fused.scores[0] == pytest.approx(votes[votes >= needed].mean() / 10)
    kept = step.vote_map().run(clip, inputs)["0"]
    assert kept.total == 10 and (kept.masks[0] == votes).all() and step.votes_needed(clip, 1, kept.total) == needed
    assert step.describe() == f"vote of b x 0.3, a x 0.7, >= {threshold}"


def test_a_count_is_a_sum_of_weights():
    clip, _ = clip_with({"a": np.zeros((1, 2, 2), bool)})
    settings = {"inputs": ["a", "b"], "weights": {"a": 0.7, "b": 0.3}}
    assert Vote("s", **settings, threshold=1).problems(clip) == []
    (problem,) = Vote("s", **settings, threshold=2).problems(clip)
    assert "threshold 2 of weights whose sum is 1: a count lies in 1..1" in problem


def test_consensus_counts_decimals():
    a = np.array([[[1, 1, 0, 0]]], bool)
    clip, inputs = clip_with({"a": a, "b": a | np.array([[[0, 0, 1, 0]]], bool), "c": ~a})
    weights = {"a": 0.5, "b": 0.25, "c": 0.25}
    step = Consensus("s", inputs=["a", "b", "c"], weights=weights, threshold=1)
    fused = step.run(clip, inputs)["0"]
    assert fused.notes["voters"] == ["a", "b"] and fused.notes["votes"] == "3 of 3", "they have less than a weight of 1"
    assert (fused.mask(0) == a[0]).all()


def test_an_input_that_is_replaced_keeps_its_weight():
    step = Vote("s", inputs=["a", "b"], weights={"a": 0.7, "b": 0.3}, threshold=0.5)
    assert step.reading({"a": "c"}) == {"inputs": ["c", "b"], "weights": [0.7, 0.3]}
    assert step.without(["a"]) == {"inputs": ["b"], "weights": [0.3]}


def test_a_search_starts_from_decimals():
    tried = search.search((0.6, 0.2), [0, 1, 2], 64, 0, True, lambda ws: [0.0] * len(ws))
    assert next(iter(tried)) == (3, 1) and (1, 1) in tried
    tried = search.search((0.6, 0.2), [0, 1], 64, 0, False, lambda ws: [0.0] * len(ws))
    assert next(iter(tried)) == (0.6, 0.2), "with a count as threshold, weights are not changed"
