"""Training of the propagators: `trainee` for `adapters.training.loop.fit`, and `export` for what it learned."""

from propagators.training.export import export
from propagators.training.recipe import DEFAULTS, trainee

__all__ = ["DEFAULTS", "export", "trainee"]
