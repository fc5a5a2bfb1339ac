"""The device that is measured: its name, precisions, clock and memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Machine:
    """The device, and whether this is a rehearsal.

    Attributes:
        device: "cuda", or "cpu" in a rehearsal.
        rehearse: tiny sizes, to try every line of the benchmark on a CPU.
    """

    device: str
    rehearse: bool

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that are measured; most CPUs emulate bf16, for which a rehearsal has no time."""
        return ("fp32", "bf16", "fp16") if self.device == "cuda" else ("fp32",)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames whose speed is measured."""
        return (48, 80) if self.rehearse else (480, 854)

    @property
    def small(self) -> tuple[int, int]:
        """(H, W) of the frames whose masks are compared with those of the CPU in float32."""
        return (48, 80) if self.rehearse else (240, 427)

    @property
    def frames(self) -> int:
        """Frames of the clip whose speed is measured."""
        return 3 if self.rehearse else 24

    def about(self) -> dict[str, Any]:
        """Names and versions, for the report."""
        facts = {"torch": torch.__version__, "device": self.device, "rehearsal": self.rehearse}
        if self.device == "cuda":
            facts["gpu"], facts["cuda"] = torch.cuda.get_device_name(), torch.version.cuda
        return facts

    def measure(self, work: Callable[[], Any]) -> tuple[Any, float, float]:
        """(result, seconds, peak memory in MiB): of the device, or of the process on a CPU."""
        self.wait()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        result = work()
        self.wait()
        seconds = time.perf_counter() - started
        if self.device == "cuda":
            return result, seconds, torch.cuda.max_memory_allocated() / 2**20
        return result, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def wait(self) -> None:
        """Waits until the device has finished."""
        if self.device == "cuda":
            torch.cuda.synchronize()
