"""Training of the propagators: `trainee` for `adapters.training.loop.fit`, and `export` for what it learned."""

from rvos_ensemble.propagators.training.export import export
from rvos_ensemble.propagators.training.task import DEFAULTS, trainee

__all__ = ["DEFAULTS", "export", "trainee"]
