"""The report of a training run: its curves and the model card."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rvos_ensemble.ensemble.report.paper.figures import curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 200  # rows of the log that are drawn; validation metrics are always drawn


def read_log(out: Path) -> list[dict[str, float]]:
    """The rows that a run logged in its folder."""
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def is_metric(key: str) -> bool:
    """Whether a column of the log is a validation metric: their names start with a capital letter."""
    return key[:1].isupper()


def metrics_of(row: Mapping[str, float], digits: int = 3) -> dict[str, str]:
    """The validation metrics of a row of the log, formatted."""
    return {k: f"{v:.{digits}f}" for k, v in row.items() if is_metric(k)}


def figure(title: str, log: Sequence[Mapping[str, float]]) -> Figure:
    """Draws the loss and the validation metrics over the steps."""
    names = [k for k in {k: None for row in log for k in row} if k == "loss" or is_metric(k)]
    names.sort(key=lambda k: k == "loss")
    drawn = log if len(log) <= MAX_POINTS else [*log[:: len(log) // MAX_POINTS], log[-1]]
    drawn = [*drawn, *(row for row in log if any(map(is_metric, row)))]
    rows = [row for _, row in sorted({row["step"]: row for row in drawn}.items())]
    lines = {k: [row.get(k, np.nan) for row in rows] for k in names}
    return curves(title, "step", [row["step"] for row in rows], lines)


def full_name(name: str, variant: str | None) -> str:
    """One name for a network and its variant: several networks have variants named after published backbones.

    >>> full_name("soc", None), full_name("soc", "resnet50"), full_name("aot", "r50_aotl")
    ('soc', 'soc_resnet50', 'r50_aotl')
    """
    if variant is None or name in str(variant):
        return str(variant or name)
    return f"{name}_{variant}"


def card(
    name: str,
    arguments: Sequence[str],
    settings: Mapping[str, Any],
    parameters: int,
    log: Sequence[Mapping[str, float]],
    started: float,
) -> str:
    """A model card in Markdown: what was trained, how, on which machine, and the validation metrics.

    Args:
        name: of the network.
        arguments: of the command `train`.
        settings: all settings of the run.
        parameters: number of parameters.
        log: the rows of `read_log`.
        started: time at which the command started, seconds since the epoch.
    """
    last = log[-1]
    command = " ".join(f'"{a}"' if " " in a or "[" in a else a for a in arguments)
    facts = {
        "Command": f"`python run_ensemble.py train {command}`",
        "Trained": time.strftime("%Y-%m-%d", time.gmtime(started)),
        "Time": f"{last['seconds'] / 60:.0f} minutes, {last['step']} steps",
        "Machine": _machine(settings),
        "Data": str(settings.get("data", "")),
        "Seed": settings["seed"],
        "Parameters": f"{parameters:,}",
    }
    facts |= {f"{k} (validation)": v for k, v in metrics_of(last, 4).items()}
    others = ", ".join(f"{k}={v}" for k, v in sorted(settings.items()) if k not in ("data", "seed", "out"))
    lines = "\n".join(f"| {k} | {v} |" for k, v in facts.items())
    return f"# {full_name(name, settings.get('variant'))}\n\n| | |\n|---|---|\n{lines}\n\nSettings: {others}\n"


def _machine(settings: Mapping[str, Any]) -> str:
    """The GPU, or the CPU with its number of threads."""
    import torch

    if torch.cuda.is_available() and settings["device"] != "cpu":
        return torch.cuda.get_device_name()
    cpus = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpus.read_text()) if cpus.is_file() else []
    threads = torch.get_num_threads()
    count = f"{threads} thread" + ("s" if threads > 1 else "")
    return f"{(names or [platform.machine()])[0]}, {count}, PyTorch {torch.__version__}"
