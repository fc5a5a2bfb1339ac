"""The propagator CFBI+, which matches foreground and background at several scales; also its predecessor CFBI.

Source: Yang, Wei and Yang, "Collaborative Video Object Segmentation by Multi-Scale Foreground-Background Integration",
TPAMI 2021; https://github.com/z-x-yang/CFBI has checkpoints for the setting `weights`. Liang et al., 2106.01061, the
winners of the RVOS challenge of 2021, propagate with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.inference.cfbi.settings import DEFAULTS
from rvos_ensemble.propagators.inference.vos_settings import relations

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.cfbi.sweep import CFBISweep


class CFBI(Propagator):
    """CFBI+ or CFBI with ResNet-101: needs `weights`, a checkpoint of the official code."""

    corrects: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = DEFAULTS

    def __init__(self, /, **settings):
        super().__init__(**settings)
        # imported here, so that recipes that only name the propagator start without torch
        from rvos_ensemble.propagators.inference.cfbi.model import CFBIModel

        self.model = CFBIModel(vars(self.settings))

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return relations(given, "cfbi")

    @property
    def uses_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self.model.device.type == "cuda"

    def sweep(self, size: tuple[int, int], sequences: int) -> CFBISweep:
        """A new pass with a clean memory; see `Propagator.sweep`."""
        from rvos_ensemble.propagators.inference.cfbi.sweep import CFBISweep

        self.model.place()
        return CFBISweep(self.model, size)

    def fingerprint(self) -> str:
        """Hash of the weights."""
        return self.model.fingerprint
