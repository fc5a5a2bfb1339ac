"""`torch.compile`, CUDA graphs, and the official engine of AOT beside ours."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.gpu.machine import Machine
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.tracking import maker, masks_of
from benchmarks.propagate import Blobs
from benchmarks.propagate import weights as aot_weights

INPUT = (577, 1041)  # of the official demo
FRAMES = 20


def compiled(rows: Rows, machine: Machine) -> None:
    """The setting `compile` of AOT and DeAOT: seconds of the first clip, and frames per second after it."""
    for name in () if machine.rehearse else ("r50_aotl", "r50_deaotl"):
        with TemporaryDirectory() as folder:
            make = maker(name, Path(folder), machine)
            for compile_ in (False, True):
                propagator = make(device=machine.device, precision="bf16", compile=compile_)
                blobs = Blobs(machine.size, machine.frames, 4)
                _, first, _ = machine.measure(lambda p=propagator, b=blobs: masks_of(p, b, 4))
                _, seconds, _ = machine.measure(lambda p=propagator, b=blobs: masks_of(p, b, 4))
                speed = {"first clip, s": first, "4: frames/s": 4 * machine.frames / seconds}
                rows.add(f"{name}, bf16, {'compiled' if compile_ else 'not compiled'}", **speed)
    if machine.rehearse:
        rows.add("compile", note="not rehearsed: it takes minutes on a CPU; tests/propagators/test_aot.py compiles")
    rows.add("CUDA graphs", note="not applicable: the code captures none")


def official(rows: Rows, machine: Machine, checkout: Path | None) -> None:
    """One sequence of three objects: the official engine of AOT and DeAOT, and our tracker, both in float32."""
    if checkout is None:
        rows.add("official engine", note="not measured: --official FOLDER names a checkout of yoxu515/aot-benchmark")
        return
    from benchmarks.official_demo import Official, Ours, official_code

    torch.set_grad_enabled(False)
    code = official_code(checkout.resolve())
    for name in ("aott",) if machine.rehearse else ("aott", "deaott", "r50_aotl", "r50_deaotl"):
        with TemporaryDirectory() as folder:
            path = aot_weights(name, Path(folder))
            theirs, ours = Official(code, name, checkout, 255), Ours(path)
            theirs.load(path)
            labels = {}
            for side, engine in {"official": theirs, "ours": ours}.items():
                engine.network.to(machine.device)
                labels[side], speed, peak = _one_sequence(machine, engine, ours)
                rows.add(f"{name}, {side}, fp32", **{"frames/s": speed, "MiB": peak})
            same = float(np.mean([a == b for a, b in zip(labels["official"], labels["ours"], strict=True)]))
            rows.add(f"{name}, both", **{"equal labels": same}, failed=None if same > 0.99 else "other labels")


def _one_sequence(machine: Machine, engine, ours) -> tuple[np.ndarray, float, float]:
    """(labels of the last frame, frames per second, peak memory in MiB); the first frames choose kernels."""
    size, frames = (INPUT, FRAMES) if not machine.rehearse else ((129, 193), 2)
    blobs = Blobs(size, frames + 3, 3)
    images = [ours.image(blobs.read(t)).to(machine.device) for t in range(blobs.length)]
    labels = torch.from_numpy(blobs.labels(0))[None, None].float().to(machine.device)
    engine.reference(images[0], labels)
    for image in images[1:3]:
        engine.step(image, size)
    found, seconds, peak = machine.measure(lambda: [engine.step(image, size)[0] for image in images[3:]])
    return found[-1].cpu().numpy(), frames / seconds, peak
