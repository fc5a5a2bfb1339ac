"""The base of the propagators sam2, edgetam and sam3, which differ in the network only.

Torch and transformers are imported when such a propagator is made: recipes that only name one start without them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.propagators.core.propagator import SIGNALS, Propagator
from rvos_ensemble.propagators.inference.sam.settings import DEFAULTS, relations

if TYPE_CHECKING:
    from rvos_ensemble.propagators.inference.sam.sweep import SamSweep


class SamPropagator(Propagator):
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

    def __init__(self, /, **settings):
        super().__init__(**settings)
        from rvos_ensemble.propagators.inference.sam.model import SamModel

        self.model = SamModel(vars(self.settings), self.kind)

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return relations(given, self.name)

    @property
    def uses_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self.model.device.type == "cuda"

    def for_clip(self, length: int, sentences: Sequence[str]) -> SamPropagator:
        """A copy that knows the length of the clip; see `Propagator.for_clip`."""
        result = copy.copy(self)
        result.length = length
        return result

    def sweep(self, size: tuple[int, int], sequences: int) -> SamSweep:
        """A new pass with a clean memory; see `Propagator.sweep`."""
        from rvos_ensemble.propagators.inference.sam.pathway_sweep import PathwaySweep
        from rvos_ensemble.propagators.inference.sam.sweep import SamSweep

        self.model.place()
        return (PathwaySweep if self.model.pathways else SamSweep)(self.model, size, self.length)

    def bytes_per_sequence(self, key_frames: int = 1) -> int:
        """The memory of a sequence in one direction, whatever the length of the clip, in bytes."""
        return self.model.bytes_per_sequence(key_frames)

    def fingerprint(self) -> str:
        """Hash of the weights."""
        return self.model.fingerprint
