"""The network families that the commands `weights` and `train` know, of adapters and propagators alike."""

from __future__ import annotations

from rvos_ensemble.adapters.inference import families as adapter_families
from rvos_ensemble.adapters.inference.checkpoints import registry
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.propagators.inference import families as propagator_families

PACKAGES = (adapter_families, propagator_families)


def families() -> dict[str, Family]:
    """All families that can be named without a path, by name."""
    return registry.families(*PACKAGES)


def find_family(name: str) -> Family:
    """The family called `name`, or the one in a .py file of that path.

    Raises:
        InputError: no such family (those that exist are listed), or a file that cannot be used.
    """
    return registry.find_family(name, *PACKAGES)


def trainable() -> dict[str, dict[str, Family]]:
    """The families that can be trained: {kind: {name: family}}, such as {"segmenter": {"soc": ...}}."""
    kinds: dict[str, dict[str, Family]] = {}
    for name, family in families().items():
        if family.training is not None:
            kinds.setdefault(family.kind, {})[name] = family
    return kinds
