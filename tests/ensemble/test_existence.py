"""Existence of expressions: the rules against counting votes, and `expected_final` against brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvos_ensemble.ensemble.fusion.existence import RULES, expected_final_tau, fused_presence
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore, existence

presences = st.lists(st.none() | st.floats(0, 1), max_size=6)


@given(presences, st.floats(0, 1), st.integers(1, 4))
def test_rules_count_the_jurors_who_say_absent(jurors, tau, k):
    known = [p for p in jurors if p is not None]
    votes = sum(p < tau for p in known)
    expected = {"any_absent": votes >= 1, "all_absent": 0 < votes == len(known), "k_absent": votes >= k}
    for rule, emptied in expected.items():
        fused = fused_presence(jurors, rule, k)
        assert (fused is not None and fused < tau) == emptied
        assert fused is None or fused in known


@given(presences, st.data())
def test_the_mean_is_that_of_copies(jurors, data):
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(jurors), max_size=len(jurors)))
    copies = [p for p, w in zip(jurors, weights, strict=True) for _ in range(w) if p is not None]
    for rule in ("mean", "expected_final"):
        fused = fused_presence(jurors, rule, weights=weights)
        assert fused is None if not copies else fused == pytest.approx(np.mean(copies))


@given(st.permutations([0.125, None, 0.5, 0.75]))
def test_the_order_of_jurors_does_not_matter(jurors):
    found = [fused_presence(jurors, rule, 2) for rule in RULES]
    assert found == [0.125, 0.75, 0.5, pytest.approx(1.375 / 3), pytest.approx(1.375 / 3)]


def test_wrong_rules_are_refused():
    with pytest.raises(ValueError, match="any_absent"):
        fused_presence([1.0], "any")
    for k in (None, 0):
        with pytest.raises(ValueError, match="number of jurors"):
            fused_presence([1.0], "k_absent", k)


def final(no_target, emptied, jf, over) -> float:
    """Final by the metric's own definition; an expression without a target scores 1 if emptied, else 0."""
    scores = [
        ExpressionScore(*(2 * [float(e) if z else (0.0 if e else q)]), no_target=z, empty=e)
        for z, e, q in zip(no_target, emptied, jf, strict=True)
    ]
    mean = np.mean([s.JF for s in scores if over == "all" or not s.no_target])
    return existence(scores, mean).Final


def expected(worlds, emptied, jf, over) -> float:
    """The expected Final of a choice over worlds [(probability, no_target of every expression)]."""
    return sum(chance * final(no_target, emptied, jf, over) for chance, no_target in worlds)


def best_of_all(worlds, jf, over) -> float:
    return max(expected(worlds, emptied, jf, over) for emptied in product((False, True), repeat=len(jf)))


def by_rule(worlds, jf, share, over) -> list[bool]:
    absent = sum(chance * np.array(no_target, float) for chance, no_target in worlds)
    return [1 - p < expected_final_tau(q, share, over) for p, q in zip(absent, jf, strict=True)]


@pytest.mark.parametrize("over", ["all", "targets"])
@pytest.mark.parametrize("n, n0", [(2, 1), (4, 1), (5, 2), (6, 4)])
def test_expected_final_is_the_best_of_all_choices_where_the_counts_are_fixed(n, n0, over):
    """Targets that depend on each other in any way: a random probability of every world with n0 of n without one."""
    rng = np.random.default_rng(n * 10 + n0)
    for sharpness in (0.1, 1.0, 10.0):
        subsets = [z for z in product((False, True), repeat=n) if sum(z) == n0]
        worlds = list(zip(rng.dirichlet([sharpness] * len(subsets)), subsets, strict=True))
        jf = rng.random(n)
        assert expected(worlds, by_rule(worlds, jf, n0 / n, over), jf, over) == pytest.approx(
            best_of_all(worlds, jf, over), abs=1e-12
        )


def test_expected_final_is_almost_the_best_where_the_counts_are_uncertain():
    """Independent targets: the rule is first-order only, and loses little."""
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(8):
        n = 5
        absent, jf = rng.beta(0.5, 1, n), rng.random(n)
        worlds = [
            (float(np.prod(np.where(z, absent, 1 - absent))), z)
            for z in product((False, True), repeat=n)
            if 0 < sum(z) < n  # otherwise Final is not defined
        ]
        total = sum(chance for chance, _ in worlds)
        worlds = [(chance / total, z) for chance, z in worlds]
        share = sum(chance * sum(z) for chance, z in worlds) / n
        losses.append(best_of_all(worlds, jf, "all") - expected(worlds, by_rule(worlds, jf, share, "all"), jf, "all"))
    assert min(losses) >= -1e-12 and np.mean(losses) < 0.002 and max(losses) < 0.015


@given(st.floats(0, 1), st.floats(0.01, 0.99), st.integers(1, 1000), st.sampled_from(["all", "targets"]))
def test_the_closed_form_is_where_the_gain_changes_sign_whatever_the_number(jf, share, n, over):
    tau = expected_final_tau(jf, share, over)
    n0, n1 = share * n, (1 - share) * n
    p = 1 - tau
    gain = p / n0 - (1 - p) / n1
    gain += (p - (1 - p) * jf) / n if over == "all" else -(1 - p) * jf / n1
    assert gain * n == pytest.approx(0, abs=1e-6 / share / (1 - share))
