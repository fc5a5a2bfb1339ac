"""The winners' vote arithmetic against an independent naive implementation of what their scripts do.

Written from ../shared/facts/peers.md, section 1.2 a and l: binarise each source, pair expressions (2i, 2i + 1), sum in
float32, `>= threshold`, write to both; left-over expressions by their own rule.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.ensemble.recipe import recipe as recipes
from rvos_ensemble.ensemble.steps.vote import Vote

H, W = 6, 9


class Blank:
    size = (H, W)


def sigmoid(x):
    return np.float32(1) / (np.float32(1) + np.exp(-np.float32(x)))


def winners_script(sources, count, threshold, leftover, double_sigmoid=False):
    """{expression: float32 masks [T, H, W]}; sources: per model [expression][T, H, W] probabilities in 0..1."""
    results = {}
    for i in range(count // 2):
        total = np.zeros(sources[0][0].shape, np.float32)
        for model in sources:
            for e in (2 * i, 2 * i + 1):
                total = total + np.where(model[e] > 0.5, 1.0, 0.0).astype(np.float32)
        fused = np.where(total >= threshold, 1.0, 0.0)
        results[2 * i], results[2 * i + 1] = fused, fused
    if count % 2:
        last = count - 1
        if leftover == "first":
            alone = sources[0][last]
            results[last] = np.where((sigmoid(alone) if double_sigmoid else alone) > 0.5, 1.0, 0.0)
        else:
            total = sum(np.where(model[last] > 0.5, 1.0, 0.0) for model in sources)
            results[last] = np.where(total >= leftover, 1.0, 0.0)
    return results


def ours(step, sources, count, frames):
    expressions = tuple(Expression("v", str(i), "a dog") for i in range(count))
    clip = Clip("v", tuple(map(str, range(frames))), expressions, Blank())
    inputs = {
        name: {str(e): MaskSequence.prob((model[e] * 255).astype(np.uint8)) for e in range(count)}
        for name, model in zip(step.inputs, sources, strict=True)
    }
    return step.run(clip, inputs)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["fuse_a", "fuse_b", "en2", "final"]),
    st.integers(1, 7),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_votes_of_the_recipe_are_the_scripts(name, count, frames, double_sigmoid, seed):
    step = STEPS[name]
    if name == "fuse_b":
        step = Vote(name, **{**vars(step.settings), "leftover_double_sigmoid": double_sigmoid})
    random = np.random.default_rng(seed)
    levels = np.array([0, 1, 127, 128, 255]) / 255  # at both sides of one half, and what a second sigmoid turns on
    sources = [[random.choice(levels, (frames, H, W)) for _ in range(count)] for _ in step.inputs]
    threshold, leftover = {"fuse_a": (3, "first"), "fuse_b": (3, "first"), "en2": (4, 3), "final": (4, 3)}[name]
    expected = winners_script(sources, count, threshold, leftover, double_sigmoid and name == "fuse_b")
    found = ours(step, sources, count, frames)
    for e in range(count):
        masks = np.stack([found[str(e)].mask(t) for t in range(frames)])
        assert np.array_equal(masks, expected[e] == 1), f"expression {e}"


STEPS = recipes.load(["recipe=lsvos2023"]).steps


def test_the_accident_is_off_by_default():
    assert STEPS["fuse_b"].settings.leftover_double_sigmoid is False
    assert all(s.settings.empty_key == "empty" for s in STEPS.values() if s.op == "propagate")


def test_a_count_that_a_left_over_can_never_reach_is_told():
    step = Vote("final", inputs=list("abcd"), across="expressions", threshold=5, grouping={"rule": "pairs"})
    sources = [[np.ones((1, H, W))] for _ in range(4)]
    with pytest.raises(InputError, match=r"a group of 1: threshold 5 of 4 votes: .*set `leftover`"):
        ours(step, sources, 1, 1)
