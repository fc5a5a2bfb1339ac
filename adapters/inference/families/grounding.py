"""The grounding network."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.family import Family


class Grounding(Family):
    """The grounding network."""

    kind = "grounding"
    training = "rvos_ensemble.adapters.training.grounding"
