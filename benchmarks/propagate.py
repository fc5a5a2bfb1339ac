"""AOT and DeAOT against the official engine: time per frame for one sequence and for 12 of a clip, and bounded memory.

    git clone https://github.com/yoxu515/aot-benchmark CHECKOUT
    python -m benchmarks.propagate CHECKOUT [--variants aott ...] [--rounds 5] [--threads 2]
    python -m benchmarks.propagate --long 300 [--variants r50_deaotl]

One sequence: three objects, input 1041x577, run as in `official_demo`. Both sides process each frame in turn with the
same seeded weights, images and labels; the fastest frame of each side counts.

Twelve sequences: four expressions by three models, with one object and one key frame each, 480x854. Our side is
`propagate` as a recipe calls it, from images to masks, with both sweeps. The official engine processes one sequence at
a time: forward from the key frame, then backward with a new engine. Only `--measured` of the twelve run on the official
side; the others are assumed to take the same time.

A long clip (needs no checkout): one sequence with a long-term memory every 5 frames, at most 8.

Times are in wall-clock seconds and in CPU seconds, which other load on the machine affects less.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.official_demo import Official, Ours, official_code, seeded
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.networks.network import VOSNetwork
from rvos_ensemble.propagators.networks.variants import VARIANTS

NAMES = ("aott", "deaott", "r50_aotl", "r50_deaotl")


class Blobs:
    """Frames of discs that move over noise, computed when they are read."""

    def __init__(self, size: tuple[int, int], frames: int, objects: int):
        self.size, self.length, self.objects = size, frames, objects
        self.noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)

    def labels(self, t: int) -> np.ndarray:
        """uint8 [H, W], 0 for background."""
        (h, w), labels = self.size, np.zeros(self.size, np.uint8)
        rows, columns = np.ogrid[:h, :w]
        for i in range(self.objects):
            y, x = h * (i + 1) / (self.objects + 1), (w * (i + 1) / (self.objects + 1) + 4 * t) % w
            labels[(rows - y) ** 2 + (columns - x) ** 2 < (h / 8) ** 2] = i + 1
        return labels

    def read(self, t: int) -> np.ndarray:
        """Frame t, uint8 [H, W, 3]."""
        image = self.noise.copy()
        labels = self.labels(t)
        image[labels > 0] = 60 + 60 * (labels[labels > 0, None] % 4)
        return image

    def clip(self) -> Clip:
        """All frames as a clip with one expression."""
        return Clip("blobs", tuple(f"{t:05d}" for t in range(self.length)), (Expression("blobs", "0", ""),), self)


class Clock:
    """Measures wall-clock and CPU seconds of calls."""

    def __init__(self):
        self.wall, self.cpu = [], []

    def __call__(self, work: Callable):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return result

    def best(self) -> np.ndarray:
        """The smallest (wall-clock, CPU) seconds."""
        return np.array([min(self.wall), min(self.cpu)])


def weights(name: str, folder: Path) -> Path:
    """A checkpoint with seeded weights, in the official layout."""
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in VOSNetwork(VARIANTS[name]).state_dict().items()}
    torch.save({"state_dict": {k: seeded(k, shape) for k, shape in shapes.items()}}, folder / f"{name}.pth")
    return folder / f"{name}.pth"


def print_times(what: str, official: np.ndarray, ours: np.ndarray) -> None:
    """Prints the times of both sides and their ratio."""
    ratio = official / ours
    print(
        f"{what}: official {official[0]:7.2f} s, ours {ours[0]:7.2f} s, {ratio[0]:.2f}x "
        f"(CPU {official[1]:.2f} and {ours[1]:.2f}, {ratio[1]:.2f}x)",
        flush=True,
    )


def one_sequence(official: Official, ours: Ours, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """(official, ours): the smallest seconds per frame; each side remembers its own labels."""
    frames, clocks = Blobs((577, 1041), rounds + 1, 3), (Clock(), Clock())
    image = ours.image(frames.read(0))
    labels = torch.from_numpy(frames.labels(0))[None, None].float()
    official.reference(image, labels)
    ours.reference(image, labels)
    for t in range(1, rounds + 1):
        image = ours.image(frames.read(t))
        for side, clock in sorted(zip((official, ours), clocks, strict=True), key=lambda x: (x[0] is ours) ^ t % 2):
            clock(lambda side=side, image=image: side.step(image, (577, 1041)))
    with FlopCounterMode(display=False) as counter:
        ours.step(image, (577, 1041))
    speed, seconds = counter.get_total_flops() / 1e9, clocks[1].best()[0]
    print(f"ours: {speed:.0f} Gflop per frame, {speed / seconds:.0f} Gflop/s; a matrix product: {peak():.0f} Gflop/s")
    return clocks[0].best(), clocks[1].best()


def peak() -> float:
    """Gflop/s of a float32 matrix product, the upper bound for networks on this machine."""
    a, clock = torch.randn(2048, 2048), Clock()
    for _ in range(5):
        clock(lambda: a @ a)
    return 2 * 2048**3 / 1e9 / clock.best()[0]


def twelve_sequences(official: Official, path: Path, frames: int, measured: int) -> tuple[np.ndarray, np.ndarray]:
    """(official, ours): seconds for the clip."""
    blobs, clip = Blobs((480, 854), frames, 4), Blobs((480, 854), frames, 4).clip()
    keys = [int(i * frames / 12) for i in range(12)]
    masks = [np.stack([blobs.labels(t) == i % 4 + 1 for t in range(frames)]) for i in range(4)]
    tasks = [PropagationTask(MaskSequence.binary(masks[i % 4]), (key,)) for i, key in enumerate(keys)]
    propagator = find_propagator(path, official.config.MODEL_VOS)
    ours, theirs = Clock(), Clock()
    ours(lambda: propagate(clip, tasks, propagator))
    side = Ours(path)  # makes the inputs, which are equal to the official ones
    total = np.zeros(2)
    for i in np.linspace(0, 11, measured).round().astype(int):
        mask = torch.from_numpy(masks[i % 4][keys[i]])[None, None].float()

        def run(key=keys[i], mask=mask):
            for order in (range(key, frames), range(key, -1, -1)):
                official.reference(side.image(blobs.read(key)), mask)
                for t in order[1:]:
                    official.step(side.image(blobs.read(t)), (480, 854))

        theirs(run)
        total += theirs.wall[-1], theirs.cpu[-1]
    return total * 12 / measured, ours.best()


def find_propagator(path: Path, family: str, **settings) -> Propagator:
    """The propagator of a family with the weights of a file."""
    from rvos_ensemble import propagators

    return find(family, Propagator, propagators, "rvos_ensemble.propagators")(weights=str(path), **settings)


def long_clip(name: str, folder: Path, frames: int) -> None:
    """Prints time and peak memory while a clip is propagated."""

    class Reporting(Blobs):
        def read(self, t: int) -> np.ndarray:
            if t % 50 == 0:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
                print(f"  frame {t:4d}: {time.perf_counter() - start:7.1f} s, peak {peak:6.0f} MiB", flush=True)
            return super().read(t)

    blobs = Reporting((480, 854), frames, 1)
    task = PropagationTask(MaskSequence.binary(blobs.labels(t) == 1 for t in range(frames)), (0,))
    propagator = find_propagator(weights(name, folder), VARIANTS[name].family, memory_gap=5, max_memory_frames=8)
    start = time.perf_counter()
    print(f"{name}, {frames} frames of 480x854, one sequence, a memory every 5 frames, at most 8:")
    propagate(blobs.clip(), [task], propagator)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"  end       : {time.perf_counter() - start:7.1f} s, peak {peak:6.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path, nargs="?")
    parser.add_argument("--variants", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--rounds", type=int, default=5, help="frames of the benchmark with one sequence")
    parser.add_argument("--frames", type=int, default=9, help="frames of the clip with twelve sequences; 0 skips it")
    parser.add_argument("--measured", type=int, default=3, help="sequences of the twelve that run on the official side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--long", type=int, help="frames of a long clip")
    options = parser.parse_args()
    if options.checkout is None and options.long is None:
        parser.error("give the folder of the official code, or --long N")
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.variants:
            if options.long:
                long_clip(name, Path(folder), options.long)
                continue
            path = weights(name, Path(folder))
            official = Official(official_code(options.checkout.resolve()), name, options.checkout, 255)
            official.load(path)
            print_times(f"{name:11} one sequence, per frame", *one_sequence(official, Ours(path), options.rounds))
            if options.frames:
                print_times(
                    f"{name:11} 12 sequences, {options.frames} frames",
                    *twelve_sequences(official, path, options.frames, options.measured),
                )


if __name__ == "__main__":
    main()
