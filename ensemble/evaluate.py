"""Scores masks from anywhere by the protocol of a benchmark.

python run_ensemble.py evaluate gt=DIR pred=DIR|ZIP protocol=NAME [option=value ...] [out=DIR] [workers=N]
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from adapters.component import available, find
from adapters.sequence import InputError
from ensemble import protocols
from ensemble.protocols.protocol import Protocol, Result
from ensemble.store import atomic_write

GROUP = "rvos_ensemble.protocols"
OUT = "runs/evaluate"
USAGE = "evaluate gt=DIR pred=DIR|ZIP protocol=NAME [option=value ...] [out=DIR] [workers=N]"
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
    if broken := [a for a in arguments if "=" not in a]:
        raise InputError(f"argument {broken[0]!r}: expected key=value: {USAGE}")
    try:
        options = OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments)))
    except (OmegaConfBaseException, YAMLError) as e:
        raise InputError(f"{' '.join(arguments)}: {str(e).splitlines()[0]}") from None
    given = {key: options.pop(key, None) for key in ("gt", "pred", "protocol", "out", "workers")}
    problems = [f"`{key}` must be given: {USAGE}" for key in ("gt", "pred", "protocol") if given[key] is None]
    if given["protocol"] is None:
        problems.append(f"protocols: {', '.join(names())}; `run_ensemble.py list` says what they are")
    if not isinstance(given["workers"] or 0, int) or (given["workers"] or 0) < 0:
        problems.append(f"`workers` is {given['workers']!r}, expected a number of processes; 0 for one a core")
    if problems:
        raise InputError(problems)
    protocol = find(str(given["protocol"]), Protocol, protocols, GROUP)(**options)
    gt, pred, out = (Path(str(given[key] or OUT)).expanduser() for key in ("gt", "pred", "out"))
    if problems := [*_absent(gt, "gt"), *_absent(pred, "pred"), *_not_for_results(out, {"gt": gt, "pred": pred})]:
        raise InputError(problems)
    return Request(gt, pred, protocol, out, given["workers"] or 0)


def _absent(path: Path, key: str) -> list[str]:
    return [] if path.exists() else [f"{path}: no such file or folder, given as `{key}`"]


def _not_for_results(out: Path, inputs: dict[str, Path]) -> list[str]:
    """Results beside the masks would end up in submissions, and be taken for masks or for another run's results."""
    problems = []
    for key, path in inputs.items():
        if path.is_dir() and (out.resolve() == path.resolve() or path.resolve() in out.resolve().parents):
            problems.append(f"{out}: lies in `{key}` ({path}), where nothing is ever written; give another out=DIR")
    if out.exists() and not out.is_dir():
        problems.append(f"{out}: a file, given as `out`; expected a folder")
    elif out.is_dir() and any(out.iterdir()) and "protocol" not in _read(out / "metrics.json"):
        problems.append(f"{out}: not empty, and not the results of an earlier evaluation; give another out=DIR")
    return problems


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
