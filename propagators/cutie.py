"""The propagator Cutie, "Putting the Object Back into Video Object Segmentation".

Source: Cheng et al., CVPR 2024; https://github.com/hkchengrex/Cutie has checkpoints for the setting `weights`.

Torch is imported when the propagator is made: recipes that only name it start without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.propagators.inference.cutie.settings import DEFAULTS, relations
from rvos_ensemble.propagators.inference.network_propagator import NetworkPropagator

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.cutie.model import CutieModel
    from rvos_ensemble.propagators.inference.cutie.sweep import CutieSweep


class Cutie(NetworkPropagator):
    """Cutie base and small: needs `weights`, a checkpoint of the official code."""

    corrects: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = DEFAULTS

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return relations(given)

    def make_model(self) -> CutieModel:
        """See `NetworkPropagator.make_model`."""
        from rvos_ensemble.propagators.inference.cutie.model import CutieModel

        return CutieModel(vars(self.settings))

    def make_sweep(self, size: tuple[int, int]) -> CutieSweep:
        """See `NetworkPropagator.make_sweep`."""
        from rvos_ensemble.propagators.inference.cutie.sweep import CutieSweep

        return CutieSweep(self.model, size)
