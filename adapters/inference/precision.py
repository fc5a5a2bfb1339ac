"""The setting `precision: auto`: what it means on this machine, decided once per process.

    device                                          auto
    CPU with AMX                                    bf16
    CPU with AVX512-BF16, or bfloat16 of Arm        bf16 if products and convolutions are faster by measurement, or fp32
    any other CPU                                   fp32: bfloat16 is emulated
    CUDA, compute capability 8.0 and higher         bf16
    CUDA, lower                                     fp32: fp16 is fast, but numbers above 65,504 become infinite and
                                                    masks NaN, so that it is only used where a recipe names it

The process that starts a run decides for all its workers, so that results of different precision are never mixed. The
environment variable RVOS_PRECISION=fp32, bf16 or fp16 replaces the decision.

This file does not import torch before something is decided.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rvos_ensemble.adapters.core.errors import InputError

AUTO = "auto"
VALUES = ("fp32", "bf16", "fp16")
VARIABLE = "RVOS_PRECISION"
PAYS = 1.25  # how many times faster a CPU without AMX must be in bfloat16: a network is more than its products
NATIVE = (8, 0)  # the lowest compute capability of CUDA with bfloat16 in its tensor cores


class Decision(NamedTuple):
    """What `auto` means on a kind of device.

    Attributes:
        precision: one of `VALUES`.
        reason: in a few words, for the manifest.
    """

    precision: str
    reason: str


_decided: dict[str, Decision] = {}  # kind of device -> what this process uses
_bound = False  # whether another process has decided for this one
_PROCESS = uuid.uuid4().hex  # process numbers repeat on other machines


def resolved(settings: Mapping[str, Any]) -> str:
    """The precision of a component with the settings `device` and `precision`."""
    if settings["precision"] != AUTO:
        return settings["precision"]
    return decide(_kind(settings.get("device", "auto"))).precision


def decide(kind: str) -> Decision:
    """What `auto` means on a kind of device, "cpu" or "cuda"; decided at the first call."""
    if kind not in _decided:
        _decided[kind] = _named() or _unknown(kind) or (of_cuda(_capability()) if kind == "cuda" else of_cpu(_flags()))
    return _decided[kind]


def decided() -> dict[str, Decision]:
    """{kind of device: what `auto` means on it}, for the kinds that were needed so far."""
    return dict(_decided)


def travelling() -> tuple[str, dict[str, Decision]]:
    """The decisions of this process for its workers, which `adopt` them."""
    return _PROCESS, decided()


def adopt(travelled: tuple[str, Mapping[str, Decision]]) -> None:
    """Takes the decisions of the process that started the run; on devices that it does not have, `auto` is fp32."""
    global _bound
    process, decisions = travelled
    if process == _PROCESS:
        return
    _decided.clear()
    _decided.update(decisions)
    _bound = True


def of_cpu(flags: frozenset[str], speedup: Callable[[], float] | None = None) -> Decision:
    """The decision for a CPU.

    Args:
        flags: names of its instruction sets, as in /proc/cpuinfo.
        speedup: measures how many times faster it is in bfloat16; None: `measured_speedup`.

    >>> of_cpu(frozenset({"amx_tile", "amx_bf16"})).precision, of_cpu(frozenset({"avx2"})).precision
    ('bf16', 'fp32')
    """
    if {"amx_tile", "amx_bf16"} <= flags:
        return Decision("bf16", "AMX")
    name = next(
        (name for flag, name in (("avx512_bf16", "AVX512-BF16"), ("bf16", "bfloat16 of Arm")) if flag in flags), ""
    )
    if not name:
        return Decision("fp32", "no bfloat16 instructions")
    ratio = (speedup or measured_speedup)()
    return Decision("bf16" if ratio >= PAYS else "fp32", f"{name}, measured {ratio:.1f}x as fast as fp32")


def of_cuda(capability: tuple[int, int]) -> Decision:
    """The decision for CUDA devices, from the lowest compute capability among them.

    >>> of_cuda((9, 0)).precision, of_cuda((7, 5)).precision
    ('bf16', 'fp32')
    """
    return Decision("bf16" if capability >= NATIVE else "fp32", "compute capability {}.{}".format(*capability))


def measured_speedup() -> float:
    """How many times faster this CPU is in bfloat16, the smaller ratio of a product and a convolution; takes 0.1 s."""
    import torch

    def seconds(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    ratios = []
    with torch.no_grad():
        a = torch.ones(384, 384)
        x = torch.ones(1, 96, 40, 40).contiguous(memory_format=torch.channels_last)
        weight = torch.ones(96, 96, 3, 3).contiguous(memory_format=torch.channels_last)
        for work, args in ((torch.mm, (a, a)), (torch.conv2d, (x, weight))):
            low = [v.bfloat16() for v in args]
            ratios.append(seconds(lambda f=work, v=args: f(*v)) / seconds(lambda f=work, v=low: f(*v)))
    return min(ratios)


def _named() -> Decision | None:
    """The decision of the environment variable.

    Raises:
        InputError: its value is no precision.
    """
    value = os.environ.get(VARIABLE)
    if not value or value == AUTO:
        return None
    if value not in VALUES:
        raise InputError(f"the environment variable {VARIABLE} is {value!r}, expected one of auto, {', '.join(VALUES)}")
    return Decision(value, f"the environment variable {VARIABLE}")


def _unknown(kind: str) -> Decision | None:
    """In a worker, for a kind of device that the process that started the run does not have."""
    return Decision("fp32", f"the process that started the run used no {kind} device") if _bound else None


def _kind(device: str) -> str:
    """The kind of device that the setting `device` means: "cpu" or "cuda"."""
    if device == "cpu":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _capability() -> tuple[int, int]:
    """The lowest compute capability of the CUDA devices here."""
    import torch

    return min(torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count()))


def _flags() -> frozenset[str]:
    """The instruction sets of this CPU; none where the system does not list them, as on macOS."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            line = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())
