"""The sources that a recipe runs with: `sources=[a, b]` keeps these, and `drop` leaves out all others.

The list is written where the table of sources is, on the command line and in a recipe over a `base`. It is kept under a
key of its own until everything is merged, because a list cannot be merged over a table.
"""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.component import unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import names
from rvos_ensemble.ensemble.recipe.recipe_edits import listed

CHOSEN = "sources chosen"  # the key of the list in a config that is being read; no user writes it
EVERY = "${oc.dict.keys:sources}"  # inputs of a step that reads every source of its recipe


def move_chosen(given: dict[str, str], values: dict[str, Any]) -> None:
    """Moves the list of `sources=[a, b]` to the key CHOSEN of the values.

    Args:
        given: texts of the command line; changed in place.
        values: Python values; changed in place.
    """
    if isinstance(values.get("sources"), (str, list)):
        values[CHOSEN] = values.pop("sources")
    elif "sources" in given and not given["sources"].startswith("{") and given["sources"] != "null":
        values[CHOSEN] = names().read(given.pop("sources"))


def remove_null_sources(config: Any, where: str) -> None:
    """Removes the sources that a recipe sets to null, so that a step that reads every source does not read them.

    Args:
        config: the merged recipe; changed in place.
        where: the recipe, for messages.

    Raises:
        InputError: the recipe reads every source, and has none.
    """
    sources = config.get("sources") or OmegaConf.create({})
    for name in [name for name, settings in sources.items() if settings is None]:
        del sources[name]
    steps = (config.get("steps") or {}).values()
    written = [step._get_node("inputs") for step in steps if OmegaConf.is_dict(step) and "inputs" in step]
    if not sources and any(node is not None and node._value() == EVERY for node in written):
        raise InputError(
            f"{where}it has no sources: give predictions=FOLDER, with a folder or file of masks for each model; or "
            "name each source, sources.NAME.adapter=files sources.NAME.path=PATH"
        )


def with_chosen(config: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The resolved recipe with all sources in `drop` that were not chosen.

    Args:
        config: plain values.
        problems: extended with chosen names that are no sources.
    """
    chosen, present = listed(config.pop(CHOSEN, None)), config.get("sources") or {}
    problems += [unknown_key(name, present, "sources") for name in chosen if name not in present]
    others = [name for name in present if chosen and name not in chosen]
    drop = [*listed(config.get("drop")), *others]
    config = {key: value for key, value in config.items() if key not in ("predictions", "map", "drop")}
    data = config.get("data")
    if isinstance(data, dict) and data.get("of") == present:  # data=masks: what is left out lists no videos
        config["data"] = {**data, "of": {name: settings for name, settings in present.items() if name not in drop}}
    return config | ({"drop": drop} if drop else {})
