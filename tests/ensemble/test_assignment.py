"""The assignment of proposals to objects, against all permutations."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rvos_ensemble.ensemble.metrics.protocols.label_maps.matching import assign

tables = st.tuples(st.integers(0, 3), st.integers(0, 4)).flatmap(
    lambda n: hnp.arrays(float, (n[0] + n[1], n[1]), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]))
)


def best(value):
    """The greatest sum of one value per column, with no row used twice."""
    columns = range(value.shape[1])
    return max(sum(value[r, c] for c, r in enumerate(rows)) for rows in permutations(range(len(value)), len(columns)))


@given(tables)
@settings(max_examples=300, deadline=None)
def test_no_other_assignment_is_worth_more(value):
    rows = assign(value)
    assert len(set(rows)) == len(rows) == value.shape[1]
    assert sum(value[r, c] for c, r in enumerate(rows)) == pytest.approx(best(value), abs=1e-12)


def test_a_permutation_is_found_among_twenty():
    rng = np.random.default_rng(0)
    order = rng.permutation(20)
    value = rng.random((20, 20)) * 0.4
    value[order, range(20)] = 0.5
    assert assign(value) == order.tolist()


def test_ties_are_resolved_as_in_scipy():
    """As the official evaluation resolves them, with `linear_sum_assignment(-value)` of SciPy 1.17."""
    assert assign(np.zeros((4, 3))) == [0, 1, 2]
    assert assign(np.float64([[0.5, 1, 0.5], [0, 1, 0.5], [1, 0, 0.5]])) == [2, 1, 0]  # [2, 0, 1] is worth as much
    assert assign(np.float64([[1, 0, 0], [0.5, 1, 0], [1, 0.5, 0], [0.5, 1, 1], [1, 0, 0]])) == [0, 1, 3]


def test_more_objects_than_proposals_need_padding():
    with pytest.raises(ValueError, match="pad with rows"):
        assign(np.zeros((1, 2)))
