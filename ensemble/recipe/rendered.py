"""The notes about networks of ours that were trained on rendered shapes only, where the data are something else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rvos_ensemble.ensemble.recipe.recipe import Recipe


def rendered_notes(recipe: Recipe) -> Iterator[str]:
    """A note about sources and steps with such networks, and one about each propagator, see `Recipe.rendered_only`.

    Args:
        recipe: with its data.
    """
    if recipe.config["data"].get("dataset") == "shapes":
        return
    named = []
    for name, component in {**recipe.sources, **recipe.steps}.items():
        weights = getattr(component.settings, "weights", None)
        weights = weights if isinstance(weights, list) else [weights]
        ours = [w for w in weights if isinstance(w, str) and re.fullmatch(r"\w+_nano(_\d+)?", w)]
        named += [f"{name} ({', '.join(ours)})"] if ours else []
    if named:
        yield (
            f"{', '.join(named)} {'were' if len(named) > 1 else 'was'} trained on rendered shapes only: masks of real "
            "video are of no use; take official weights (docs/models.md) or masks on disk (predictions=FOLDER)"
        )
    for name in recipe.rendered_only():
        yield (
            f"{recipe.describe_propagator(name)} was trained on rendered shapes only; on real video "
            f"propagators.{name}.weights=auto or official weights (propagators.{name}.weights=FILE) are better"
        )
