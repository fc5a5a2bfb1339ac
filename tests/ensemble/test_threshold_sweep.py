"""All thresholds in one pass are bit-exact to one by one, and both to the definition."""

import numpy as np
import pytest
from helpers import reference
from helpers.reference import random_mask
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.fusion.bits import pack
from rvos_ensemble.ensemble.metrics import threshold_sweep
from rvos_ensemble.ensemble.metrics.jf import j_and_f
from rvos_ensemble.ensemble.metrics.scores import score_sequence
from rvos_ensemble.ensemble.metrics.threshold_sweep import score_votes
from rvos_ensemble.ensemble.metrics.vote_levels import j_and_f_of_levels, prepare_targets


def random_votes(rng, truth, total):
    """Votes that resemble the truth, one another, or nothing."""
    height, width = truth.shape
    shared, votes = random_mask(rng, height, width), np.zeros((height, width), np.uint8)
    for _ in range(total):
        like = [random_mask(rng, height, width), shared, truth][rng.integers(3)]
        votes += np.roll(like, rng.integers(-4, 5, 2), (0, 1))
    return votes


def check(rng, height, width, total, radius):
    """Compares one vote map with one truth at every threshold; returns the number of thresholds."""
    truth = random_mask(rng, height, width)
    votes = random_votes(rng, truth, total)
    j, f = j_and_f_of_levels(votes, total, prepare_targets(pack(truth[None]), truth.shape, radius)[0])
    single = [j_and_f(votes >= t, truth, radius) for t in range(1, total + 1)]
    assert single == list(zip(j.tolist(), f.tolist(), strict=True))
    return total


def test_thousands_of_pairs_equal_one_by_one_to_the_last_bit():
    rng = np.random.default_rng(0)
    pairs = 0
    while pairs < 6000:
        tallest, widest = rng.choice([2, 12, 40]), rng.choice([2, 20, 70, 210])
        size = int(rng.integers(1, tallest + 1)), int(rng.integers(1, widest + 1))
        pairs += check(rng, *size, int(rng.integers(1, 21)), int(rng.integers(1, 19)))


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 140),
    total=st.integers(1, 16),
    radius=st.integers(0, 20),
)
def test_any_votes_equal_one_by_one(seed, height, width, total, radius):
    check(np.random.default_rng(seed), height, width, total, radius)


def test_equals_the_definition():
    rng = np.random.default_rng(1)
    for _ in range(60):
        height, width, radius = int(rng.integers(1, 25)), int(rng.integers(1, 90)), int(rng.integers(1, 9))
        truth = random_mask(rng, height, width)
        votes = random_votes(rng, truth, 6)
        j, f = j_and_f_of_levels(votes, 6, prepare_targets(pack(truth[None]), truth.shape, radius)[0])
        expected = [reference.j_and_f(votes >= t, truth, radius) for t in range(1, 7)]
        assert expected == list(zip(j.tolist(), f.tolist(), strict=True))


@pytest.mark.parametrize("votes", [0, 3, 7])
@pytest.mark.parametrize("truth", [False, True])
def test_empty_and_full(votes, truth):
    """The pitfalls of the definition: two empty masks score 1, a full and an empty mask have J = 0 and F = 1."""
    sequence = MaskSequence(np.full((1, 9, 65), votes, np.uint8), "votes", total=7)
    target = MaskSequence.binary(np.full((1, 9, 65), truth))
    scores = score_votes({"v": (sequence, range(1, 8))}, target)["v"]
    for t in range(1, 8):
        expected = 1.0 if (votes >= t) == truth else 0.0
        assert (scores[t].J[0], scores[t].F[0]) == (expected, 1.0)


@pytest.mark.parametrize("fewest", [1, 1000])
@pytest.mark.parametrize("size", [(48, 70), (37, 129)])
def test_sequences_by_either_path_equal_evaluation_of_each_threshold(monkeypatch, fewest, size):
    """Two maps of one truth, each with its own thresholds, in any order and beyond the total."""
    monkeypatch.setattr(threshold_sweep, "FEWEST", fewest)
    monkeypatch.setattr(threshold_sweep, "PIXELS_AT_A_TIME", 3 * size[0] * size[1])  # 3 frames, then 1
    rng = np.random.default_rng(2)
    truth = np.stack([random_mask(rng, *size) for _ in range(7)])
    maps = {
        "pair": (MaskSequence(np.stack([random_votes(rng, g, 8) for g in truth]), "votes", total=8), [8, 1, 4, 4, 9]),
        "all": (MaskSequence(np.stack([random_votes(rng, g, 3) for g in truth]), "votes", total=3), [1, 2, 3]),
    }
    found = score_votes(maps, MaskSequence.binary(truth))
    for name, (votes, needed) in maps.items():
        assert sorted(found[name]) == sorted(set(needed))
        for n, scores in found[name].items():
            expected = score_sequence(MaskSequence.binary(votes.masks >= n), MaskSequence.binary(truth))
            assert np.array_equal(scores.J, expected.J) and np.array_equal(scores.F, expected.F)


def test_more_thresholds_than_a_byte_holds_and_sixteen_bit_votes(monkeypatch):
    monkeypatch.setattr(threshold_sweep, "FEWEST", 1)
    rng = np.random.default_rng(3)
    votes = (random_votes(rng, random_mask(rng, 30, 90), 20).astype(np.uint16) * 30)[None]
    truth = random_mask(rng, 30, 90)[None]
    found = score_votes({"v": (MaskSequence(votes, "votes", total=600), range(1, 601))}, MaskSequence.binary(truth))
    for n, scores in found["v"].items():
        assert j_and_f(votes[0] >= n, truth[0]) == (scores.J[0], scores.F[0])


def test_what_is_no_vote_map_is_refused():
    truth = MaskSequence.binary(np.zeros((2, 4, 4), bool))
    votes = MaskSequence(np.zeros((3, 4, 4), np.uint8), "votes", total=2)
    with pytest.raises(InputError) as e:
        score_votes({"binary": (truth, [1]), "long": (votes, [0, 1])}, truth)
    assert len(e.value.problems) == 3
    assert "binary: binary masks" in str(e.value) and "long: 0 votes needed" in str(e.value)
