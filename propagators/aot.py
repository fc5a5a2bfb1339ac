"""The propagator AOT: objects associated with transformers.

Source: Yang et al., NeurIPS 2021; https://github.com/yoxu515/aot-benchmark has the checkpoints that `weights` takes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from propagators.networks.sweep import DEFAULTS, Model, NetworkSweep
from propagators.propagator import Propagator


class AOT(Propagator):
    """AOT-T/S/B/L, R50-, R101-, SwinB-, SwinL-AOTL: needs `weights`, a checkpoint of the official code."""

    version = 2  # 2: small variants see up to 640 pixels
    defaults: ClassVar[dict[str, Any]] = DEFAULTS

    def __init__(self, **settings):
        super().__init__(**settings)
        self.model = Model(vars(self.settings), "aot")

    @property
    def uses_gpu(self) -> bool:
        return self.model.device.type == "cuda"

    def sweep(self, size: tuple[int, int], sequences: int) -> NetworkSweep:
        return self.model.sweep(size)

    def turn(self, sweep: NetworkSweep, size: tuple[int, int], sequences: int) -> NetworkSweep:
        return self.model.turn(sweep, size)

    def fingerprint(self) -> str:
        return self.model.fingerprint
