"""What a recipe may contain: its keys, their defaults, and what each of them accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.setting import ANY_KEY
from rvos_ensemble.adapters.core.settings import (
    REQUIRED,
    Setting,
    choice,
    either,
    names,
    path,
    setting,
    table,
    text,
    whole,
)
from rvos_ensemble.ensemble.fusion import grouping
from rvos_ensemble.ensemble.recipe.components import class_of
from rvos_ensemble.ensemble.recipe.team import TEAM
from rvos_ensemble.propagators.core.key_frame_settings import WITHOUT_SCORES
from rvos_ensemble.propagators.core.propagate import CACHE_MB

OVERLAYS = ("mp4", "gif")  # formats of the videos
CLUSTERS = ("dask", "ray")
BACKENDS = ("loky", "sequential", *CLUSTERS)
MAP = {ANY_KEY: text()}
# Every key that a recipe may have, with its default.
DEFAULTS: dict[str, Any] = {
    "base": text(None),  # another recipe, over which this one is merged
    "data": either(REQUIRED, text(), table()),  # the name or file of a data table, or {dataset: ..., settings}
    "source": text(None),  # the only source of recipes that run a single model: ${source}
    "sources": table({}, null=True),  # {name: {adapter: ..., settings}}; or [a, b]: drop all others
    "predictions": path(None),  # folder with the masks of every source: DIR/SOURCE is read, and no model runs
    "map": table({}, null=True, below=MAP),  # {source: its name in the folder of `predictions`}
    "drop": names(None, what="a source or a list of sources"),  # sources that the recipe runs without
    "without_scores": WITHOUT_SCORES,  # the key-frame rule for masks without scores, in all steps that name none
    "propagators": table({}, null=True),  # {name: {propagator: ... (by default the name itself), settings}}
    "grouping": table({}, null=True),  # which expressions mean the same object: grouping.KEY
    "steps": table({}, null=True),  # {name: {op: ..., settings}}
    "output": text(),  # the step or source whose masks are the result
    "out": text(None),  # folder of the results; by default runs/RECIPE
    "store": text(None),  # folder or URL of intermediate results, which runs may share; by default OUT/store
    "shard": text(None),  # I/N, such as 2/8: only every N-th clip from the I-th on, for jobs that share a store
    "annotations": True,  # write the PNG tree; if false, masks are written only into the zip
    "submission": True,  # write submission.zip
    "team": table(None, below=TEAM),  # who submits: team.json in submission.zip; see `team.py`
    "report": True,  # write report.html
    "overlays": choice(None, False, *OVERLAYS),  # a video of every expression's output, overlays/CLIP/EXPRESSION.mp4
    "engine": table({}, null=True),  # how clips are distributed over processes: engine.KEY
}
GROUPING = grouping.SETTINGS
ENGINE = {
    "backend": choice(*BACKENDS),
    "workers": whole(0, most=4096),  # 0: all of a cluster; else one per GPU if a component uses GPUs, or one per core
    "cache_mb": whole(CACHE_MB),  # of frames and their features that a worker keeps from one sweep for the other
}
TABLES = ("sources", "map", "propagators", "grouping", "steps", "engine")  # keys that hold a table
# keys that hold components, or a table of them -> the key below that names the component
COMPONENTS = {"data": "dataset", "sources": "adapter", "propagators": "propagator", "steps": "op"}


class Schema:
    """What a recipe accepts at each place. The class of a component is imported once, however many settings it has.

    Args:
        value_at: called as value_at(*keys), the value of the recipe at a place, None if it is empty: the name of a
            component is written beside its settings.
    """

    def __init__(self, value_at: Callable[..., Any]):
        self._value_at = value_at
        self._defaults = cache(_defaults)

    def at(self, keys: Sequence[str]) -> Setting:
        """What a recipe accepts at a place.

        Args:
            keys: the place, such as ("sources", "soc", "weights").

        Returns:
            The setting. For keys that do not exist any text is accepted, so that building the recipe refuses the key.
        """
        first, *rest = keys
        if not rest:
            return setting(DEFAULTS.get(first, text()))
        if first not in COMPONENTS:
            return _below(rest, {"grouping": GROUPING, "engine": ENGINE, "team": TEAM, "map": MAP}.get(first, {}))
        kind, place = COMPONENTS[first], [first]
        if first != "data":
            place.append(rest.pop(0))
        if rest in ([], [kind]):
            return text() if rest else table(None)
        name = self._value_at(*place, kind) or (place[-1] if kind == "propagator" else None)
        return _below(rest, self._defaults(kind, name) if isinstance(name, str) else {})


def _defaults(kind: str, name: str) -> Mapping[str, Any]:
    """The settings of a component, none if it cannot be used: the error is reported when the recipe is built."""
    try:
        return class_of(kind, name).defaults
    except InputError:
        return {}


def _below(keys: Sequence[str], known: Mapping[str, Any]) -> Setting:
    """The setting at a place within a table; a key that the table does not describe accepts what a file may hold."""
    first, *rest = keys
    if first not in known and ANY_KEY not in known:
        return text()
    here = setting(known.get(first, known.get(ANY_KEY)))
    if not rest:
        return here
    described = rest[0] in here.below or ANY_KEY in here.below
    return _below(rest, here.below) if described else Setting(REQUIRED, "a value", lambda v: True)
