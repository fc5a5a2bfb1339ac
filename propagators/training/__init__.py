"""Training of the propagators: `trainee` for `adapters.training.loop.fit`."""

from rvos_ensemble.propagators.training.task import DEFAULTS, trainee

__all__ = ["DEFAULTS", "trainee"]
