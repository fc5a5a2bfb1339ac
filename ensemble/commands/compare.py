"""The command `compare`: the gains of finished runs over the first one, step by step and expression by expression.

    run_ensemble.py compare runs/a runs/b                 two runs
    run_ensemble.py compare runs/a runs/b runs/c out=DIR  several, each against runs/a

Steps of the same name and the outputs are compared on the expressions that all runs have, by J&F, or by Final where
expressions refer to nothing; intervals are paired bootstraps over clips. It writes compare.html, compare.csv and
compare_expressions.csv into OUT (default runs/compare). Nothing is computed again; the runs need ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import atomic_write, user_path
from rvos_ensemble.adapters.core.settings import text, whole
from rvos_ensemble.ensemble.commands.comparison.page import page
from rvos_ensemble.ensemble.commands.comparison.rows import expressions_frame, step_rows, steps_frame
from rvos_ensemble.ensemble.commands.comparison.runs import FinishedRun, common, read_run
from rvos_ensemble.ensemble.commands.comparison.text import table
from rvos_ensemble.ensemble.engine.storage.folders import owned
from rvos_ensemble.ensemble.metrics.bootstrap import RESAMPLES
from rvos_ensemble.ensemble.recipe.config.overrides import pairs, plain
from rvos_ensemble.ensemble.recipe.validation import attempt

ARGUMENTS = {
    "out": text("runs/compare"),  # folder of the page and the tables
    "seed": whole(0),  # of the bootstrap
    "resamples": whole(RESAMPLES, least=100, most=10_000_000),  # of the bootstrap
}


@dataclass(frozen=True)
class ComparisonRequest:
    """What is compared, and the settings `ARGUMENTS`."""

    runs: list[FinishedRun]
    out: Path
    seed: int
    resamples: int


def run(arguments: Sequence[str]) -> int:
    """Compares runs; returns the exit code, 0.

    Raises:
        InputError: fewer than two runs, folders that are not those of runs, or runs on different data.
    """
    request = parse(arguments)
    runs = request.runs
    shared, notes = common(runs)
    rows = step_rows(runs, shared, request.seed, request.resamples)
    notes += _only_in_some(runs)
    with owned(request.out, "comparison"):
        for name, frame in (
            ("compare", steps_frame(runs, rows)),
            ("compare_expressions", expressions_frame(runs, rows)),
        ):
            atomic_write(request.out / f"{name}.csv", frame.to_csv(index=False, float_format="%.17g"))
        atomic_write(request.out / "compare.html", page(request.out, runs, rows, notes))
    print(table(runs, rows, notes))
    print(f"\nresults: {request.out}/compare.html, compare.csv, compare_expressions.csv")
    return 0


def parse(arguments: Sequence[str]) -> ComparisonRequest:
    """Reads the arguments and the folders that they name.

    Raises:
        InputError: everything that is wrong with them.
    """
    folders = [a for a in arguments if "=" not in a or user_path(a).is_dir()]
    problems: list[str] = []
    if len(folders) < 2:
        problems.append(f"compare needs the folders of two or more runs, such as runs/a runs/b, found {len(folders)}")
    written = pairs([a for a in arguments if a not in folders])
    values = attempt(problems, lambda: merge_settings(ARGUMENTS, plain(written, ARGUMENTS, "compare"), "compare"))
    runs = [attempt(problems, read_run, name) for name in folders]
    places = [user_path(name).resolve() for name in folders]
    problems += [f"{name}: given twice" for i, name in enumerate(folders) if places[i] in places[:i]]
    if values and (out := user_path(values["out"]).resolve()) in places:
        problems.append(f"{out}: the folder of a run; give another out=DIR")
    if problems:
        raise InputError(problems)
    return ComparisonRequest(runs, user_path(values["out"]), values["seed"], values["resamples"])


def _only_in_some(runs: Sequence[FinishedRun]) -> list[str]:
    """A sentence for each run about its steps that cannot be compared with the first run."""
    notes = []
    for run in runs[1:]:
        for one, other in ((runs[0], run), (run, runs[0])):
            if only := [step for step in one.scores if step not in other.scores]:
                notes.append(f"only in {one.folder}, not in {other.folder}: {', '.join(only)}")
    return list(dict.fromkeys(notes))
