"""RVOS models: masks against float32 on the CPU, frames per second and peak memory."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.gpu.machine import Machine
from benchmarks.gpu.rows import Rows
from benchmarks.gpu.tracking import RANDOM, ROOT, SURE, mean_iou
from benchmarks.propagate import Blobs
from rvos_ensemble import adapters
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.masks import MaskSequence

MODELS = ("referformer", "mutr", "soc", "uninext")
SENTENCES = ("the red circle on the left", "a blue square", "the largest star", "the thing that moves to the right")


def models(rows: Rows, machine: Machine) -> None:
    """ReferFormer, MUTR, SOC and UNINEXT: the small trained ones, and the published geometry with random weights."""
    if machine.rehearse:
        show(
            rows, machine, "referformer_nano", "referformer", {"weights": "referformer_nano", "short_side": 64}, RANDOM
        )
        return
    for name in MODELS:
        show(rows, machine, f"{name}_nano", name, {"weights": f"{name}_nano"}, SURE[False])
    for name in MODELS:
        with TemporaryDirectory() as folder:
            show(rows, machine, f"{name}, published size", name, published(name, Path(folder)), RANDOM)


def show(rows: Rows, machine: Machine, case: str, model: str, settings: dict[str, Any], least: float) -> None:
    """Adds the rows of one model, one per precision; what fails becomes a row, and the next one follows."""
    small, clip = clip_of(machine.small, 3), clip_of(machine.size, machine.frames)
    expected = answers(model, small, {**settings, "device": "cpu", "precision": "fp32"})
    for precision in machine.precisions:
        try:
            own = {**settings, "device": machine.device, "precision": precision}
            likeness = mean_iou(answers(model, small, own), expected)  # also chooses kernels
            answers(model, clip, own)
            _, seconds, peak = machine.measure(lambda own=own: answers(model, clip, own))
            wanted = SURE[True] if precision == "fp32" else least
            failed = None if likeness >= wanted else f"IoU with the CPU below {wanted}"
            speed = {"frames/s, 4 expressions": len(clip) / seconds, "MiB": peak}
            rows.add(case, precision=precision, **{"IoU": likeness}, **speed, failed=failed)
        except Exception as error:
            rows.add(case, precision=precision, failed=f"{type(error).__name__}: {error}")


def clip_of(size: tuple[int, int], frames: int) -> Clip:
    """Moving discs, with four expressions."""
    clip = Blobs(size, frames, 4).clip()
    return replace(clip, expressions=tuple(Expression(clip.name, str(i), text) for i, text in enumerate(SENTENCES)))


def answers(model: str, clip: Clip, settings: dict[str, Any]) -> list[MaskSequence]:
    """The masks of every expression; they are read, because they are upsampled when they are."""
    adapter = find(model, Adapter, adapters, "rvos_ensemble.adapters")(**settings)
    prediction = [*adapter.predict(clip).values()]
    return [MaskSequence.binary([s.mask(t) for t in range(len(s))]) for s in prediction]


def published(model: str, folder: Path) -> dict[str, Any]:
    """Settings with a checkpoint of the published geometry: random weights, and a text encoder of two layers."""
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    from helpers.rvos_weights import official, tokenizer_of, weights_of

    from rvos_ensemble.adapters.inference.checkpoints.checkpoint import family_of
    from rvos_ensemble.adapters.inference.tokenization import load_tokenizer

    tokenizer = tokenizer_of(model, folder)
    words = load_tokenizer(family_of(model).language, str(tokenizer))
    weights = official(model, weights_of(model, words.get_vocab_size()), folder / f"{model}.pth")
    return {"weights": str(weights), "tokenizer": str(tokenizer)}
