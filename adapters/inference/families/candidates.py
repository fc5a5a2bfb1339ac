"""The family of the candidate networks, which find the objects of a frame. None was published: they are our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.inference.checkpoints.weights import shape_of
from rvos_ensemble.adapters.networks.candidates.network import CandidateNetwork, Trunk

LARGEST = 1 << 12  # short side of a frame, pixels


class CandidateFamily(Family):
    """Candidate networks of every width."""

    kind = "candidates"
    training = "rvos_ensemble.adapters.training.candidates"
    expects = "a checkpoint of `run_ensemble.py train candidates`"
    used_by = "adapter `objects`"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return {"kernels.weight", "lateral32.weight", "short_side"} <= weights.keys()

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: None = None) -> tuple[int, int]:
        """(channels, short side of the frames)."""
        channels, *others = (*shape_of(weights, "lateral32.weight"), 0)
        if others[0] != Trunk.channels[-1] or channels % 16:
            raise InputError(f"{path}: not weights of a candidate network (`lateral32.weight` has another shape)")
        side = weights["short_side"]
        if side.numel() != 1 or side.is_floating_point() or not 0 < int(side) <= LARGEST:
            raise InputError(f"{path}: `short_side` is {side.tolist()}, expected a whole number of 1 to {LARGEST}")
        return channels, int(side)

    def title(self, variant: tuple[int, int]) -> str:
        """See `Family.title`."""
        return f"a candidate network of width {variant[0]}"

    def build(self, weights: Mapping[str, Tensor], variant: tuple[int, int]) -> CandidateNetwork:
        """See `Family.build`."""
        return CandidateNetwork(*variant)

    def finish(self, network: CandidateNetwork) -> CandidateNetwork:
        """See `Family.finish`."""
        return network.requires_grad_(False).fold()
