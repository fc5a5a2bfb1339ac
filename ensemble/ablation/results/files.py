"""Writes the files of an ablation: tables as csv, Markdown and LaTeX, the figure, and the best setting as a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.ensemble.ablation.results import table
from rvos_ensemble.ensemble.ablation.results.figure import figure
from rvos_ensemble.ensemble.ablation.results.outcome import Outcome
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report.paper.latex import latex
from rvos_ensemble.ensemble.report.paper.markdown import markdown
from rvos_ensemble.ensemble.report.paper.style import rendered

NAMES = "ablation.csv, .md, .tex, .svg, .pdf; best.yaml"


def write(recipe: Recipe, folders: Sequence[Path], name: str, title: str, outcome: Outcome) -> str:
    """Writes ablation.csv, .md, .tex, .svg and .pdf, and best.yaml.

    Args:
        recipe: as it is.
        folders: each gets all files.
        name: of the ablation, for the csv.
        title: what is compared, as on the command line.
        outcome: the results.

    Returns:
        The table for the terminal, with what is to be concluded.
    """
    rows, best = outcome.rows, outcome.best
    conclusion, chosen = outcome.verdict, f"Chosen: {outcome.how}."
    data = recipe.config["data"]["dataset"]
    heading = f"{recipe.name} on {data}: {title}, {rows[0].clips} clips, {rows[0].expressions} expressions"
    frame = table.frame(name, rows)
    if outcome.tried:
        frame = pd.concat([frame, table.frame(f"{name}, the half searched", outcome.tried)])
    paper = table.paper(heading, rows, [conclusion, chosen, *outcome.notes])
    files = {
        "ablation.csv": frame.to_csv(index=False, float_format="%.17g"),
        "ablation.md": markdown(paper),
        "ablation.tex": latex(paper),
        **{f"ablation.{kind}": content for kind, content in rendered(figure(heading, rows)).items()},
    }
    for folder in folders:
        for file, content in files.items():
            atomic_write(folder / file, content)
        how = [heading, chosen, conclusion, *outcome.notes]
        atomic_write(folder / "best.yaml", table.best_yaml(recipe, folder, best, how))
    shown = table.text(f"{heading} (percent, mean over expressions)", rows, outcome.notes)
    return f"\n{shown}\n{conclusion}\n{chosen}"
