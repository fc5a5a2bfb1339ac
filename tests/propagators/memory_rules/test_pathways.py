"""SAM2Long's selection against exhaustive search, and the tree of a whole clip against lists of complete histories."""

import gc
import itertools
import math
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvos_ensemble.propagators.core.memory_rules.pathways import Leaf, branches

IOUS = st.sampled_from([0.0, 0.05, 0.101, 0.104, 0.5, 0.51, 0.7, 0.9])
OBJECT_SCORES = st.sampled_from([-9.0, -2.0, -0.5, 0.0, 0.5, 1.9, 2.0, 2.1, 8.0])


@st.composite
def frames(draw):
    """(scores [P], ious [P, K], object scores [P])."""
    p, k = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    numbers = st.lists(st.floats(-5, 0), min_size=p, max_size=p)
    ious = draw(st.lists(IOUS, min_size=p * k, max_size=p * k))
    object_scores = draw(st.lists(OBJECT_SCORES, min_size=p, max_size=p))
    return np.array(draw(numbers)), np.array(ious).reshape(p, k), np.array(object_scores)


@given(frames(), st.integers(1, 4))
def test_the_branches_are_the_best_ones(frame, count):
    scores, ious, object_scores = frame
    got = branches(scores, ious, object_scores, count, uncertainty=2)
    options = list(itertools.product(range(len(scores)), range(ious.shape[1])))
    assert len(got) == len({(b.parent, b.candidate) for b in got}) == min(count, len(options))
    value = {(p, c): scores[p] + math.log(ious[p, c] + 1e-5) for p, c in options}
    assert all(b.score == value[b.parent, b.candidate] for b in got)
    assert [b.score for b in got] == sorted((b.score for b in got), reverse=True)
    assert got[0].score == max(value.values()), "whatever the certainty, the best candidate is a pathway"
    kind = {(p, c): (round(ious[p, c], 2), object_scores[p] > 0) for p, c in options}
    if max(abs(object_scores)) > 2:
        assert [b.score for b in got] == sorted(value.values(), reverse=True)[:count]
    else:
        best = sorted((max(value[o] for o in options if kind[o] == k) for k in set(kind.values())), reverse=True)
        kinds = [kind[b.parent, b.candidate] for b in got]
        assert len(set(kinds)) == min(len(set(kind.values())), count), "as many kinds as possible"
        assert set(best[:count]) <= {b.score for b in got}, "the best one of each kind"


def test_equal_candidates_keep_their_order_and_predictions_below_zero_count_as_zero():
    got = branches(np.zeros(2), np.full((2, 2), 0.5), np.full(2, 9.0), 3, 2)
    assert [(b.parent, b.candidate) for b in got] == [(0, 0), (0, 1), (1, 0)]
    (worst,) = branches(np.zeros(1), np.array([[-0.2]]), np.array([9.0]), 1, 2)
    assert worst.score == math.log(1e-5)


@pytest.mark.parametrize("count, uncertainty", [(1, 2), (3, 2), (3, 0), (2, 100)])
def test_the_tree_of_a_clip_is_that_of_complete_histories(count, uncertainty):
    """Naive: each pathway is the list of its choices from the start; its score is summed anew for every frame."""

    def network(choices):
        """What a pathway sees depends on all its choices."""
        own = np.random.default_rng([7, *choices])
        return own.random(3), own.normal(0, 2)

    histories, paths = [()], [(0.0, None, ())]
    for t in range(12):
        seen = [network(h) for h in histories]
        object_scores = [s for _, s in seen]
        options = [(*h, c) for h in histories for c in range(3)]

        def total(history):
            ious = [network(history[:n])[0][c] for n, c in enumerate(history)]
            return sum(math.log(iou + 1e-5) for iou in ious)

        options.sort(key=total, reverse=True)
        if max(map(abs, object_scores)) <= uncertainty:
            distinct, kinds = [], []
            for option in options:
                iou, score = network(option[:-1])
                if (kind := (round(iou[option[-1]], 2), score > 0)) not in kinds:
                    kinds.append(kind)
                    distinct.append(option)
            options = distinct
        histories = options[:count]

        seen = [network(choices) for _, _, choices in paths]
        chosen = branches(
            np.array([score for score, _, _ in paths]),
            np.array([ious for ious, _ in seen]),
            np.array([score for _, score in seen]),
            count,
            uncertainty,
        )
        paths = [
            (b.score, Leaf(paths[b.parent][1], t, b.candidate), (*paths[b.parent][2], b.candidate)) for b in chosen
        ]
        assert [choices for _, _, choices in paths] == histories
    _, leaf, choices = paths[0]
    assert leaf.history() == dict(enumerate(choices))


def test_frames_of_ended_pathways_are_freed():
    class Value:
        pass

    root = Leaf(None, 0, Value())
    kept, ended = Leaf(root, 1, Value()), Leaf(root, 1, Value())
    there, gone = weakref.ref(root.value), weakref.ref(ended.value)
    del root, ended
    gc.collect()
    assert there() is not None and gone() is None and [*kept.history()] == [1, 0]


def test_a_long_pathway_is_freed_without_recursion():
    leaf = None
    for t in range(50_000):
        leaf = Leaf(leaf, t, t)
    assert len(leaf.history()) == 50_000
    del leaf
