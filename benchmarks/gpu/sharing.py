"""Two processes on one device, and clips that do not fit into its memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.gpu.machine import Machine
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.tracking import ROOT, SURE, maker, masks_of, mean_iou
from benchmarks.propagate import Blobs
from rvos_ensemble.propagators.core.propagator import Propagator

CHILD = """
import sys
from benchmarks.gpu.sharing import repeat
print(repeat(*sys.argv[1:4], int(sys.argv[4])))
"""


def processes(rows: Rows, machine: Machine) -> None:
    """The same work in one process, and in two at once that share the device."""
    name, times = ("aot_nano", 1) if machine.rehearse else ("r50_aotl", 4)
    arguments = [sys.executable, "-c", CHILD, name, machine.device, str(int(machine.rehearse)), str(times)]
    for count in (1, 2):
        children = [subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        said = [child.communicate()[0] for child in children]
        if any(child.returncode for child in children):
            rows.add(f"{count} processes, {name}", failed=f"exit codes {[c.returncode for c in children]}")
            return
        speed = sum(float(text) for text in said)
        rows.add(f"{count} processes, {name}", **{"clip frames/s, together": speed})


def repeat(name: str, device: str, rehearse: str, times: int) -> float:
    """Frames per second of a clip with four sequences, propagated several times, without the start."""
    machine = Machine(device, bool(int(rehearse)))
    with TemporaryDirectory() as folder:
        propagator = maker(name, Path(folder), machine)(device=device)
        masks_of(propagator, Blobs(machine.size, 3, 4), 4)
        started = time.perf_counter()
        for _ in range(times):
            masks_of(propagator, Blobs(machine.size, machine.frames, 4), 4)
        machine.wait()
        return machine.frames * times / (time.perf_counter() - started)


def memory(rows: Rows, machine: Machine) -> None:
    """Twelve sequences where memory suffices for about four: they are split, and the masks are the same."""
    name = "aot_nano" if machine.rehearse else "r50_aotl"
    with TemporaryDirectory() as folder:
        make = maker(name, Path(folder), machine)
        propagator = make(device=machine.device, precision="fp32")
        blobs = Blobs(machine.size, machine.frames, 4)
        _, _, one = machine.measure(lambda: masks_of(propagator, blobs, 1))
        expected, _, twelve = machine.measure(lambda: masks_of(propagator, blobs, 12))
        with _Limited(machine, propagator, (one + (twelve - one) / 3) * 2**20):
            masks = masks_of(propagator, blobs, 12)
    parts = {sequence.notes.get("split", 12) for sequence in masks}
    likeness = mean_iou(masks, expected)
    wrong = [] if max(parts) < 12 else ["memory was short, but nothing was split"]
    wrong += [] if likeness >= SURE[True] else ["other masks"]
    values = {"sequences together": ", ".join(map(str, sorted(parts))), "IoU with all at once": likeness}
    rows.add(f"12 sequences, {name}, too little memory", **values, failed="; ".join(wrong) or None)


class _Limited:
    """A device whose memory is limited while it is entered; a CPU raises the error for more than four sequences."""

    def __init__(self, machine: Machine, propagator: Propagator, bytes_: float):
        self.machine, self.propagator, self.bytes = machine, propagator, bytes_

    def __enter__(self) -> None:
        if self.machine.device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, self.bytes / total))
            return
        sweep = self.propagator.sweep

        def limited(size: tuple[int, int], sequences: int):
            if sequences > 4:
                raise torch.OutOfMemoryError("CUDA out of memory (in a rehearsal)")
            return sweep(size, sequences)

        self.propagator.sweep = limited

    def __exit__(self, *_) -> None:
        if self.machine.device == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
        else:
            del self.propagator.sweep
