"""A network of AOT or DeAOT with the settings of its propagator, loaded once for all sweeps."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference import device
from rvos_ensemble.adapters.inference.checkpoints.weights import weights_hash
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.aot.checkpoint import load_network
from rvos_ensemble.propagators.inference.aot.settings import TTA
from rvos_ensemble.propagators.inference.aot.tta import Augmentation
from rvos_ensemble.propagators.inference.network_model import NetworkModel
from rvos_ensemble.propagators.networks.network import FrameFeatures
from rvos_ensemble.propagators.networks.variants import find_variant


class VOSModel(NetworkModel):
    """A loaded network and its settings. It is pickled as its settings.

    Args:
        settings: values for `vos_settings.DEFAULTS`.
        family: "aot" or "deaot".

    Raises:
        InputError: the settings are wrong, or the weights are damaged or of another network.
    """

    def __init__(self, settings: dict[str, Any], family: str):
        self.family = family
        self.tta = merge_settings(TTA, dict(settings["tta"] or {}), f"{family}: tta")
        variant = settings["variant"] and find_variant(settings["variant"], family)
        network = load_network(settings["weights"], variant)
        if network.variant.family != family:
            raise InputError(
                f"{settings['weights']}: holds weights of {network.variant.name}, which is no {family.upper()}; "
                f"use the propagator `{network.variant.family}`"
            )
        super().__init__(settings, network, batch=(16, 4))
        self.dtype = device.dtype_of(self.device, settings["precision"])
        self.variant = network.variant
        gap = settings["memory_gap"]
        self.memory_gap = self.variant.memory_gap if gap is None else gap or None

    def __reduce__(self):
        return VOSModel, (self.settings, self.family)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights; in low precision it also says how they are used, which has changed from autocast."""
        own = weights_hash(self.settings["weights"])
        return own if self.dtype == torch.float32 else f"{own} converted"

    def place(self) -> None:
        """Moves the network to its device, converts and compiles it as the settings ask; later calls do nothing."""
        if not self.placed:
            if self.dtype != torch.float32:
                self.network.lower(self.dtype)
            if self.settings["compile"]:
                self.network.encoder.compile(dynamic=False)
                self.network.decoder.compile()  # the number of sequences varies: from its second value on, for any
        super().place()

    def features(self, frame: Frame, augmentation: Augmentation) -> FrameFeatures:
        """The features of an augmented frame, computed once for all sequences and both sweeps."""
        key = "features", self.family, self.settings["weights"], self.dtype, augmentation
        if key not in frame.memo:
            image = augmentation.apply(frame.image).to(self.device, non_blocking=True)
            with torch.no_grad():
                frame.memo[key] = self.network.encode(image)
        return frame.memo[key]
