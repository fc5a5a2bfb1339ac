"""The base of the propagators AOT and DeAOT, which differ in the family of their networks only.

Torch is imported when such a propagator is made: recipes that only name one start without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.propagators.inference.aot.settings import DEFAULTS, relations
from rvos_ensemble.propagators.inference.network_propagator import NetworkPropagator

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.aot.model import VOSModel
    from rvos_ensemble.propagators.inference.aot.sweep import NetworkSweep


class VOSPropagator(NetworkPropagator):
    """A propagator that needs `weights`, a checkpoint of the official code.

    Attributes:
        family: "aot" or "deaot".
    """

    # 2: small variants have inputs of up to 640 pixels; 3: packed by step, AOT-B by its file's name
    version = 3
    corrects: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = DEFAULTS
    family: ClassVar[str]

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return relations(given, self.family)

    def make_model(self) -> VOSModel:
        """See `NetworkPropagator.make_model`."""
        from rvos_ensemble.propagators.inference.aot.model import VOSModel

        return VOSModel(vars(self.settings), self.family)

    def make_sweep(self, size: tuple[int, int]) -> NetworkSweep:
        """See `NetworkPropagator.make_sweep`."""
        from rvos_ensemble.propagators.inference.aot.sweep import NetworkSweep

        return NetworkSweep(self.model, size)

    @property
    def independent(self) -> bool:
        """False with the setting `pack`: sequences of one identity bank compete for pixels."""
        return not self.settings.pack

    def reverse(self, sweep: NetworkSweep, size: tuple[int, int], sequences: int) -> NetworkSweep:
        """The backward pass, which keeps the memory of the forward pass with `reset_between_passes: false`."""
        if self.settings.reset_between_passes:
            return self.sweep(size, sequences)
        sweep.rest()
        return sweep
