"""The public functions and base classes: `import rvos_ensemble as rv` offers them as `rv.vote`, `rv.run` and so on.

A name is imported from its module when it is first used, so that `import rvos_ensemble` loads neither PyTorch nor
OpenCV. docs/api.md describes all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers and editors
    from rvos_ensemble.adapters.core.adapter import Adapter as Adapter
    from rvos_ensemble.adapters.core.clip import Clip as Clip
    from rvos_ensemble.adapters.core.clip import Expression as Expression
    from rvos_ensemble.adapters.core.errors import InputError as InputError
    from rvos_ensemble.adapters.core.masks import MaskSequence as MaskSequence
    from rvos_ensemble.adapters.core.masks import quantise as quantise
    from rvos_ensemble.adapters.datasets import Dataset as Dataset
    from rvos_ensemble.adapters.inference.torch_adapter import TorchAdapter as TorchAdapter
    from rvos_ensemble.ensemble.api.evaluate import evaluate as evaluate
    from rvos_ensemble.ensemble.api.propagate import propagate as propagate
    from rvos_ensemble.ensemble.api.run import run as run
    from rvos_ensemble.ensemble.api.run_result import RunResult as RunResult
    from rvos_ensemble.ensemble.fusion.averages import soft_average as soft_average
    from rvos_ensemble.ensemble.fusion.votes import vote as vote
    from rvos_ensemble.ensemble.metrics.jf import j_and_f as j_and_f
    from rvos_ensemble.ensemble.metrics.protocols.shared.mask_protocol import MaskProtocol as MaskProtocol
    from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol as Protocol
    from rvos_ensemble.ensemble.steps.step import Step as Step
    from rvos_ensemble.propagators.core.propagator import Propagator as Propagator

MODULES = {
    "Adapter": "adapters.core.adapter",
    "Clip": "adapters.core.clip",
    "Dataset": "adapters.datasets",
    "Expression": "adapters.core.clip",
    "InputError": "adapters.core.errors",
    "MaskProtocol": "ensemble.metrics.protocols.shared.mask_protocol",
    "MaskSequence": "adapters.core.masks",
    "Propagator": "propagators.core.propagator",
    "Protocol": "ensemble.metrics.protocols.shared.protocol",
    "RunResult": "ensemble.api.run_result",
    "Step": "ensemble.steps.step",
    "TorchAdapter": "adapters.inference.torch_adapter",
    "evaluate": "ensemble.api.evaluate",
    "j_and_f": "ensemble.metrics.jf",
    "propagate": "ensemble.api.propagate",
    "quantise": "adapters.core.masks",
    "run": "ensemble.api.run",
    "soft_average": "ensemble.fusion.averages",
    "vote": "ensemble.fusion.votes",
}
"""{public name: the module of `rvos_ensemble` that defines it}."""

__all__ = [*MODULES]


def __getattr__(name: str) -> Any:
    """Imports a public name from its module."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"rvos_ensemble.{MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
