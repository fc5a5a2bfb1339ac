"""The choice of one sequence of several: against naive loops over pixels, and by what must hold for any masks."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.ensemble.fusion.selection import OVERLAPS, agreements, largest_jump, mean_agreement, medoid

stacks = st.integers(1, 5).flatmap(lambda n: arrays(bool, (n, 3, 2, 3)))  # N sequences of 3 frames of 2x3
overlaps = st.sampled_from(OVERLAPS)
quick = settings(max_examples=40)


def sequences_of(stack) -> list[MaskSequence]:
    return [MaskSequence.binary(masks) for masks in stack]


def naive_agreement(a, b, overlap) -> Fraction:
    """The definition with sets of pixels, frame by frame."""
    frames = [
        (set(zip(*np.nonzero(x), strict=True)), set(zip(*np.nonzero(y), strict=True)))
        for x, y in zip(a, b, strict=True)
    ]
    if overlap == "video":
        common, union = sum(len(x & y) for x, y in frames), sum(len(x | y) for x, y in frames)
        return Fraction(common, union) if union else Fraction(1)
    if overlap == "shown":
        frames = [(x, y) for x, y in frames if x or y]
    ious = [Fraction(len(x & y), len(x | y)) if x | y else Fraction(1) for x, y in frames]
    return sum(ious) / len(ious) if ious else Fraction(1)


@quick
@given(stacks, overlaps)
def test_agreements_are_the_definition(stack, overlap):
    wanted = [[float(naive_agreement(a, b, overlap)) for b in stack] for a in stack]
    result = agreements(sequences_of(stack), overlap)
    np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-12)
    assert np.array_equal(result, result.T) and np.array_equal(result.diagonal(), np.ones(len(stack)))


@quick
@given(stacks, overlaps)
def test_the_medoid_has_the_highest_mean_agreement_with_the_others(stack, overlap):
    """argmax_i sum_{j != i} a_ij, exactly; where two are within rounding, either is right."""
    exact = [[naive_agreement(a, b, overlap) for b in stack] for a in stack]
    sums = [sum(row) - row[i] for i, row in enumerate(exact)]
    result = agreements(sequences_of(stack), overlap)
    assert float(max(sums) - sums[medoid(result)]) < 1e-9
    if len(stack) > 1:
        np.testing.assert_allclose(mean_agreement(result), [float(s) / (len(stack) - 1) for s in sums], atol=1e-12)


@quick
@given(stacks, overlaps, st.data())
def test_the_order_of_the_inputs_only_breaks_ties(stack, overlap, data):
    order = data.draw(st.permutations(range(len(stack))))
    weights = data.draw(st.lists(st.integers(1, 4), min_size=len(stack), max_size=len(stack)))
    matrix = agreements(sequences_of(stack), overlap)
    shuffled = matrix[np.ix_(order, order)]
    assert np.array_equal(agreements(sequences_of(stack[order]), overlap), shuffled)
    chosen = order[medoid(shuffled, [weights[i] for i in order])]
    values = matrix @ np.array(weights, float)
    assert values[chosen] == pytest.approx(values[medoid(matrix, weights)], abs=1e-12)
    tied = [i for i in range(len(stack)) if np.array_equal(matrix[i], matrix[medoid(matrix, weights)])]
    assert medoid(matrix, weights) == tied[0], "ties go to the first input"


@quick
@given(stacks, overlaps, st.data())
def test_a_weight_of_k_has_the_effect_of_k_copies(stack, overlap, data):
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(stack), max_size=len(stack)).filter(any))
    copies = np.repeat(np.arange(len(stack)), [max(w, 1) for w in weights])
    of_copies = [float(weights[i] > 0) for i in copies]
    matrix = agreements(sequences_of(stack), overlap)
    assert copies[medoid(matrix[np.ix_(copies, copies)], of_copies)] == medoid(matrix, weights)


@quick
@given(stacks, overlaps, st.data())
def test_a_majority_of_duplicates_wins(stack, overlap, data):
    """More copies of one sequence than there are others: no other can agree more with all."""
    winner = data.draw(st.integers(0, len(stack) - 1))
    crowd = np.concatenate([stack, np.repeat(stack[winner : winner + 1], len(stack), axis=0)])
    chosen = crowd[medoid(agreements(sequences_of(crowd), overlap))]
    assert naive_agreement(chosen, stack[winner], overlap) == 1


def test_a_heavy_source_is_chosen_itself():
    matrix = np.array([[1, 0.1], [0.1, 1]])
    assert [medoid(matrix, w) for w in ([2, 1], [1, 2], [1, 1], [0, 1])] == [0, 1, 0, 1]


def test_empty_sequences_agree_with_each_other_and_outvote_a_mask():
    nothing, something = np.zeros((3, 4, 4), bool), np.ones((3, 4, 4), bool)
    sequences = sequences_of([something, nothing, nothing])
    for overlap in OVERLAPS:
        matrix = agreements(sequences, overlap)
        assert matrix[1, 2] == 1 and matrix[0, 1] == 0 and medoid(matrix) == 1


def test_every_mask_is_read_once():
    reads = []

    def sequence(name):
        def read(t):
            reads.append((name, t))
            return np.full((4, 9), t == name)

        return MaskSequence(LazyMasks((5, 4, 9), np.dtype(bool), read))

    agreements([sequence(0), sequence(1), sequence(2)])
    assert sorted(reads) == [(name, t) for name in range(3) for t in range(5)]


def test_probabilities_count_as_masks_above_one_half():
    soft = MaskSequence.prob(np.uint8([[[127, 128, 255]]]))
    assert agreements([soft, MaskSequence.binary(np.array([[[False, True, True]]]))])[0, 1] == 1


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_the_largest_jump_is_the_definition(areas):
    pairs = [(a, b) for a, b in pairwise(areas) if a and b]
    assert largest_jump(areas) == max([1.0, *(max(a, b) / min(a, b) for a, b in pairs)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: agreements([]), "no masks"),
        (lambda: agreements(sequences_of([np.zeros((2, 3, 4), bool), np.zeros((3, 3, 4), bool)])), "different shapes"),
        (lambda: agreements(sequences_of(np.zeros((1, 2, 3, 4), bool)), "clip"), "frame, shown, video"),
        (lambda: medoid(np.eye(2), [1]), "one weight per input"),
        (lambda: medoid(np.eye(2), [1, -1]), ">= 0"),
        (lambda: medoid(np.eye(2), [0, 0]), "not all 0"),
        (lambda: medoid(np.eye(2), [1, float("nan")]), ">= 0"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
