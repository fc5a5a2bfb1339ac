"""DeAOT."""

from __future__ import annotations

from rvos_ensemble.adapters.inference.family import Family


class DeAOT(Family):
    """DeAOT."""

    kind = "propagator"
    training = "rvos_ensemble.propagators.training"
