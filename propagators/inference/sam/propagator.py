"""The base of the propagators sam2, edgetam and sam3, which differ in the network only.

Torch and transformers are imported when such a propagator is made: recipes that only name one start without them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.propagators.core.propagator import SIGNALS
from rvos_ensemble.propagators.inference.network_propagator import NetworkPropagator
from rvos_ensemble.propagators.inference.sam.settings import DEFAULTS, relations

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.sam.model import SamModel
    from rvos_ensemble.propagators.inference.sam.sweep import SamSweep


class SamPropagator(NetworkPropagator):
    """A propagator that needs `weights`, a folder in the Hugging Face layout or a checkpoint of the official code.

    Attributes:
        kind: "sam2", "edgetam" or "sam3".
        length: number of frames of the clip, for the position encoding of object pointers; None if it is not known.
    """

    corrects: ClassVar[bool] = True
    signals: ClassVar[tuple[str, ...]] = SIGNALS
    defaults: ClassVar[dict[str, Any]] = DEFAULTS
    kind: ClassVar[str]
    length: int | None = None

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return relations(given, self.name)

    def make_model(self) -> SamModel:
        """See `NetworkPropagator.make_model`."""
        from rvos_ensemble.propagators.inference.sam.model import SamModel

        return SamModel(vars(self.settings), self.kind)

    def for_clip(self, length: int, sentences: Sequence[str]) -> SamPropagator:
        """A copy that knows the length of the clip; see `Propagator.for_clip`."""
        result = copy.copy(self)
        result.length = length
        return result

    def make_sweep(self, size: tuple[int, int]) -> SamSweep:
        """See `NetworkPropagator.make_sweep`."""
        from rvos_ensemble.propagators.inference.sam.pathway_sweep import PathwaySweep
        from rvos_ensemble.propagators.inference.sam.sweep import SamSweep

        return (PathwaySweep if self.model.pathways else SamSweep)(self.model, size, self.length)

    def bytes_per_sequence(self, key_frames: int = 1) -> int:
        """The memory of a sequence in one direction, whatever the length of the clip, in bytes."""
        return self.model.bytes_per_sequence(key_frames)
