"""The note about networks of ours that were trained on rendered shapes only, where the data are something else."""

from __future__ import annotations

import re

from rvos_ensemble.ensemble.recipe.recipe import Recipe


def rendered_note(recipe: Recipe) -> str | None:
    """The note about sources and steps with such networks; None if there is none. For propagators see `rendered_only`.

    Args:
        recipe: with its data.
    """
    if recipe.config["data"].get("dataset") == "shapes":
        return None
    named = []
    for name, component in {**recipe.sources, **recipe.steps}.items():
        weights = getattr(component.settings, "weights", None)
        weights = weights if isinstance(weights, list) else [weights]
        ours = [w for w in weights if isinstance(w, str) and re.fullmatch(r"\w+_nano(_\d+)?", w)]
        named += [f"{name} ({', '.join(ours)})"] if ours else []
    if not named:
        return None
    return (
        f"{', '.join(named)} {'were' if len(named) > 1 else 'was'} trained on rendered shapes only: masks of real "
        "video are of no use; take official weights (docs/models.md) or masks on disk (predictions=FOLDER)"
    )
