"""The family of the judges, which decide whether an expression refers to anything in a clip. None was published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from rvos_ensemble.adapters.inference.families.grounding import GroundingFamily, encoders
from rvos_ensemble.adapters.networks.grounding.judge import Judge as Network
from rvos_ensemble.adapters.networks.grounding.variants import GroundingVariant

MATCHER = "matcher."


class JudgeFamily(GroundingFamily):
    """Judges of every size."""

    kind = "judge"
    training = "rvos_ensemble.adapters.training.judge"
    expects = "a checkpoint of `run_ensemble.py train judge`"
    used_by = "operation `judge`"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return {"scale", "bias"} <= weights.keys() and super().recognises(_matcher(weights))

    def variant(
        self, weights: Mapping[str, Tensor], path: Path, expected: GroundingVariant | None = None
    ) -> GroundingVariant:
        """The sizes of the matcher, which follow from those of its weights."""
        return super().variant(_matcher(weights), path, expected)

    def title(self, variant: GroundingVariant) -> str:
        """See `Family.title`."""
        return f"a judge with {encoders(variant)}"

    def build(self, weights: Mapping[str, Tensor], variant: GroundingVariant) -> Network:
        """See `Family.build`."""
        return Network(variant.network())

    def fill(self, network: nn.Module) -> None:
        """See `Family.fill`."""
        super().fill(network.matcher)


def _matcher(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(MATCHER): v for k, v in weights.items() if k.startswith(MATCHER)}
