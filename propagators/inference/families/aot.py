"""AOT."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.family import Family


class AOT(Family):
    """AOT."""

    kind = "propagator"
    training = "rvos_ensemble.propagators.training"
