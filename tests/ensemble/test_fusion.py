"""Fusion against naive loops, its algebra, and the arrays that it refuses."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rvos_ensemble.adapters.core.masks import MaskSequence, quantise
from rvos_ensemble.adapters.core.overlap import EMPTY_IS_EQUAL, EMPTY_IS_NO_EVIDENCE, iou
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.fusion.same_object import neighbour_ious
from rvos_ensemble.ensemble.fusion.tracklets import tracklet_iou
from rvos_ensemble.ensemble.metrics.jf import j_and_f
from rvos_ensemble.propagators.core.mask_quality import agreement

masks_strategy = st.integers(1, 6).flatmap(lambda n: arrays(bool, (n, 5, 7)))


def naive_vote(masks, weights, threshold):
    """The definition, pixel by pixel, with fractions."""
    out = np.zeros(masks[0].shape, bool)
    total = sum(weights)
    needed = Fraction(repr(threshold)) * total if isinstance(threshold, float) else threshold
    for y, x in product(*map(range, out.shape)):
        out[y, x] = sum(w for m, w in zip(masks, weights, strict=True) if m[y, x]) >= needed
    return out


@settings(deadline=None)
@given(masks_strategy, st.data())
def test_vote_is_the_definition(masks, data):
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(masks), max_size=len(masks)).filter(any))
    threshold = data.draw(
        st.one_of(st.integers(1, sum(weights)), st.sampled_from([0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 1.0]))
    )
    assert np.array_equal(fusion.vote(list(masks), threshold, weights), naive_vote(masks, weights, threshold))


@given(masks_strategy, st.randoms(use_true_random=False))
def test_vote_algebra(masks, random):
    n = len(masks)
    union, intersection = np.logical_or.reduce(masks), np.logical_and.reduce(masks)
    assert np.array_equal(fusion.vote(masks, 1), union)
    assert np.array_equal(fusion.vote(masks, n), intersection)
    shuffled = list(masks)
    random.shuffle(shuffled)
    previous = union
    for threshold in range(1, n + 1):
        fused = fusion.vote(masks, threshold)
        assert not (fused & ~previous).any(), "a higher threshold can only take pixels away"
        assert np.array_equal(fused, fusion.vote(shuffled, threshold)), "order of the models does not matter"
        previous = fused
    assert np.array_equal(fusion.vote(masks, 1, weights=[2] * n), union)


@pytest.mark.parametrize(
    ("share", "total", "needed"),
    [(0.5, 6, 3), (0.5, 8, 4), (0.5, 3, 2), (0.75, 4, 3), (0.7, 10, 7), (0.3, 10, 3), (1.0, 7, 7), (0.01, 5, 1)],
)
def test_share_is_the_decimal_that_is_written(share, total, needed):
    assert fusion.votes_needed(share, total) == needed


def test_more_than_255_votes_do_not_wrap():
    masks = [np.ones((2, 2), bool)] * 300
    assert fusion.vote_map(masks).tolist() == [[300, 300]] * 2
    assert fusion.vote_map(masks[:2], weights=[200, 100]).max() == 300


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: fusion.vote([], 1), "no masks"),
        (lambda m: fusion.vote([m, m], 3), "a count lies in 1..2"),
        (lambda m: fusion.vote([m, m], 0), "a count lies in 1..2"),
        (lambda m: fusion.vote([m, m], 0.0), r"lies in \(0, 1\]"),
        (lambda m: fusion.vote([m, m], 1.5), r"lies in \(0, 1\]"),
        (lambda m: fusion.vote([m, m[:1]], 1), "different shapes"),
        (lambda m: fusion.vote_map([m, m], [1]), "1 weights for 2 masks"),
        (lambda m: fusion.vote_map([m, m], [1, -1]), "numbers >= 0"),
        (lambda m: fusion.vote_map([m, m], [0, 0]), "not all 0"),
        (lambda m: fusion.vote_map([m, m], [0.5, float("nan")]), "numbers >= 0"),
        (lambda m: fusion.soft_average([m.astype(np.uint8)], [1, 2]), "2 weights for 1 maps"),
    ],
)
def test_what_cannot_be_fused_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 2), bool))


PART = np.array([[True, False], [True, True]])


@pytest.mark.parametrize(
    "mask",
    [
        PART,
        PART.astype(np.uint8),
        PART.astype(np.uint8) * np.uint8(255),
        PART.astype(np.int64),
        PART.astype(np.int32) * 255,
        PART.tolist(),
    ],
    ids=["bool", "uint8 0/1", "uint8 0/255", "int64 0/1", "int32 0/255", "lists"],
)
def test_masks_may_be_bool_or_integers_of_two_values(mask):
    empty = np.zeros_like(np.asarray(mask))
    assert fusion.vote_map([mask, PART, empty], [1, 2, 1]).tolist() == [[3, 0], [3, 3]]
    assert np.array_equal(fusion.vote([mask, empty], 1), PART)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (PART.astype(np.float32), r"masks\[1\] has dtype float32, expected bool, or integers .* `probability > 0.5`"),
        (PART * 0.3, r"masks\[1\] has dtype float64"),
        (np.uint8([[0, 1], [2, 0]]), r"masks\[1\] of dtype uint8 holds the values 0, 1, 2, .* `labels == 1`"),
        (np.uint8([[0, 1], [255, 0]]), "holds the values 0, 1, 255"),
        (np.uint8([[0, 3], [3, 0]]), "holds the values 0, 3"),
        (-PART.astype(np.int64), "holds the values -1, 0"),
        (PART.astype(str), "has dtype <U5"),
    ],
)
def test_votes_of_what_is_not_a_mask_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        fusion.vote_map([PART, mask])
    with pytest.raises(ValueError, match=message):
        fusion.vote([PART, mask], 1)


@pytest.mark.parametrize("average", [fusion.soft_average, fusion.gated_average])
def test_probabilities_are_uint8_or_masks(average):
    """Floats in [0, 1] would be read as values of 0..255."""
    soft = np.uint8([[200, 0], [255, 180]])
    for wrong in (np.float32([[0.8, 0], [1, 0.7]]), np.float64(soft)):
        with pytest.raises(ValueError, match=rf"probs\[1\] has dtype {wrong.dtype}, expected uint8 .* `.*quantise`"):
            average([soft, wrong])
    with pytest.raises(ValueError, match=r"probs\[0\] has dtype int64, expected uint8 \(0..255 means 0..1\) or bool$"):
        average([soft.astype(np.int64), soft])
    assert average([PART, quantise(np.float32([[0.8, 0], [1, 0.7]]))]).tolist() == [[229, 0], [255, 216]]
    assert average([PART, PART]).tolist() == [[255, 0], [255, 255]]


def test_a_mean_inside_needs_a_mask():
    values = np.uint8([[9, 5], [1, 2]])
    assert fusion.mean_inside(values, PART) == 4 and fusion.mean_inside(values, ~PART & PART) == 0
    with pytest.raises(ValueError, match="mask has dtype uint8, expected bool"):
        fusion.mean_inside(values, PART.astype(np.uint8))


def test_two_empty_masks_by_the_convention_of_the_caller():
    """Equal for scores and gates, no evidence for grouping, duplicates and agreement; see adapters/core/overlap.py."""
    empty = np.zeros((1, 2, 2), bool)
    sequence = MaskSequence.binary(empty)
    assert iou(empty, empty) == iou(empty, empty, EMPTY_IS_EQUAL) == 1
    assert iou(empty, empty, EMPTY_IS_NO_EVIDENCE) == 0
    assert j_and_f(empty[0], empty[0]) == (1, 1)
    assert neighbour_ious([{"0": sequence, "1": sequence}], ["0", "1"]).tolist() == [[0]]
    assert tracklet_iou([sequence, sequence]).tolist() == [[0, 0], [0, 0]]
    assert agreement([sequence, sequence]).tolist() == [0]
    blank, soft = np.zeros((2, 2), np.uint8), np.full((2, 2), 100, np.uint8)
    assert fusion.gated_average([blank, soft], 0.9).tolist() == [[50, 50], [50, 50]], "two empty masks agree"


@given(arrays(np.uint8, (3, 4, 4)), st.lists(st.floats(0.1, 5), min_size=3, max_size=3))
def test_soft_average_is_the_mean_and_keeps_its_side_of_a_half(probs, weights):
    exact = np.average(probs.astype(np.float64), axis=0, weights=weights)
    found = fusion.soft_average(list(probs), weights)
    assert np.abs(found - exact).max() <= 0.5 + 1e-3
    clear = np.abs(exact - 127.5) > 1e-3
    assert np.array_equal((found > 127)[clear], (exact > 127.5)[clear])


def test_gated_average_takes_only_those_that_agree():
    disc = np.zeros((20, 20), np.uint8)
    disc[5:15, 5:15] = 255
    near, far = disc.copy(), np.roll(disc, 5, axis=1)
    near[5, 5] = 0
    fused = fusion.gated_average([disc, near, far])
    assert fused[5, 5] == 127 and fused[6, 6] == 255  # the mean of two, not of three: 127.5 is no majority
    assert np.array_equal(fusion.gated_average([disc, far]), disc)


def test_union_where_propagation_lost_an_object():
    original = np.array([30, 30, 30, 0])
    assert fusion.prefers_union(original, np.array([10, 10, 30, 90]), 2 / 3, 0.5)
    assert not fusion.prefers_union(original, np.array([10, 30, 30, 90]), 2 / 3, 0.5)
    assert not fusion.prefers_union(original, np.array([20, 20, 20, 0]), 2 / 3, 0.5), "exactly 2/3 is not lost"
