"""What is read of the folder of a run, and whether runs can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.ensemble.engine.storage.results import Place
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore
from rvos_ensemble.ensemble.report.frame import COLUMNS

OUTPUT = "(output)"  # the row of the outputs, whatever their names are
Key = tuple[str, str]
"""A clip and the id of one of its expressions."""


class Truth(NamedTuple):
    """What must be the same in two runs for a clip to be the same: frames, and the hash of its ground truth."""

    frames: int
    fingerprint: str


@dataclass(frozen=True)
class FinishedRun:
    """The results of a run that has ground truth.

    Attributes:
        folder: of the run.
        recipe: name of its recipe.
        output: the source or step whose masks are the result.
        scores: {source or step: {(clip, expression): its scores}}, in the order of the recipe.
        texts: {(clip, expression): its sentence}.
        truths: {clip: what identifies it}.
    """

    folder: Path
    recipe: str
    output: str
    scores: Mapping[str, Mapping[Key, ExpressionScore]]
    texts: Mapping[Key, str]
    truths: Mapping[str, Truth]

    def of(self, step: str) -> Mapping[Key, ExpressionScore] | None:
        """The scores of a source or step, or of the output; None if the run has no such step."""
        return self.scores.get(self.output if step == OUTPUT else step)

    def place(self, clip: str, part: str) -> Path:
        """The file of a clip, see `ensemble/engine/storage/results.py`."""
        return Place(self.folder).path(clip, part)

    @cached_property
    def expressions_of(self) -> dict[str, set[str]]:
        """{clip: ids of its scored expressions}."""
        found: dict[str, set[str]] = {}
        for clip, expression in self.texts:
            found.setdefault(clip, set()).add(expression)
        return found


def read_run(name: str) -> FinishedRun:
    """The run in a folder.

    Raises:
        InputError: it is not the folder of a finished run with ground truth.
    """
    folder = user_path(name)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected the folder of a run, such as runs/stage2")
    if not (folder / "manifest.json").is_file():
        what = "the folder of an evaluation" if (folder / "metrics.json").is_file() else "no manifest.json in it"
        raise InputError(f"{folder}: {what}, expected the results of a run; compare the folders that runs have written")
    manifest = read_json(folder / "manifest.json")
    if not (folder / "metrics.csv").is_file():
        raise InputError(
            f"{folder}: without metrics.csv: the data of this run has no ground truth, so nothing was scored"
        )
    try:
        table = pd.read_csv(folder / "metrics.csv", dtype={"clip": str, "expression": str, "text": str, "step": str})
        clips = manifest["clips"].items()
        truths = {clip: Truth(int(record["frames"]), str(record["truth"])) for clip, record in clips}
        recipe, output = str(manifest["recipe"]), str(manifest["output"])
        scores, texts = _scores(table)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder}: manifest.json or metrics.csv is damaged ({error!r}); the command of this run writes them again"
        ) from None
    return FinishedRun(folder, recipe, output, scores, texts, truths)


def common(runs: Sequence[FinishedRun]) -> tuple[list[Key], list[str]]:
    """The expressions that all runs have, and sentences about those that only some have.

    Raises:
        InputError: there are none, or the runs are of different data.
    """
    first = runs[0]
    problems = [problem for run in runs[1:] for problem in _differences(first, run)]
    if problems:
        raise InputError(problems)
    shared = [key for key in first.texts if all(key in run.texts for run in runs)]
    if not shared:
        has = "; ".join(f"{run.folder} has clips {first_few(run.expressions_of)}" for run in runs)
        raise InputError(f"runs on different data: no expression is in all of them: {has}")
    notes = []
    for run in runs:
        if rest := [key for key in run.texts if key not in {*shared}]:
            clips = first_few(dict.fromkeys(clip for clip, _ in rest))
            notes.append(
                f"{run.folder}: {len(rest)} of its {len(run.texts)} expressions are not in all runs and are left out "
                f"(clips {clips})"
            )
    return shared, notes


def _differences(one: FinishedRun, other: FinishedRun) -> list[str]:
    """Why two runs are of different data: clips of the same name that are not the same."""
    for clip in one.expressions_of.keys() & other.expressions_of.keys():
        same = one.expressions_of[clip] == other.expressions_of[clip]  # else the hash of the truths differs anyhow
        a, b = one.truths[clip], other.truths[clip]
        if a.frames != b.frames or (same and a.fingerprint != b.fingerprint):
            what = f"{a.frames} and {b.frames} frames" if a.frames != b.frames else "different ground truth"
            return [f"{one.folder}, {other.folder}: runs on different data: clip {clip} has {what}"]
        for expression in one.expressions_of[clip] & other.expressions_of[clip]:
            texts = one.texts[clip, expression], other.texts[clip, expression]
            if texts[0] != texts[1]:
                return [
                    f"{one.folder}, {other.folder}: runs on different data: expression {expression} of clip {clip} is "
                    f"{texts[0]!r} in one and {texts[1]!r} in the other"
                ]
    return []


def _scores(table: pd.DataFrame) -> tuple[dict[str, dict[Key, ExpressionScore]], dict[Key, str]]:
    """The scores of every step and the sentences, from metrics.csv.

    Raises:
        KeyError: a column is missing.
    """
    scores: dict[str, dict[Key, ExpressionScore]] = {}
    texts: dict[Key, str] = {}
    for row in table[list(COLUMNS)].assign(**{c: table.get(c) for c in ("no_target", "empty")}).to_dict("records"):
        key = row["clip"], row["expression"]
        texts[key] = "" if pd.isna(row["text"]) else row["text"]
        score = ExpressionScore(float(row["J"]), float(row["F"]), _flag(row["no_target"]), _flag(row["empty"]))
        scores.setdefault(row["step"], {})[key] = score
    return scores, texts


def _flag(value: Any) -> bool | None:
    """A value of the columns `no_target` and `empty`: pandas reads a column with gaps as text."""
    return None if value is None or pd.isna(value) else str(value) == "True"
