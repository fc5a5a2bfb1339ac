"""The parts of the benchmark, each in a process of its own with a time budget: what fails there stays there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.rows import Rows

ROOT = Path(__file__).parents[2]


class Section(NamedTuple):
    """A part of the benchmark.

    Attributes:
        title: above its table.
        budget: seconds after which it is stopped; what it has measured by then is kept.
    """

    title: str
    budget: int


SECTIONS = {  # in this order: what matters most comes first
    "aot": Section("AOT and DeAOT", 130),
    "models": Section("RVOS models", 70),
    "others": Section("SAM 2, SAM 3's tracker and Cutie", 80),
    "memory": Section("Too little memory", 25),
    "processes": Section("Two processes on one device", 40),
    "training": Section("One step of each trainer", 60),
    "official": Section("The official engine", 30),
    "compile": Section("torch.compile and CUDA graphs", 60),
}
REHEARSAL = 900  # seconds per section of a rehearsal, whatever else the CPU does
Start = Callable[[str, Path], Sequence[str]]


def work_of(name: str, rows: Rows, rehearse: bool, official: Path | None) -> None:
    """Does a section's work in this process; an exception becomes a row."""
    from benchmarks.gpu import engines, segmenting, sharing, tracking, training
    from benchmarks.gpu.machine import Machine

    machine = Machine("cpu" if rehearse else "cuda", rehearse)
    works: dict[str, Callable[[], None]] = {
        "aot": lambda: tracking.aot(rows, machine),
        "models": lambda: segmenting.models(rows, machine),
        "others": lambda: tracking.others(rows, machine),
        "memory": lambda: sharing.memory(rows, machine),
        "processes": lambda: sharing.processes(rows, machine),
        "training": lambda: training.steps(rows, machine),
        "official": lambda: engines.official(rows, machine, official),
        "compile": lambda: engines.compiled(rows, machine),
    }
    try:
        works[name]()
    except Exception as error:
        traceback.print_exc()
        rows.add(name, failed=f"{type(error).__name__}: {error}")


def supervise(names: Sequence[str], folder: Path, start: Start, left: float, budget: int | None = None) -> dict:
    """Runs sections one after the other, each in a process of its own.

    Args:
        names: keys of `SECTIONS`.
        folder: receives the rows and the output of each.
        start: (name, file for its rows) -> the command of its process.
        left: seconds for all of them.
        budget: seconds for each; None: its own.

    Returns:
        {name: {"seconds", "rows", "failed"}}; `failed` lists what went wrong, empty if nothing did.
    """
    results: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + left
    for name in names:
        file, began = folder / f"{name}.jsonl", time.monotonic()
        file.unlink(missing_ok=True)
        seconds = min(budget or SECTIONS[name].budget, end - began)
        ended = "not started: no time was left" if seconds < 1 else _run(start(name, file), folder / name, seconds)
        rows = Rows.read(file)
        failed = [ended] if ended else [] if rows else ["it measured nothing"]
        failed += [f"{row['case']}: {row['failed']}" for row in rows if "failed" in row]
        results[name] = {"seconds": round(time.monotonic() - began, 1), "rows": rows, "failed": failed}
        print(f"{name}: {len(rows)} rows in {results[name]['seconds']} s{', FAILED' if failed else ''}", flush=True)
    return results


def _run(command: Sequence[str], output: Path, seconds: float) -> str:
    """Runs a command, at most for some seconds; says how it failed, "" if it did not."""
    with output.with_suffix(".log").open("w", encoding="utf-8") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # with the processes that it started
                child.wait()
    return f"stopped after {seconds:.0f} s" if code is None else f"exit code {code}, see {log.name}" if code else ""


def command(rehearse: bool, official: Path | None) -> Start:
    """The commands of `supervise`."""

    def start(name: str, file: Path) -> list[str]:
        words = [sys.executable, "-m", "benchmarks.gpu", "--section", name, "--rows", str(file)]
        words += ["--rehearse"] if rehearse else []
        return [*words, *(["--official", str(official)] if official else [])]

    return start
