"""The base of the propagators that run a network.

Torch is imported when such a propagator is made: recipes that only name one start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rvos_ensemble.propagators.core.propagator import Propagator, Sweep

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.network_model import NetworkModel


class NetworkPropagator(Propagator):
    """A propagator that needs `weights`; a subclass defines `make_model` and `make_sweep`."""

    def __init__(self, /, **settings):
        super().__init__(**settings)
        self.model = self.make_model()

    def make_model(self) -> NetworkModel:
        """The network of the setting `weights`, so that wrong weights are reported before hours of computation.

        Raises:
            InputError: the weights are missing, damaged or of another network.
        """
        raise NotImplementedError

    def make_sweep(self, size: tuple[int, int]) -> Sweep:
        """A pass with a clean memory; the network is already on its device.

        Args:
            size: (H, W) of the frames.
        """
        raise NotImplementedError

    @property
    def uses_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self.model.device.type == "cuda"

    def sweep(self, size: tuple[int, int], sequences: int) -> Sweep:
        """A new pass with a clean memory; see `Propagator.sweep`."""
        self.model.place()
        return self.make_sweep(size)

    def fingerprint(self) -> str:
        """Hash of the weights."""
        return self.model.fingerprint
