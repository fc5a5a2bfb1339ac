"""SAM 2, EdgeTAM and SAM 3 in bfloat16: weights are converted once, and the masks are those of autocast."""

import numpy as np
import pytest
from helpers.low_precision import autocast_alone, converted
from helpers.sam_models import quick_sam, sam_model
from helpers.tiny_sam import KINDS
from test_propagate import moving_disc

from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.sam.sweep import SamSweep


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_those_of_autocast(kind):
    clip, truth = moving_disc(3)
    images = clip.images.images

    def run():
        model = sam_model(quick_sam(kind), kind, precision="bf16")
        sweep = SamSweep(model, images.shape[1:3], len(images))
        results = [sweep.step(Frame(t, images[t]), {0: truth[0]} if t == 0 else {})[0] for t in range(3)]
        return model.network.model, [np.asarray(mask) for mask in results]

    with autocast_alone():
        network, plain = run()
    assert converted(network) == 0
    network, found = run()
    assert converted(network) > 0.3
    np.testing.assert_array_equal(found, plain)
