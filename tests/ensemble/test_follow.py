"""The step `follow`: the masks of `propagate` at one half, its scores, and a fraction of its memory."""

import numpy as np
import pytest

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.instances import seed
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.ensemble.steps.follow import Follow
from rvos_ensemble.ensemble.steps.propagate import Propagate
from rvos_ensemble.propagators.core.compressed_masks import CompressedMasks
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.core.rounds.rounds import propagate_in_rounds

T, H, W = 12, 120, 160


class Frames:
    size = (H, W)

    def read(self, t):
        return np.full((H, W, 3), t, np.uint8)


CLIP = Clip("v", tuple(map(str, range(T))), (Expression("v", "0", "a dog"),), Frames())


class Soft(Propagator):
    """Soft masks with noise, as networks give them."""

    def sweep(self, size, sequences):
        return NoisySweep()


class NoisySweep:
    def __init__(self):
        self.masks = {}

    def step(self, frame, given):
        self.masks |= given
        noise = np.random.default_rng(int(frame.image[0, 0, 0])).integers(0, 90, (H, W))
        return {i: np.uint8(np.where(mask, 255 - noise, noise)) for i, mask in self.masks.items()}


def candidates():
    first, second = np.zeros((2, H, W), bool)
    first[20:60, 30:90] = second[70:100, 10:50] = True
    return Objects(a=seed(T, 3, first, 0.9), b=seed(T, 8, second, 0.4), c=seed(T, 3, first, 0.9))


def moved(kind, **settings):
    step = kind("tracks", input="objects", **{"with": "soft", **settings})
    inputs = {"objects": candidates()}
    return step.results(inputs, iter(propagate_in_rounds(CLIP, step.tasks(CLIP, inputs), Soft())))


def test_masks_and_scores_are_those_of_propagate():
    hard, soft = moved(Follow), moved(Propagate, key_frame="given")
    assert isinstance(hard, Objects) and list(hard) == list(soft)
    for name in soft:
        assert hard[name].scores.tolist() == soft[name].scores.tolist()
        assert hard[name].notes == soft[name].notes
        for t in range(T):
            assert np.array_equal(hard[name].mask(t), soft[name].mask(t))
            assert set(np.unique(hard[name].masks[t])) <= {0, 255}
    assert any(len(np.unique(soft["a"].masks[t])) > 100 for t in range(T))


def test_it_takes_a_fraction_of_the_memory():
    hard, soft = (moved(kind, key_frame="given")["a"].masks.nbytes for kind in (Follow, Propagate))
    assert hard < soft / 10


@pytest.mark.slow
def test_ten_minutes_of_many_candidates_fit_into_memory():
    """42 candidates with ragged outlines in 3600 frames of 480x854, six a second, compressed as `follow` keeps them."""
    y, x = np.mgrid[:480, :854]
    angle, far = np.arctan2(y - 240, x - 400), np.hypot(y - 240, x - 400)
    kept = CompressedMasks((480, 854), 50)
    for t in range(50):
        kept[t] = np.uint8(far < 120 + 10 * np.sin(9 * angle + t) + 3 * np.sin(70 * angle - t)) * np.uint8(255)
    assert kept.nbytes / 50 * 42 * 3600 < 1 << 30
