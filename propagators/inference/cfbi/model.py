"""A network of CFBI or CFBI+ with the settings of its propagator, loaded once for all sweeps."""

from __future__ import annotations

from typing import Any

import torch

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.aot.settings import TTA
from rvos_ensemble.propagators.inference.aot.tta import Augmentation, augmentations
from rvos_ensemble.propagators.inference.families.cfbi import CFBIFamily
from rvos_ensemble.propagators.inference.network_model import NetworkModel
from rvos_ensemble.propagators.networks.cfbi.network import CFBIFeatures
from rvos_ensemble.propagators.networks.cfbi.references import References

LONG_EDGE, LONG_EDGE_SCALED = 1040, 800  # of the official evaluation, with one and with several scales


class CFBIModel(NetworkModel):
    """A loaded network and its settings. It is pickled as its settings.

    Args:
        settings: values for `settings.DEFAULTS`.

    Raises:
        InputError: the settings are wrong, or the weights are damaged or of another network.
    """

    def __init__(self, settings: dict[str, Any]):
        self.tta = merge_settings(TTA, dict(settings["tta"] or {}), "cfbi: tta")
        super().__init__(settings, CFBIFamily().open(settings["weights"]).network(), batch=(8, 1))

    def augmentations(self, size: tuple[int, int]) -> list[Augmentation]:
        """The inputs that are made from a frame (H, W)."""
        default = LONG_EDGE if list(self.tta["scales"]) == [1.0] else LONG_EDGE_SCALED
        return augmentations(size, self.settings["max_long_edge"] or default, self.tta, align_corners=True)

    def references(self) -> References:
        """The empty references of a new sequence."""
        s = self.settings
        return References(self.network.sizes.levels, s["matching_stride"], s["min_matching_pixels"])

    def features(self, frame: Frame, augmentation: Augmentation) -> CFBIFeatures:
        """The features of an augmented frame, computed once for all sequences and both sweeps."""
        key = "features", "cfbi", self.settings["weights"], augmentation
        if key not in frame.memo:
            # the official code passes BGR to the network, normalised with the means of RGB
            image = augmentation.apply(frame.image[..., ::-1]).to(self.device, non_blocking=True)
            with torch.no_grad(), self.autocast():
                frame.memo[key] = self.network.encode(image)
        return frame.memo[key]
