"""Scores masks from anywhere by the protocol of a benchmark.

python run_ensemble.py evaluate gt=DIR pred=DIR|ZIP protocol=NAME [option=value ...] [out=DIR] [workers=N]
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
from rvos_ensemble.adapters.core.disk import atomic_write, user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import text, whole
from rvos_ensemble.ensemble.engine.folders import owned
from rvos_ensemble.ensemble.metrics import protocols
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result
from rvos_ensemble.ensemble.recipe.overrides import pairs, plain

GROUP = "rvos_ensemble.protocols"
OUT = "runs/evaluate"
USAGE = "evaluate gt=DIR pred=DIR|ZIP protocol=NAME [option=value ...] [out=DIR] [workers=N]"
ASKED = {"gt": text(), "pred": text(), "protocol": text(), "out": text(OUT), "workers": whole(0, most=4096)}
SHOWN = 40  # rows that are printed; metrics.csv has all
NOTES = 10


@dataclass(frozen=True)
class Request:
    """What is to be scored, how, and where the results go."""

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
        InputError: all that is wrong with the arguments or the files; nothing is written then.
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
    """{protocol: one line about it}."""
    return available(Protocol, protocols, GROUP)


def parse(arguments: Sequence[str]) -> Request:
    """The request that `key=value` arguments make.

    Raises:
        InputError: one is missing or malformed, an option the protocol does not have, a folder that must not be used.
    """
    given = pairs(tuple(arguments), f"expected key=value: {USAGE}")
    problems = [f"`{key}` must be given: {USAGE}" for key in ("gt", "pred", "protocol") if not given.get(key)]
    if not given.get("protocol"):
        problems.append(f"protocols: {', '.join(names())}; `run_ensemble.py list` says what they are")
    asked: dict[str, Any] = {}
    for key, known in ASKED.items():
        if given.get(key) or key in ("out", "workers"):
            try:
                value = plain({k: given.pop(k) for k in [key] if k in given}, ASKED, "evaluate")
                asked |= merge_settings({key: known}, value, "evaluate")
            except InputError as e:
                problems += e.problems
    protocol = None
    if "protocol" in asked:
        try:
            kind = find(asked["protocol"], Protocol, protocols, GROUP)
            options = {key: value for key, value in given.items() if key not in ASKED}
            protocol = make(kind, plain(options, kind.defaults, asked["protocol"]))
        except InputError as e:
            problems += e.problems
    paths = {key: user_path(asked[key]) for key in ("gt", "pred", "out") if key in asked}
    problems += path_problems(paths)
    if problems:
        raise InputError(problems)
    return Request(paths["gt"], paths["pred"], protocol, paths["out"], asked["workers"])


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


def write(request: Request, result: Result) -> None:
    """Writes metrics.csv, a row per object, expression or sample, and metrics.json, the summary and what was asked."""
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
    """The summary in percent, the rows where they are few, and the notes."""
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
    return f"{100 * value:.2f}"
