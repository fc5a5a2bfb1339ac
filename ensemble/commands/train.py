"""The command `train`: which network, on what, with which settings. `adapters/training/loop/loop.py` does the training.

A trainer is a module with `DEFAULTS`, its own settings and other defaults for those of the loop that it needs to know
(steps, seed), and `trainee(name, settings, score)`, which takes values for them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.disk import atomic_write, user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import text
from rvos_ensemble.ensemble.engine.folders import owned
from rvos_ensemble.ensemble.metrics.jf import j_and_f
from rvos_ensemble.ensemble.recipe.overrides import pairs, plain
from rvos_ensemble.ensemble.report.plot import curves

TRAINERS = {  # kind: {network: the module that trains it}
    "propagator": dict.fromkeys(("aot", "deaot"), "rvos_ensemble.propagators.training"),
    "segmenter": {
        **dict.fromkeys(("referformer", "mutr", "soc"), "rvos_ensemble.adapters.training.segmenters"),
        "uninext": "rvos_ensemble.adapters.training.uninext",
        "urvos": "rvos_ensemble.adapters.training.urvos",
    },
    "backbone": dict.fromkeys(("resnet_nano", "convnext_nano"), "rvos_ensemble.adapters.training.pretrain_backbone"),
    "grounding": {"grounding": "rvos_ensemble.adapters.training.grounding"},
}


def run(arguments: Sequence[str]) -> int:
    """Trains, or goes on training; returns the exit code.

    Raises:
        InputError: no such network or setting, data that cannot be read, or a folder with another training.
    """
    from rvos_ensemble.adapters.training.loop import loop, processes  # here, because torch takes its time to load

    kind, name, given = _read(arguments)
    module = trainer(kind, name)
    settings = merge_settings(_known(kind, name), given, f"train {kind}={name}")
    out = settings.pop("out")
    out = user_path(out) if out else Path("runs") / "train" / full_name(name, given.get("variant"))
    started = time.time()
    trainee = module.trainee(name, {k: settings[k] for k in module.DEFAULTS}, score)
    parameters = sum(p.numel() for p in trainee.network.parameters())
    print(f"training {name} ({parameters / 1e6:.2f} M parameters) on {settings['data']}, into {out}", file=sys.stderr)
    try:
        about = {kind: name, **{k: settings[k] for k in module.DEFAULTS}}
        with owned(out, "training") if processes.is_first() else contextlib.nullcontext():
            weights = loop.fit(trainee, {k: settings[k] for k in loop.DEFAULTS}, out, about)
    except (OSError, FloatingPointError) as error:
        raise InputError(f"{out}: {error}; the same command goes on from the last state that was saved") from None
    if not processes.is_first():
        return 0
    log = read_log(out)
    atomic_write(out / "log.svg", picture(f"{name}: {settings['data']}, {settings['steps']} steps", log))
    atomic_write(out / "card.md", card(name, arguments, settings, parameters, log, started))
    figures = ", ".join(f"{k} {v:.3f}" for k, v in log[-1].items() if k[:1].isupper())
    print(f"{weights}: {figures or 'trained'}; curves: {out / 'log.svg'}, model card: {out / 'card.md'}")
    return 0


def trainer(kind: str, name: str) -> ModuleType:
    """The module that trains a network."""
    return importlib.import_module(TRAINERS[kind][name])


def full_name(name: str, variant: str | None) -> str:
    """A network and its variant, by one name: published backbones are variants of several networks.

    >>> full_name("soc", None), full_name("soc", "resnet50"), full_name("aot", "r50_aotl")
    ('soc', 'soc_resnet50', 'r50_aotl')
    """
    if variant is None or name in str(variant):
        return str(variant or name)
    return f"{name}_{variant}"


def score(prediction: np.ndarray, truth: np.ndarray) -> float:
    """J&F of one object.

    Args:
        prediction, truth: bool or uint8 [T, H, W].

    Returns:
        Mean over the frames, 0..1.
    """
    j, f = j_and_f(np.asarray(prediction, bool), np.asarray(truth, bool))
    return float((np.mean(j) + np.mean(f)) / 2)


def _read(arguments: Sequence[str]) -> tuple[str, str, dict[str, Any]]:
    """Kind and name of the network, and the settings."""
    choices = "; ".join(f"{kind}={'|'.join(names)}" for kind, names in TRAINERS.items())
    arguments = [f"{a}={a}" if a == "grounding" else a for a in arguments]
    given = pairs(arguments)
    kinds = [k for k in given if k in TRAINERS]
    if len(kinds) != 1:
        raise InputError(f"train what? Give one of {choices}")
    kind = kinds[0]
    name = given.pop(kind)
    if name not in TRAINERS[kind]:
        raise InputError(f"train: no {kind} {name!r}. There are: {', '.join(TRAINERS[kind])}")
    return kind, name, plain(given, _known(kind, name), f"train {kind}={name}")


def _known(kind: str, name: str) -> dict[str, Any]:
    """Every setting that a training of a network has; what its trainer says goes over what the loop says."""
    from rvos_ensemble.adapters.training.loop import loop  # here, because torch takes its time to load

    return {"out": text(None), **loop.DEFAULTS, **trainer(kind, name).DEFAULTS}


def read_log(out: Path) -> list[dict[str, float]]:
    """The rows that a training logged."""
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def picture(title: str, log: Sequence[Mapping[str, float]]) -> str:
    """Loss and validation over the steps, as SVG; figures of validation are drawn where there are any."""
    shown = [k for k in {k: None for row in log for k in row} if k == "loss" or k[:1].isupper()]
    shown.sort(key=lambda k: k == "loss")
    rows = log if len(log) <= 200 else log[:: len(log) // 200] + log[-1:]
    rows = sorted({r["step"]: r for r in (*rows, *(r for r in log if any(k[:1].isupper() for k in r)))}.values(),
                  key=lambda r: r["step"])  # fmt: skip
    lines = {k: [r.get(k, np.nan) for r in rows] for k in shown}
    return curves(title, "step", [r["step"] for r in rows], lines)


def card(
    name: str,
    arguments: Sequence[str],
    settings: Mapping[str, Any],
    parameters: int,
    log: Sequence[Mapping[str, float]],
    started: float,
) -> str:
    """A model card in markdown: what was trained, how, where, and how good it is."""
    last = log[-1]
    command = " ".join(f'"{a}"' if " " in a or "[" in a else a for a in arguments)
    facts = {
        "Command": f"`python run_ensemble.py train {command}`",
        "Trained": time.strftime("%Y-%m-%d", time.gmtime(started)),
        "Time": f"{last['seconds'] / 60:.0f} minutes, {last['step']} steps",
        "Machine": _machine(settings),
        "Data": str(settings["data"]),
        "Seed": settings["seed"],
        "Parameters": f"{parameters:,}",
    }
    facts |= {f"{k} (validation)": f"{v:.4f}" for k, v in last.items() if k[:1].isupper()}
    other = ", ".join(f"{k}={v}" for k, v in sorted(settings.items()) if k not in ("data", "seed", "out"))
    lines = "\n".join(f"| {k} | {v} |" for k, v in facts.items())
    return f"# {full_name(name, settings.get('variant'))}\n\n| | |\n|---|---|\n{lines}\n\nSettings: {other}\n"


def _machine(settings: Mapping[str, Any]) -> str:
    import torch

    if torch.cuda.is_available() and settings["device"] != "cpu":
        return torch.cuda.get_device_name()
    cpus = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpus.read_text()) if cpus.is_file() else []
    threads = torch.get_num_threads()
    told = f"{threads} thread" + ("s" if threads > 1 else "")
    return f"{(names or [platform.machine()])[0]}, {told}, PyTorch {torch.__version__}"
