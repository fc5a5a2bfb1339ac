"""What the steps of a recipe will not be able to do with their inputs, found before any mask is computed or read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.ensemble.steps.step import Step


def input_problems(sources: Mapping[str, Adapter], steps: Mapping[str, Step], clip: Clip) -> list[str]:
    """What a run would refuse, one sentence each, with the name of the step; see `Step.input_problems`.

    Args:
        sources, steps: of the recipe; steps in an order in which they can be computed.
        clip: with a size.
    """
    known = _Known({name: lambda a=adapter: a.traits(clip) for name, adapter in sources.items()})
    known.makers |= {name: lambda s=step: s.traits(known) for name, step in steps.items()}
    return [f"step {name}: {problem}" for name, step in steps.items() for problem in step.input_problems(clip, known)]


class _Known(dict[str, Traits]):
    """{source or step: what is known of its masks}, found out when it is asked for."""

    def __init__(self, makers: dict[str, Callable[[], Traits]]):
        self.makers = makers

    def __missing__(self, name: str) -> Traits:
        self[name] = self.makers[name]()
        return self[name]
