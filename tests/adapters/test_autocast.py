"""Segmenters in bfloat16: weights are converted once, and the masks are those of autocast to the last bit."""

import numpy as np
import pytest
from helpers.low_precision import autocast_alone, converted

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.ensemble.recipe.components import make_component

SIZE, T = (48, 80), 2
WORDS = ("the red square", "the large blue circle that moves")


class Images:
    """A bright square that moves over noise."""

    size = SIZE

    def read(self, t):
        image = np.random.default_rng(0).integers(0, 120, (*SIZE, 3), np.uint8)
        image[12:36, 10 + 20 * t : 34 + 20 * t] = (250, 40, 30)
        return image


CLIP = Clip("v", ("0", "1"), tuple(Expression("v", str(i), s) for i, s in enumerate(WORDS)), Images())


@pytest.mark.parametrize("name", ["soc", "mutr", "referformer", "uninext", "urvos", "objects"])
def test_masks_are_those_of_autocast(name):
    weights = "candidates_real" if name == "objects" else f"{name}_nano"

    def run():
        adapter = make_component("adapter", {"adapter": name, "weights": weights, "precision": "bf16"}, "x")
        prediction = adapter.predict(CLIP)
        network = adapter.segmenter.network if hasattr(adapter, "segmenter") else adapter.network
        return network, {e: [s.prob_at(t) for t in range(T)] for e, s in prediction.items()}

    with autocast_alone():
        network, plain = run()
    assert converted(network) == 0
    network, found = run()
    assert converted(network) > 0.4 and found.keys() == plain.keys() and len(found) > 0
    for e in found:
        np.testing.assert_array_equal(found[e], plain[e])
