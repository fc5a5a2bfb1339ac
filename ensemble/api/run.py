"""`rv.run`: what the command `run` does, as a function that returns its tables and masks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.ensemble.api.quiet import captured
from rvos_ensemble.ensemble.api.run_result import RunResult
from rvos_ensemble.ensemble.commands import run as command
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.recipe.recipe import load as load_recipe

AS_TEXT = ("data", "predictions", "data.video")  # keys that choose what other keys mean, so they are read first


def run(
    recipe: str | os.PathLike,
    overrides: Mapping[str, Any] | None = None,
    /,
    *,
    verbose: bool = False,
    **top: Any,
) -> RunResult:
    """Runs a recipe, or resumes it; the same files and numbers as `run_ensemble recipe=NAME key=value ...`.

    Args:
        recipe: the name of a recipe (`run_ensemble list` shows all) or the path of a .yaml file.
        overrides: {key: value} over the recipe, with dots for nested keys: `{"steps.smr.threshold": 3}`. Values are
            Python values, not text; null is None. They are checked as those of the command line are.
        verbose: print what the command prints. Otherwise nothing is printed, and `RunResult.log` has those lines.
        top: the same for keys without dots, as keywords: `data="shapes"`, `out="runs/mine"`, `report=False`. A table
            is a dict: `steps={"smr": {"threshold": 3}}` is the same as the example above.

    Returns:
        The result; its tables and masks are read from the folder of the run when they are first used. Clips that
        failed are in `failures`; the same call resumes the run.

    Raises:
        InputError: naming everything that is wrong with the recipe, the overrides or the inputs; or why nothing of
            this run could be published, as when some clips failed and the folder has complete results of an earlier
            run, which stay.
        OSError: a file cannot be written.

    Example:
        result = rv.run("stage2", {"steps.final.threshold": 4}, data="shapes", out="runs/four_votes")
        result.metrics.loc["final", "J&F"], result.masks["00_easy_crossing_twins"]["0"].shape

    >>> run("stage1", {"steps.smr.treshold": 3})
    Traceback (most recent call last):
        ...
    rvos_ensemble.adapters.core.errors.InputError: ...did you mean `threshold`?...
    """
    return _run(load(recipe, {**_distinct(overrides or {}, top), **top}), verbose)


def load(recipe: str | os.PathLike, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe with Python values over it.

    Raises:
        InputError: naming everything that is wrong with either.
    """
    problems: list[str] = []
    text = {k: os.fspath(v) for k, v in overrides.items() if k in AS_TEXT and isinstance(v, (str, os.PathLike))}
    values: dict[str, Any] = {}
    for key, value in overrides.items():
        try:
            values |= {} if key in text else {key: _plain(value, key)}
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    arguments = [f"recipe={os.fspath(recipe)}", *(f"{key}={value}" for key, value in text.items())]
    return load_recipe(arguments, values)


def _run(recipe: Recipe, verbose: bool) -> RunResult:
    """Runs a recipe that is loaded. The only place that knows how the engine is started and what it returns."""
    before = _identity(recipe.out / "manifest.json")
    with captured(verbose) as log:
        code = command.run_recipe(recipe)
    if code and _identity(recipe.out / "manifest.json") == before:
        reasons = log.lines or ["the reasons are printed above"]
        raise InputError([f"{recipe.out}: no result of this run was published", *reasons])
    return RunResult(recipe.out, log.lines)


def _identity(file: Path) -> tuple[int, int] | None:
    """Changes whenever a file is replaced; None where it does not exist."""
    try:
        stat = file.stat()
        return stat.st_ino, stat.st_mtime_ns
    except OSError:
        return None


def _distinct(overrides: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides, where no key is in both.

    Raises:
        InputError: a key is in both, or the overrides are not a mapping from text.
    """
    if not isinstance(overrides, Mapping) or not all(isinstance(key, str) for key in overrides):
        raise InputError(f"overrides: {shown(overrides)}, expected a dict from keys such as 'steps.smr.threshold'")
    if twice := sorted(overrides.keys() & top.keys()):
        raise InputError(f"{', '.join(twice)}: in the overrides and as a keyword; give it once")
    return dict(overrides)


def _plain(value: Any, key: str) -> Any:
    """A Python value as the YAML value that it means; text is never a `${reference}`, as on the command line.

    Raises:
        InputError: a value that no recipe can hold.

    >>> _plain({"size": (np.int64(96), 160), "root": Path("data"), "share": np.float32(0.7)}, "data")
    {'size': [96, 160], 'root': 'data', 'share': 0.7}
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return value.replace("${", "\\${")
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, np.floating):
        return float(str(value))  # the decimal number that it shows: 0.7 of float32 is a share of 0.7
    if isinstance(value, np.generic):
        return _plain(value.item(), key)
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v, key) for v in value]
    raise InputError(
        f"{key}: a value of type {type(value).__name__}, expected text, a number, a bool, None, a list or a dict"
    )
