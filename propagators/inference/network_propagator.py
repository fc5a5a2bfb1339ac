"""The base of the propagators AOT and DeAOT, which differ in the family of their networks only.

Torch is imported when such a propagator is made: recipes that only name one start without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.inference.vos_settings import DEFAULTS, relations

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.network_sweep import NetworkSweep


class NetworkPropagator(Propagator):
    """A propagator that needs `weights`, a checkpoint of the official code.

    Attributes:
        family: "aot" or "deaot".
    """

    # 2: small variants have inputs of up to 640 pixels; 3: packed by step, AOT-B by its file's name
    version = 3
    corrects: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = DEFAULTS
    family: ClassVar[str]

    def __init__(self, /, **settings):
        super().__init__(**settings)
        from rvos_ensemble.propagators.inference.vos_model import VOSModel

        self.model = VOSModel(vars(self.settings), self.family)

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return relations(given, self.family)

    @property
    def uses_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self.model.device.type == "cuda"

    @property
    def independent(self) -> bool:
        """False with the setting `pack`: sequences of one identity bank compete for pixels."""
        return not self.settings.pack

    def sweep(self, size: tuple[int, int], sequences: int) -> NetworkSweep:
        """A new pass with a clean memory; see `Propagator.sweep`."""
        from rvos_ensemble.propagators.inference.network_sweep import NetworkSweep

        self.model.place()
        return NetworkSweep(self.model, size)

    def reverse(self, sweep: NetworkSweep, size: tuple[int, int], sequences: int) -> NetworkSweep:
        """The backward pass, which keeps the memory of the forward pass with `reset_between_passes: false`."""
        if self.settings.reset_between_passes:
            return self.sweep(size, sequences)
        sweep.rest()
        return sweep

    def fingerprint(self) -> str:
        """Hash of the weights."""
        return self.model.fingerprint
