"""The command `check`: validates a recipe and everything it would read; computes nothing.

    run_ensemble.py check stage2 data=ref_youtube_vos data.root=DIR predictions=DIR

It takes the arguments of a run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.engine.clips import check, list_clips
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.ensemble.recipe.rendered import rendered_notes


def run(arguments: Sequence[str]) -> int:
    """Reads every mask and picture of the recipe's data set and sources.

    Raises:
        InputError: all problems.
    """
    recipe = load(arguments)
    listed = list_clips(recipe)
    checked = check(recipe, listed.clips, whole=True)
    problems = [p for lines in listed.bad.values() for p in lines] + checked.lines
    if problems:
        raise InputError(dict.fromkeys(problems))
    for note in rendered_notes(recipe):
        print(f"note: {note}", file=sys.stderr)
    frames = sum(len(c) * len(c.expressions) for c in checked.clips)
    expressions = sum(len(c.expressions) for c in checked.clips)
    print(f"everything is there: {len(checked.clips)} clips, {expressions} expressions, {frames} masks to come")
    return 0
