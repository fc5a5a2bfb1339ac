"""Propagators: masks against float32 on the CPU, frames per second and peak memory for 1 and 12 sequences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.gpu.machine import Machine
from benchmarks.gpu.rows import Rows
from benchmarks.propagate import Blobs, find_propagator
from benchmarks.propagate import weights as aot_weights
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.overlap import iou
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.networks.variants import VARIANTS

ROOT = Path(__file__).parents[2]
TRAINED = ("aot_nano", "deaot_nano", "aot_real", "deaot_real")  # their weights come with the package
PUBLISHED = (  # the most used ones first: a part that runs out of time ends with what it has
    *("r50_aotl", "r50_deaotl", "aott", "deaott", "swinb_aotl", "swinb_deaotl", "aotl", "deaotl"),
    *("aots", "aotb", "deaots", "deaotb", "r101_aotl", "swinl_aotl", "swinl_deaotl"),
)
OTHERS = ("sam2_tiny", "sam2_large", "sam3", "cutie_base", "cutie_small")
SURE = {True: 0.99, False: 0.95}  # lowest mean IoU with float32 on the CPU: in fp32, and in less with trained weights
RANDOM = 0.5  # and in less with random weights, which leave most pixels without a clear winner
Maker = Callable[..., Propagator]


def aot(rows: Rows, machine: Machine) -> None:
    """All variants of AOT and DeAOT."""
    for name in ("deaot_nano",) if machine.rehearse else (*TRAINED, *PUBLISHED):
        show(rows, machine, name)


def others(rows: Rows, machine: Machine) -> None:
    """SAM 2, SAM 3's tracker and Cutie."""
    for name in ("tiny", "cutie_nano") if machine.rehearse else OTHERS:
        show(rows, machine, name)


def show(rows: Rows, machine: Machine, name: str) -> None:
    """Adds the rows of one propagator; what fails becomes a row, and the next one follows."""
    with TemporaryDirectory() as folder:
        make = maker(name, Path(folder), machine)
        blobs = Blobs(machine.small, 4, 4)
        expected = masks_of(make(device="cpu", precision="fp32"), blobs, 2)
        for precision in machine.precisions:
            try:
                propagator = make(device=machine.device, precision=precision)
                likeness = mean_iou(masks_of(propagator, blobs, 2), expected)
                least = SURE[precision == "fp32"] if precision == "fp32" or name in TRAINED else RANDOM
                failed = None if likeness >= least else f"IoU with the CPU below {least}"
                speed = speeds(machine, propagator)
                rows.add(name, precision=precision, **{"IoU": likeness}, **speed, failed=failed)
            except Exception as error:
                rows.add(name, precision=precision, failed=f"{type(error).__name__}: {error}")


def speeds(machine: Machine, propagator: Propagator) -> dict[str, float]:
    """Frames per second and sequence, and peak memory, for 1 and for 12 sequences."""
    found = {}
    for count in (1, 12):
        blobs = Blobs(machine.size, machine.frames, 4)
        masks_of(propagator, Blobs(machine.size, 3, 4), count)  # chooses kernels
        _, seconds, peak = machine.measure(lambda blobs=blobs, n=count: masks_of(propagator, blobs, n))
        found[f"{count}: frames/s"] = machine.frames * count / seconds
        found[f"{count}: MiB"] = peak
    return found


def masks_of(propagator: Propagator, blobs: Blobs, count: int) -> list[MaskSequence]:
    """Masks of sequences with one object and one key frame each, spread over the clip."""
    keys = [int(i * blobs.length / count) for i in range(count)] if count > 1 else [blobs.length // 2]
    masks = [np.stack([blobs.labels(t) == i + 1 for t in range(blobs.length)]) for i in range(blobs.objects)]
    tasks = [PropagationTask(MaskSequence.binary(masks[i % len(masks)]), (key,)) for i, key in enumerate(keys)]
    return propagate(blobs.clip(), tasks, propagator)


def mean_iou(sequences: Sequence[MaskSequence], expected: Sequence[MaskSequence]) -> float:
    """Mean IoU of the masks of sequences over all frames."""
    pairs = zip(sequences, expected, strict=True)
    return float(np.mean([iou(a.mask(t), b.mask(t)) for a, b in pairs for t in range(len(a))]))


def maker(name: str, folder: Path, machine: Machine) -> Maker:
    """A function that makes the propagator with given settings; its weights are written into the folder."""
    if name in VARIANTS:
        file = name if name in TRAINED else aot_weights(name, folder)
        small = {"max_long_edge": 96} if machine.rehearse else {}
        return lambda **settings: find_propagator(file, VARIANTS[name].family, **small, **settings)
    if name.startswith("cutie_"):
        file = _cutie(name.removeprefix("cutie_"), folder)
        return lambda **settings: find_propagator(file, "cutie", **settings)
    from benchmarks.propagate_sam import written  # needs transformers

    kind = written(name, folder)
    return lambda **settings: find_propagator(folder / name, kind, **settings)


def _cutie(size: str, folder: Path) -> Path:
    """A checkpoint of Cutie with seeded weights."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))  # its helpers draw the weights of the golden numbers
    from helpers.cutie_scenes import cutie_weights

    torch.save(cutie_weights(size), folder / f"{size}.pth")
    return folder / f"{size}.pth"
