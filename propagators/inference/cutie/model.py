"""A network of Cutie with the settings of its propagator, loaded once for all sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.cutie.layout import Layout
from rvos_ensemble.propagators.inference.cutie.pixel_memory import MemoryLimits
from rvos_ensemble.propagators.inference.cutie.settings import long_term_settings
from rvos_ensemble.propagators.inference.families.cutie import CutieFamily
from rvos_ensemble.propagators.inference.network_model import NetworkModel
from rvos_ensemble.propagators.networks.cutie.network import CutieFeatures


class CutieModel(NetworkModel):
    """A loaded network and its settings. It is pickled as its settings.

    Args:
        settings: values for `settings.DEFAULTS`.

    Raises:
        InputError: the weights are damaged or of another network.
    """

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings, CutieFamily().open(settings["weights"]).network(), batch=(16, 1))
        self.gap = settings["memory_gap"] or None
        long = long_term_settings(settings["long_term"])
        self.limits = MemoryLimits(settings["top_k"], settings["max_memory_frames"])
        if long["use"]:
            tokens = (long[key] for key in ("num_prototypes", "max_num_tokens", "buffer_tokens"))
            frames = long["max_memory_frames"], long["min_memory_frames"]
            self.limits = MemoryLimits(settings["top_k"], *frames, *tokens)
        self.updates = update_times(self.gap, settings["stagger_updates"])

    def layout(self, size: tuple[int, int]) -> Layout:
        """The layout of the input for frames of that size (H, W)."""
        return Layout.of(size, self.settings["max_short_edge"])

    def features(self, frame: Frame, layout: Layout) -> CutieFeatures:
        """The features of a frame, computed once for all sequences and both sweeps."""
        key = "cutie", self.settings["weights"], self.settings["precision"], layout
        if key not in frame.memo:
            with torch.no_grad(), self.autocast():
                frame.memo[key] = self.network.encode(layout.image(frame.image, self.device))
        return frame.memo[key]


def update_times(gap: int | None, updates: int) -> frozenset[int] | None:
    """The numbers of frames after a memory at which the sensory memory is updated; None: every frame.

    >>> sorted(update_times(10, 5)), update_times(5, 5), update_times(None, 5)
    ([1, 3, 6, 8, 10], None, None)
    """
    if gap is None or updates >= gap:
        return None
    return frozenset(np.round(np.linspace(1, gap, updates)).astype(int).tolist())
