"""The propagator `flow`, which needs no weights: optical flow, corrected by the appearance and motion of the object.

For each frame and sequence three estimates of "object" are added as log-odds:

    prior       the previous mask, warped by the flow; it has little weight where the forward-backward check fails
    appearance  a ridge regression on random Fourier features of colour and texture, fitted on the key frame and updated
                with its own results: it decides where the flow uncovers pixels, and stops drift
    motion      which of two affine motions explains the flow better, that of the object or that of its surroundings: it
                removes background that has leaked into the mask and does not move with the object

A guided filter then aligns the result with the edges of the image at full resolution.

Sources:
    Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016.
    He and Sun, Fast Guided Filter, arXiv 1505.00996.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rvos_ensemble.adapters.core.settings import choice, number, whole
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.inference.flow.sweep import FlowSweep


class Flow(Propagator):
    """Needs no weights: DIS optical flow with forward-backward check, appearance model and edge alignment."""

    corrects: ClassVar[bool] = True
    # The defaults were chosen on 13 clips of DAVIS (480x854, one frame in four) from the true mask of the middle frame:
    # J&F of the other frames 65.0. The figure beside a setting is the result of that value alone.
    defaults: ClassVar[dict[str, Any]] = {
        "max_side": whole(640, least=64),  # longer side, pixels; 480: 63.2, and twice as fast
        "preset": choice("medium", "fast", "ultrafast"),  # of DIS
        "appearance": number(1.0, least=0, most=1000),  # weight of the appearance; 0: 48.0
        "motion": number(2.5, least=0, most=1000),  # weight of the motion; 0: 62.6, 1.5: 64.4, 4: 64.7
        # share of the recent appearance that an update replaces; 0, no updates: 64.9
        "learn": number(0.3, least=0, most=1),
        "edge_radius": whole(4, most=1000),  # of the guided filter, pixels at max_side; 0, no filter: 64.0
    }

    def sweep(self, size: tuple[int, int], sequences: int) -> FlowSweep:
        """A new pass with a clean memory; see `Propagator.sweep`."""
        return FlowSweep(self.settings, size)
