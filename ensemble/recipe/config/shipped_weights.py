"""`weights: auto` of a recipe's propagators: the weights of this package that were trained on data like the recipe's.

On clips that the package renders itself, these are the small networks that were trained on such clips. On anything else
optical flow and the networks for real video carry the masks together (`propagators/blend.py`), whichever network the
recipe names: on clips that none of them has seen, the three are better than any two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTO = "auto"
RENDERED = {"aot": "aot_nano", "deaot": "deaot_nano"}
REAL = {"aot": "aot_real", "deaot": "deaot_real"}


def with_shipped_weights(propagators: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """The table `propagators` of a recipe with `weights: auto` replaced by what it means for these data.

    Args:
        propagators: {name: {propagator: NAME (by default the name itself), settings}}; anything else is left as it is,
            to be refused when the recipe is built.
        data: the recipe's data table.

    >>> with_shipped_weights({"aot": {"weights": "auto"}, "flow": {}}, {"dataset": "shapes"})
    {'aot': {'weights': 'aot_nano'}, 'flow': {}}
    >>> with_shipped_weights({"aot": {"weights": "auto"}}, {"dataset": "folder"})["aot"]["of"][:2]
    ['flow', {'weights': 'aot_real', 'propagator': 'aot'}]
    """
    rendered = isinstance(data, Mapping) and data.get("dataset") == "shapes"
    return {name: _resolved(name, settings, rendered) for name, settings in propagators.items()}


def _resolved(name: str, settings: Any, rendered: bool) -> Any:
    if not isinstance(settings, Mapping) or settings.get("weights") != AUTO:
        return settings
    network = settings.get("propagator", name)
    if network not in RENDERED:
        return settings
    if rendered:
        return {**settings, "weights": RENDERED[network]}
    networks = [{**settings, "propagator": name, "weights": weights} for name, weights in REAL.items()]
    return {"propagator": "blend", "of": ["flow", *networks]}
