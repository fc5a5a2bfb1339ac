"""Scores any masks with the protocol of a benchmark.

    run_ensemble.py evaluate gt=DIR pred=DIR|ZIP protocol=NAME [option=value ...] [out=DIR] [workers=N]
    run_ensemble.py evaluate gt=rytvos pred=submission.zip protocol=ref_youtube_vos
    run_ensemble.py evaluate protocol=mevis --help      the options of a protocol

`list protocols` shows all protocols.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rvos_ensemble.adapters.core.component import available, find, make, merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import atomic_write, user_path
from rvos_ensemble.adapters.core.settings import text, whole
from rvos_ensemble.ensemble.engine.storage.folders import owned
from rvos_ensemble.ensemble.metrics import protocols
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result
from rvos_ensemble.ensemble.recipe.config.overrides import pairs, plain

GROUP = "rvos_ensemble.protocols"
OUT = "runs/evaluate"
USAGE = "evaluate gt=DIR pred=DIR|ZIP protocol=NAME [option=value ...] [out=DIR] [workers=N]"
ARGUMENTS = {
    "gt": text(),  # folder of the data set, with the ground truth
    "pred": text(),  # folder or zip of the masks
    "protocol": text(),  # name of a protocol, or the path of a .py file
    "out": text(OUT),  # folder of metrics.csv and metrics.json
    "workers": whole(0, most=4096),  # processes; 0: one per core
}
SHOWN = 40  # tables with more rows are not printed; metrics.csv contains all rows
NOTES = 10  # notes that are printed; metrics.json contains all notes


@dataclass(frozen=True)
class EvaluationRequest:
    """What is scored, with which protocol, and where the results are written."""

    gt: Path
    pred: Path
    protocol: Protocol
    out: Path
    workers: int


def run(arguments: Sequence[str]) -> int:
    """Scores, prints a table, writes metrics.csv and metrics.json.

    Returns:
        The exit code, 0.

    Raises:
        InputError: everything that is wrong with the arguments or the files; nothing is written in that case.
    """
    started = time.perf_counter()
    request = parse(arguments)
    with owned(request.out, "evaluation"):
        result = request.protocol.evaluate(request.gt, request.pred, request.workers)
        write(request, result)
    print(table(result))
    print(f"\n{len(result.rows)} rows, {time.perf_counter() - started:.1f} s | results: {request.out}")
    return 0


def names() -> dict[str, str]:
    """{protocol: its description in one line}."""
    return available(Protocol, protocols, GROUP)


def parse(arguments: Sequence[str]) -> EvaluationRequest:
    """The request that `key=value` arguments describe.

    Raises:
        InputError: missing or malformed arguments, options that the protocol does not have, and folders that do not
            exist or must not be written to.
    """
    given = pairs(tuple(arguments), f"expected key=value: {USAGE}")
    problems = [f"`{key}` must be given: {USAGE}" for key in ("gt", "pred", "protocol") if not given.get(key)]
    if not given.get("protocol"):
        problems.append(f"protocols: {', '.join(names())}; `run_ensemble.py list` describes them")
    values: dict[str, Any] = {}
    for key, known in ARGUMENTS.items():
        if given.get(key) or key in ("out", "workers"):
            try:
                value = plain({k: given.pop(k) for k in [key] if k in given}, ARGUMENTS, "evaluate")
                values |= merge_settings({key: known}, value, "evaluate")
            except InputError as error:
                problems += error.problems
    protocol = None
    if "protocol" in values:
        try:
            cls = find(values["protocol"], Protocol, protocols, GROUP)
            options = {key: value for key, value in given.items() if key not in ARGUMENTS}
            protocol = make(cls, plain(options, cls.defaults, values["protocol"]))
        except InputError as error:
            problems += error.problems
    paths = {key: user_path(values[key]) for key in ("gt", "pred", "out") if key in values}
    problems += path_problems(paths)
    if problems:
        raise InputError(problems)
    return EvaluationRequest(paths["gt"], paths["pred"], protocol, paths["out"], values["workers"])


def path_problems(paths: Mapping[str, Path]) -> list[str]:
    """What is wrong with the paths of an evaluation, one sentence each.

    Args:
        paths: `gt`, `pred` and `out`, as far as they are known. Results must not be written into the folders that are
            read: they would become part of a submission.
    """
    inputs = {key: path for key, path in paths.items() if key != "out"}
    problems = [f"{p}: no such file or folder, given as `{key}`" for key, p in inputs.items() if not os.path.exists(p)]
    for key, path in inputs.items() if "out" in paths else ():
        out = paths["out"]
        if os.path.isdir(path) and path.resolve() in (out.resolve(), *out.resolve().parents):
            problems.append(f"{out}: lies in `{key}` ({path}), where nothing is ever written; give another out=DIR")
    return problems


def write(request: EvaluationRequest, result: Result) -> None:
    """Writes metrics.csv, one row per object, expression or sample, and metrics.json, the summary and the arguments."""
    atomic_write(request.out / "metrics.csv", result.rows.to_csv(index=False, float_format="%.17g"))
    content = {
        "protocol": request.protocol.name,
        "options": vars(request.protocol.settings),
        "gt": str(request.gt),
        "pred": str(request.pred),
        "summary": {key: None if math.isnan(value) else value for key, value in result.summary.items()},
        "rows": len(result.rows),
        "notes": list(result.notes),
    }
    atomic_write(request.out / "metrics.json", json.dumps(content, indent=1))


def table(result: Result) -> str:
    """The summary in percent, the rows if there are few, and the notes."""
    summary = pd.DataFrame([result.summary]).map(_percent).to_string(index=False)
    parts = [summary]
    if len(result.rows) <= SHOWN:
        rows = result.rows.copy()
        for column in rows.select_dtypes("float"):
            rows[column] = rows[column].map(_percent)
        parts.append(rows.to_string(index=False))
    if result.notes:
        more = [f"and {len(result.notes) - NOTES} more notes in metrics.json"] if len(result.notes) > NOTES else []
        parts.append("\n".join([*(f"note: {n}" for n in result.notes[:NOTES]), *more]))
    return "\n\n".join(parts)


def _percent(value: float) -> str:
    """A value in 0..1 as percent."""
    return f"{100 * value:.2f}"
