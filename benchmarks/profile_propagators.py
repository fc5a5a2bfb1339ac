"""AOT and DeAOT part by part: CPU time, arithmetic and memory traffic of a frame, and what bounds each part.

    python -m benchmarks.profile_propagators [--variants aott ...] [--sequences 1 12] [--precision fp32 bf16]
                                             [--size 480 854] [--memories 4] [--frames 1] [--threads 1]

A frame with seeded weights after a reference and `--memories` long-term memories (variants that keep references only
have one). Parts: `encoder` (with the first query), `long-term` and `short-term` attention, `gate` (whatever else the
blocks compute), `decoder`, `upsampling` to the size of the frame, `to host` (labels, and masks as uint8), `remember`
(identity embedding, keys and values). Time of a part is its own, without the parts that it calls; the median of the
frames, CPU milliseconds. Gflop are those of products and convolutions. Traffic is what all operators read and write,
if no cache helped. The bound of a part is the larger of Gflop / fastest product and traffic / fastest copy, both
measured here in the same process; 100 % is a part at its bound, and more is one that the caches help.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.official_demo import seeded
from benchmarks.propagate import NAMES
from rvos_ensemble.adapters.inference.device import PRECISIONS
from rvos_ensemble.propagators.inference.aot.object_banks import most_probable, nearest, probabilities
from rvos_ensemble.propagators.inference.aot.tracker import Tracker
from rvos_ensemble.propagators.inference.aot.tta import Augmentation, input_size
from rvos_ensemble.propagators.networks.attention import LocalWindow
from rvos_ensemble.propagators.networks.gpm import GatedPropagationModule
from rvos_ensemble.propagators.networks.lstt import LSTTBlock
from rvos_ensemble.propagators.networks.memory import RaggedMemory
from rvos_ensemble.propagators.networks.network import VOSNetwork
from rvos_ensemble.propagators.networks.variants import VARIANTS

PARTS = ("encoder", "long-term", "short-term", "gate", "decoder", "upsampling", "to host", "remember")
METHODS = (
    (VOSNetwork, "encode", "encoder"),
    (RaggedMemory, "read", "long-term"),
    (LocalWindow, "attend", "short-term"),
    (LSTTBlock, "forward", "gate"),
    (GatedPropagationModule, "forward", "gate"),
    (LSTTBlock, "query", "gate"),
    (GatedPropagationModule, "query", "gate"),
    (VOSNetwork, "decode", "decoder"),
    (Tracker, "update", "remember"),
)


class Work(TorchDispatchMode):
    """Counts the floating-point operations of products, and the bytes that operators read and write."""

    def __init__(self):
        super().__init__()
        self.total = np.zeros(2)  # operations, bytes

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        written = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        if not function.is_view:
            self.total[1] += sum(touched(x) for x in (*read, *written))
        if count := flop_registry.get(function._overloadpacket):
            self.total[0] += count(*args, **(kwargs or {}), out_val=out)
        elif "flash_attention_for_cpu" in str(function):  # q [B, heads, N, d], k [B, heads, M, d]
            self.total[0] += 4 * args[0].numel() * args[1].shape[2]
        return out


def touched(x: torch.Tensor) -> int:
    """Bytes of the different elements of a tensor: an expanded one repeats the same ones."""
    return x.element_size() * int(np.prod([n for n, s in zip(x.shape, x.stride(), strict=True) if s or n == 0] or [1]))


class Meter:
    """The own cost of nested parts; a cost is any array that grows.

    Args:
        now: the cost so far, such as CPU seconds.
    """

    def __init__(self, now: Callable[[], Any]):
        self.now, self.own, self.inner = now, defaultdict(float), [0.0]

    def part(self, name: str, work: Callable) -> Callable:
        """The function, with its cost counted under the name of a part."""

        def measured(*args, **kwargs):
            start = np.copy(self.now())
            self.inner.append(0.0)
            result = work(*args, **kwargs)
            cost = self.now() - start
            self.own[name] = self.own[name] + cost - self.inner.pop()
            self.inner[-1] = self.inner[-1] + cost
            return result

        return measured


class Video:
    """Sequences of one object each, which have had a reference and their long-term memories.

    Args:
        name: the variant.
        dtype: of the weights.
        size: (H, W) of the frames.
        sequences: their number.
        memories: frames in the long-term memory, of variants that add frames.
    """

    def __init__(self, name: str, dtype: torch.dtype, size: tuple[int, int], sequences: int, memories: int):
        variant = VARIANTS[name]
        network = VOSNetwork(variant)
        network.load_state_dict({k: seeded(k, tuple(v.shape)) for k, v in network.state_dict().items()})
        self.network, self.size = network.fold(), size
        if dtype != torch.float32:
            network.lower(dtype)
        self.input = input_size(size, variant.max_long_edge, 1.0, variant.align_corners)
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        self.image = Augmentation(self.input).apply(image)
        self.tracker = Tracker(network, None, max_memory_frames=memories, batch=4)
        labels = torch.zeros(sequences, *self.input)
        labels[:, self.input[0] // 3 : self.input[0] // 2, self.input[1] // 3 : self.input[1] // 2] = 1
        features = network.encode(self.image)
        for _ in range(memories if variant.memory_gap else 1):
            self.tracker.reference(features, labels, range(sequences), [1] * sequences)

    def frame(self, meter: Meter) -> None:
        """Processes a frame as `NetworkSweep` does."""
        corners = self.network.variant.align_corners
        logits = self.tracker.step(self.network.encode(self.image))
        labels = []
        for part in logits.split(4):
            p = meter.part("upsampling", probabilities)(part, self.size, corners)
            labels.append(meter.part("to host", to_host)(p))
        self.tracker.update(nearest(torch.cat(labels), self.input))


def to_host(p: torch.Tensor) -> torch.Tensor:
    """The labels of a batch; its masks as uint8 arrays are made, too."""
    torch.ceil(p[:, 1:] * 255 - 0.5).to(torch.uint8).numpy().copy()
    return most_probable(p)


def measured(video: Video, meter: Meter) -> dict[str, Any]:
    """{part: its cost in one frame}."""
    with ExitStack() as stack:
        for owner, method, name in METHODS:
            stack.enter_context(patch.object(owner, method, wrapped(meter, name, getattr(owner, method))))
        video.frame(meter)
    return {name: meter.own[name] for name in PARTS}


def wrapped(meter: Meter, name: str, method: Callable) -> Callable:
    """A method whose cost is counted; a plain function, so that it is bound to its object."""
    counted = meter.part(name, method)
    return lambda self, *args, **kwargs: counted(self, *args, **kwargs)


def profile(video: Video, frames: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """({part: operations and bytes}, {part: CPU seconds, the median over the frames})."""
    with Work() as work:
        counts = measured(video, Meter(lambda: work.total))
    times = [measured(video, Meter(time.process_time)) for _ in range(frames)]
    return counts, {name: float(np.median([t[name] for t in times])) for name in PARTS}


def fastest(work: Callable[[], Any]) -> float:
    """The smallest CPU seconds of several runs."""
    times = []
    for _ in range(4):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def peaks(dtype: torch.dtype) -> tuple[float, float]:
    """(operations per second of a product, bytes per second of a copy), per second of CPU time."""
    n = 1024 if dtype == torch.float32 else 512
    a, big = torch.randn(n, n).to(dtype), torch.ones(1 << 24)
    copy = torch.empty_like(big)
    return 2 * n**3 / fastest(lambda: a @ a), 2 * big.nbytes / fastest(lambda: copy.copy_(big))


def processor() -> str:
    """The name of the processor, as /proc/cpuinfo has it, and what bfloat16 it computes in."""
    lines = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    found = {key.strip(): value.strip() for key, value in lines}
    flags = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in found.get("flags", "").split()]
    return f"{found.get('model name')}, family {found.get('cpu family')} model {found.get('model')}; {' '.join(flags)}"


def table(title: str, counts: dict[str, np.ndarray], seconds: dict[str, float], speed: tuple[float, float]) -> str:
    """The rows of one variant, in Markdown."""
    lines = [f"| {title} | CPU ms | Gflop | Gflop/s | MB | bound | of it |", "|---|---|---|---|---|---|---|"]
    whole = np.array([*sum(counts.values()), sum(seconds.values())])
    for name, (flops, moved), s in [*((n, counts[n], seconds[n]) for n in PARTS), ("all", whole[:2], whole[2])]:
        bounds = flops / speed[0], moved / speed[1]
        kind = "products" if bounds[0] > bounds[1] else "bandwidth"
        lines.append(
            f"| {name} | {1e3 * s:.0f} | {flops / 1e9:.1f} | {flops / 1e9 / s:.0f} | {moved / 1e6:.0f} "
            f"| {kind} | {100 * max(bounds) / s:.0f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--variants", nargs="+", default=NAMES, choices=sorted(VARIANTS))
    parser.add_argument("--sequences", nargs="+", type=int, default=[1, 12])
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--size", nargs=2, type=int, default=[480, 854], help="height and width of the frames")
    parser.add_argument("--memories", type=int, default=4, help="frames in the long-term memory")
    parser.add_argument("--frames", type=int, default=1, help="measured frames")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    print(processor())
    speeds = {p: peaks(PRECISIONS[p]) for p in options.precision}
    for p, (flops, moved) in speeds.items():
        print(f"{p}: a product {flops / 1e9:.0f} Gflop/s, a copy {moved / 1e9:.1f} GB/s per second of CPU time")
    for name in options.variants:
        for sequences in options.sequences:
            totals = []
            for p in options.precision:
                video = Video(name, PRECISIONS[p], tuple(options.size), sequences, options.memories)
                counts, seconds = profile(video, options.frames)
                totals.append(sum(seconds.values()))
                print("\n" + table(f"{name}, {sequences}, {p}", counts, seconds, speeds[p]), flush=True)
            if len(totals) > 1:
                print(f"\n{options.precision[0]} / {options.precision[1]}: {totals[0] / totals[1]:.2f}x", flush=True)


if __name__ == "__main__":
    main()
