"""How one recipe is merged over another: its `base`, the overrides of the command line."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.ensemble.recipe.schema import TABLES


def merge(lower: Any, upper: Any) -> Any:
    """A recipe merged over another. A component that replaces another inherits none of its settings.

    Args:
        lower: the base; changed in place.
        upper: what is merged over it.

    Raises:
        InputError: a key that should hold a table holds something else.
    """
    for group in TABLES:
        for config in (lower, upper):
            if config.get(group) is not None and not OmegaConf.is_dict(config[group]):
                raise InputError(f"{group} is {shown(config[group])}, expected `key: value` lines below it")
    for group, kind in (("sources", "adapter"), ("propagators", "propagator")):
        for name, new in (upper.get(group) or {}).items():
            old = (lower.get(group) or {}).get(name)
            default = name if kind == "propagator" else None
            if (
                OmegaConf.is_dict(old)
                and OmegaConf.is_dict(new)
                and new.get(kind) not in (None, old.get(kind, default))
            ):
                lower[group][name] = None
    _clear_replaced(lower, upper)
    return OmegaConf.merge(lower, upper)


def _clear_replaced(lower: Any, upper: Any) -> None:
    """Empties every table that a list replaces, and every list that a table replaces: OmegaConf cannot merge them."""
    for key, new in upper.items_ex(resolve=False):
        old = lower._get_node(key) if key in lower else None
        if not (OmegaConf.is_config(old) and OmegaConf.is_config(new)):
            continue
        if OmegaConf.is_dict(old) and OmegaConf.is_dict(new):
            _clear_replaced(old, new)
        elif OmegaConf.is_dict(old) != OmegaConf.is_dict(new):
            lower[key] = None
