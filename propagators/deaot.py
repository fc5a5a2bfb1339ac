"""The propagator DeAOT: visual and identity features propagated side by side.

Source: Yang and Yang, NeurIPS 2022; https://github.com/yoxu515/aot-benchmark has the checkpoints that `weights` takes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from propagators.networks.sweep import DEFAULTS, Model, NetworkSweep
from propagators.propagator import Propagator


class DeAOT(Propagator):
    """DeAOT-T/S/B/L, R50-, SwinB-, SwinL-DeAOTL: needs `weights`, a checkpoint of the official code."""

    version = 2  # 2: small variants see up to 640 pixels
    defaults: ClassVar[dict[str, Any]] = DEFAULTS

    def __init__(self, **settings):
        super().__init__(**settings)
        self.model = Model(vars(self.settings), "deaot")

    @property
    def uses_gpu(self) -> bool:
        return self.model.device.type == "cuda"

    def sweep(self, size: tuple[int, int], sequences: int) -> NetworkSweep:
        return self.model.sweep(size)

    def turn(self, sweep: NetworkSweep, size: tuple[int, int], sequences: int) -> NetworkSweep:
        return self.model.turn(sweep, size)

    def fingerprint(self) -> str:
        return self.model.fingerprint
