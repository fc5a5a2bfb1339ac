"""The learning-rate schedule: linear warm-up, then polynomial decay or steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def learning_rate(step: int, settings: Mapping[str, Any]) -> float:
    """The learning rate of a step as a share of the peak.

    Args:
        step: 0 .. steps - 1.
        settings: values for `loop.settings.DEFAULTS`.

    >>> from rvos_ensemble.adapters.core.settings import defaults_of
    >>> from rvos_ensemble.adapters.training.loop.settings import DEFAULTS
    >>> s = {**defaults_of(DEFAULTS), "steps": 100, "warmup": 0.1, "final_lr": 0.0, "power": 1.0}
    >>> [round(learning_rate(i, s), 2) for i in (0, 4, 9, 55, 99)]
    [0.1, 0.5, 1.0, 0.5, 0.01]
    >>> learning_rate(80, {**s, "drops": [0.5, 0.7]}).__round__(4)
    0.01
    """
    steps = settings["steps"]
    warmup = round(settings["warmup"] * steps)
    if step < warmup:
        return (step + 1) / warmup
    if settings["drops"]:
        return settings["drop"] ** sum(step >= share * steps for share in settings["drops"])
    remaining = 1 - (step - warmup) / max(1, steps - warmup)
    return settings["final_lr"] + (1 - settings["final_lr"]) * remaining ** settings["power"]
