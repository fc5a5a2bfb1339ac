"""One step of every trainer on the device."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.machine import Machine
from benchmarks.gpu.rows import Rows
from rvos_ensemble.ensemble.commands import train
from rvos_ensemble.ensemble.commands.families import trainable

SMALL = {  # of a rehearsal, where a trainer has the setting
    "size": "[64,96]",
    "sizes": "[[126,224]]",
    "validate_size": "[126,224]",
    "short_side": "64",
    "frames": "2",
    "looks": "1",
    "expressions": "2",
    "sentences": "2",
    "text_layers": "1",
    "text_width": "32",
    "channels": "16",
}
ALWAYS = {"steps": "1", "batch": "1", "validate_clips": "0", "held_out": "0", "ema": "0", "workers": "0"}
VARIANTS = {"urvos": "urvos_nano", "grounding": "grounding_nano", "judge": "judge_nano"}  # of ours, from scratch
MORE = {"urvos": {"freeze_bn": "false", "backbone_lr": "1"}}
LARGE = (("propagator", "aot", "r50_aotl"), ("propagator", "deaot", "r50_deaotl"))


def steps(rows: Rows, machine: Machine, only: tuple[str, ...] = ()) -> None:
    """A step of every family that can be trained, with our variants; of AOT and DeAOT also the published size.

    Args:
        rows: receives the results.
        machine: the device.
        only: names of families; all if there are none.
    """
    cases = [(kind, name, VARIANTS.get(name)) for kind, families in trainable().items() for name in families]
    for kind, name, variant in cases if machine.rehearse else [*cases, *LARGE]:
        if only and name not in only:
            continue
        case = f"train {kind}={name}" + (f" variant={variant}" if variant else "")
        try:
            _, seconds, peak = machine.measure(lambda k=kind, n=name, v=variant: step(machine, k, n, v))
            rows.add(case, **{"s, with start and data": seconds, "MiB": peak})
        except Exception as error:
            rows.add(case, failed=f"{type(error).__name__}: {error}")


def step(machine: Machine, kind: str, name: str, variant: str | None) -> None:
    """Trains for one step through the command `train`.

    Raises:
        RuntimeError: no weights were written.
    """
    known = train.settings_of(train.parse([f"{kind}={name}"] if kind not in train.SINGLE else [kind]).trainer)
    values = {**ALWAYS, **MORE.get(name, {}), **(SMALL if machine.rehearse else {}), "device": machine.device}
    values |= {"variant": variant} if variant else {}
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        words = [kind if kind in train.SINGLE else f"{kind}={name}", f"out={folder}/out"]
        train.run([*words, *(f"{k}={v}" for k, v in values.items() if k in known)])
        if not (Path(folder) / "out/weights.pth").exists():
            raise RuntimeError("no weights were written")
