"""The interval against a naive bootstrap, and its properties."""

import math
import random

import numpy as np
import pytest

from rvos_ensemble.ensemble.metrics.bootstrap import interval_of_means, paired_interval


def naive(differences, seed, resamples):
    """Draws clips one by one, pools their expressions and sorts the means."""
    rng, names = random.Random(seed), list(differences)
    means = []
    for _ in range(resamples):
        pool = [d for name in rng.choices(names, k=len(names)) for d in differences[name]]
        means.append(sum(pool) / len(pool))
    means.sort()
    return means[int(0.025 * resamples)], means[int(0.975 * resamples)]


def clips(seed, number, centre):
    rng = np.random.default_rng(seed)
    return {
        str(i): (centre + rng.normal(0, 0.1) + rng.normal(0, 0.02, rng.integers(1, 7))).tolist() for i in range(number)
    }


@pytest.mark.parametrize(("number", "centre"), [(5, 0.0), (12, 0.05), (40, -0.2)])
def test_equals_a_naive_bootstrap_up_to_chance(number, centre):
    differences = clips(number, number, centre)
    interval, expected = paired_interval(differences, seed=1), naive(differences, 2, 4000)
    width = expected[1] - expected[0]
    assert interval == pytest.approx(expected, abs=0.06 * width)


def test_the_seed_decides_and_the_order_of_clips_does_not():
    differences = clips(3, 10, 0.0)
    backwards = dict(reversed(differences.items()))
    assert paired_interval(differences, seed=5) == paired_interval(backwards, seed=5)
    assert paired_interval(differences, seed=5) != paired_interval(differences, seed=6)


def test_the_interval_covers_the_truth_at_its_level():
    """Clips of a population whose mean difference is 0.03: the 90 % interval contains it in about 90 % of cases."""
    hits = 0
    for seed in range(300):
        low, high = paired_interval(clips(seed, 40, 0.03), seed=0, level=0.9, resamples=500)
        hits += low <= 0.03 <= high
    assert 0.83 <= hits / 300 <= 0.95


def test_the_expressions_of_a_clip_are_no_independent_evidence():
    one = {str(i): [d] for i, d in enumerate([0.3, -0.1, 0.2, 0.0, -0.2])}
    many = {name: d * 50 for name, d in one.items()}
    assert paired_interval(many) == paired_interval(one)


def test_too_few_clips_say_nothing():
    for differences in ({}, {"a": [0.1, 0.2]}, {"a": [0.1], "b": []}):
        assert all(math.isnan(end) for end in paired_interval(differences))


def test_no_difference_is_no_difference():
    assert paired_interval({"a": [0.0, 0.0], "b": [0.0]}) == (0.0, 0.0)


def test_the_mean_of_several_means_uses_only_draws_in_which_each_exists():
    """The second mean has expressions in one of three clips; draws without that clip would divide by 0."""
    first, second = {"a": [0.3], "b": [0.1, 0.2], "c": [0.0]}, {"c": [0.9]}
    low, high = interval_of_means([first, second], resamples=20_000)
    rng, means = random.Random(1), []
    while len(means) < 4000:
        names = rng.choices("abc", k=3)
        pools = [[d for name in names for d in term.get(name, [])] for term in (first, second)]
        if all(pools):
            means.append(sum(sum(pool) / len(pool) for pool in pools) / 2)
    means.sort()
    expected = (means[int(0.025 * len(means))], means[int(0.975 * len(means))])
    assert (low, high) == pytest.approx(expected, abs=0.06 * (expected[1] - expected[0]))
    assert all(math.isnan(end) for end in interval_of_means([first, {}]))
    assert interval_of_means([first]) == paired_interval(first)
