"""The propagator CFBI+, which matches foreground and background at several scales; also its predecessor CFBI.

Source: Yang, Wei and Yang, "Collaborative Video Object Segmentation by Multi-Scale Foreground-Background Integration",
TPAMI 2021; https://github.com/z-x-yang/CFBI has checkpoints for the setting `weights`. Liang et al., 2106.01061, the
winners of the RVOS challenge of 2021, propagate with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.propagators.inference.aot.settings import relations
from rvos_ensemble.propagators.inference.cfbi.settings import DEFAULTS
from rvos_ensemble.propagators.inference.network_propagator import NetworkPropagator

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.cfbi.model import CFBIModel
    from rvos_ensemble.propagators.inference.cfbi.sweep import CFBISweep


class CFBI(NetworkPropagator):
    """CFBI+ or CFBI with ResNet-101: needs `weights`, a checkpoint of the official code."""

    corrects: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = DEFAULTS

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return relations(given, "cfbi")

    def make_model(self) -> CFBIModel:
        """See `NetworkPropagator.make_model`."""
        from rvos_ensemble.propagators.inference.cfbi.model import CFBIModel

        return CFBIModel(vars(self.settings))

    def make_sweep(self, size: tuple[int, int]) -> CFBISweep:
        """See `NetworkPropagator.make_sweep`."""
        from rvos_ensemble.propagators.inference.cfbi.sweep import CFBISweep

        return CFBISweep(self.model, size)
