"""Where a network runs and how precisely: the settings `device` and `precision` of every model and propagator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def problems(settings: Mapping[str, Any], where: str) -> Iterator[str]:
    """What is wrong with `device` and `precision`, one sentence each."""
    if settings["precision"] not in PRECISIONS:
        yield f"{where}: setting `precision` is {settings['precision']!r}, expected one of {', '.join(PRECISIONS)}"
    device = str(settings["device"])
    if device.split(":")[0] not in ("auto", "cpu", "cuda"):
        yield f"{where}: setting `device` is {device!r}, expected auto, cpu, cuda or cuda:N"
    elif device.startswith("cuda") and not torch.cuda.is_available():
        yield f"{where}: setting `device` is {device!r}, but there is no CUDA device here; auto takes what there is"
    elif settings["precision"] == "fp16" and (device == "cpu" or not torch.cuda.is_available()):
        yield f"{where}: setting `precision` is 'fp16', which needs CUDA; a CPU can do fp32 and bf16"


def pick(device: str) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context that computes in that precision."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
