"""A network with the settings of its propagator, loaded once for all sweeps."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from torch import nn

from rvos_ensemble.adapters.inference import device
from rvos_ensemble.adapters.inference.checkpoints.weights import weights_hash


class NetworkModel:
    """A loaded network and its settings. It is pickled as its settings.

    Args:
        settings: of the propagator; `weights`, `device`, `precision` and `batch` among them.
        network: with its weights, on the CPU; it has `to`, as modules of torch have.
        batch: sequences per forward pass if the settings give no number, (on CUDA, on a CPU).
    """

    def __init__(self, settings: dict[str, Any], network: Any, batch: tuple[int, int]):
        self.settings, self.network, self.placed = settings, network, False
        self.device = device.pick(settings["device"])
        self.batch = settings["batch"] or batch[self.device.type != "cuda"]

    def __reduce__(self):
        return type(self), (self.settings,)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        return weights_hash(self.settings["weights"])

    def place(self) -> None:
        """Moves the network to its device; later calls do nothing.

        The first sweep calls this, so that processes that only check a recipe or distribute clips use no memory of the
        device.
        """
        if not self.placed:
            self.network.to(self.device)
            self.placed = True

    @property
    def networks(self) -> list[nn.Module]:
        """The modules of torch that `autocast` may convert."""
        return [self.network]

    def autocast(self) -> AbstractContextManager:
        """The context in which the network computes in the chosen precision."""
        return device.autocast(self.device, self.settings["precision"], *self.networks)
