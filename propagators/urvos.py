"""The propagator `urvos`, URVOS's second stage: it uses the sentence and the frames on which it is most confident.

Source: Seo et al., "URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark",
ECCV 2020.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar

from rvos_ensemble.adapters.core.settings import choice, whole
from rvos_ensemble.adapters.inference import device
from rvos_ensemble.adapters.networks.urvos.urvos import URVOS
from rvos_ensemble.adapters.urvos import SETTINGS, device_problems, fingerprint, loaded
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.inference.urvos_sweep import URVOSSweep


class URVOSPropagator(Propagator):
    """URVOS with its memory of the most confident frames; reads the sentence too. Needs `weights` (urvos_nano)."""

    reads_text: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {
        **SETTINGS,
        "memory": whole(4, least=1),  # limit of the frames in the memory, key frames included (T of the paper)
        # the frames in the memory apart from key frames: the most confident ones, or only the `previous` one
        "keep": choice("confident", "previous"),
        "over": choice("frame", "mask"),  # the pixels whose mean is the confidence: frame or mask
        "batch": whole(8, least=1),  # sequences per forward pass: affects memory, not results
    }

    def __init__(self, /, **settings):
        super().__init__(**settings)
        self.length, self.sentences = 1, []
        self.network  # noqa: B018  wrong weights are reported before hours of computation

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """See `Component.relations`."""
        return device_problems(given)

    @cached_property
    def network(self) -> URVOS:
        """The network with its weights, on its device."""
        return loaded(vars(self.settings))

    @property
    def uses_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return device.pick(self.settings.device).type == "cuda"

    def for_clip(self, length: int, sentences: Sequence[str]) -> URVOSPropagator:
        """A copy that knows the length of the clip and the sentences; see `Propagator.for_clip`."""
        result = copy.copy(self)
        result.__dict__["network"] = self.network
        result.length, result.sentences = length, list(sentences)
        return result

    def sweep(self, size: tuple[int, int], sequences: int) -> URVOSSweep:
        """A new pass with a clean memory; see `Propagator.sweep`."""
        return URVOSSweep(self.settings, self.network, size, self.length, self.sentences or [""] * sequences)

    def fingerprint(self) -> str:
        """Hash of the weights."""
        return fingerprint(self.settings.weights)

    def __getstate__(self) -> dict[str, Any]:
        """It is pickled as its settings, without the network."""
        return {"settings": self.settings, "length": self.length, "sentences": self.sentences}
