"""What the propagators AOT and DeAOT have in common: all but the family of their networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.inference.sweep import DEFAULTS, Model, NetworkSweep, relations


class NetworkPropagator(Propagator):
    """A propagator that needs `weights`, a checkpoint of the official code.

    Attributes:
        family: "aot" or "deaot".
    """

    # 2: small variants see up to 640 pixels; 3: packed by step, AOT-B by its file's name
    version = 3
    defaults: ClassVar[dict[str, Any]] = DEFAULTS
    family: ClassVar[str]

    def __init__(self, /, **settings):
        super().__init__(**settings)
        self.model = Model(vars(self.settings), self.family)

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        return relations(given, self.family)

    @property
    def uses_gpu(self) -> bool:
        return self.model.device.type == "cuda"

    @property
    def independent(self) -> bool:
        return not self.settings.pack

    def sweep(self, size: tuple[int, int], sequences: int) -> NetworkSweep:
        return self.model.sweep(size)

    def reverse(self, sweep: NetworkSweep, size: tuple[int, int], sequences: int) -> NetworkSweep:
        return self.model.reverse(sweep, size)

    def fingerprint(self) -> str:
        return self.model.fingerprint
