"""The propagator Cutie, "Putting the Object Back into Video Object Segmentation".

Source: Cheng et al., CVPR 2024; https://github.com/hkchengrex/Cutie has checkpoints for the setting `weights`.

Torch is imported when the propagator is made: recipes that only name it start without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.inference.cutie.settings import DEFAULTS, relations

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.cutie.sweep import CutieSweep


class Cutie(Propagator):
    """Cutie base and small: needs `weights`, a checkpoint of the official code."""

    corrects: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = DEFAULTS

    def __init__(self, /, **settings):
        super().__init__(**settings)
        from rvos_ensemble.propagators.inference.cutie.model import CutieModel

        self.model = CutieModel(vars(self.settings))

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return relations(given)

    @property
    def uses_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self.model.device.type == "cuda"

    def sweep(self, size: tuple[int, int], sequences: int) -> CutieSweep:
        """A new pass with a clean memory; see `Propagator.sweep`."""
        from rvos_ensemble.propagators.inference.cutie.sweep import CutieSweep

        self.model.place()
        return CutieSweep(self.model, size)

    def fingerprint(self) -> str:
        """Hash of the weights."""
        return self.model.fingerprint
