"""Cutie against the official code: time for one sequence and for twelve of a clip, both ways, and bounded memory.

    git clone https://github.com/hkchengrex/Cutie CHECKOUT
    python -m benchmarks.propagate_cutie CHECKOUT [--models small base] [--frames 9] [--threads 2]
    python -m benchmarks.propagate_cutie --long 200 [--long-term] [--models small]

Sequences have one object and key frames of their own. Our side is `propagate` as a recipe calls it, from
images to masks, with both sweeps. The official side has one `InferenceCore` per object and direction, as its author
advises, and gets decoded images. Only `--measured` of the twelve run there; the others are assumed to take the
same time. Both sides have the same seeded weights, in one process; times are in wall-clock and CPU seconds.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.official_cutie import Official, as_input
from benchmarks.propagate import Blobs, Clock, find_propagator, print_times
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate


def weights(model: str, folder: Path) -> Path:
    """A checkpoint with seeded weights, in the official layout."""
    from tests.helpers.cutie_scenes import cutie_weights

    torch.save(cutie_weights(model), folder / f"{model}.pth")
    return folder / f"{model}.pth"


def official_sequence(official: Official, blobs: Blobs, mask: np.ndarray, key: int) -> None:
    """One object on the official side: forward from the key frame, then backward with a new core."""
    for order in (range(key, blobs.length), range(key, -1, -1)):
        core = official.core()
        core.step(as_input(blobs.read(key)), torch.from_numpy(mask).long(), [1])
        for t in order[1:]:
            p = core.step(as_input(blobs.read(t)), end=t == order[-1])
            (p[1] * 255).round().to(torch.uint8).numpy()


def times(
    official: Official, path: Path, blobs: Blobs, keys: list[int], measured: int
) -> tuple[np.ndarray, np.ndarray]:
    """(official, ours): (wall-clock, CPU) seconds for a clip and one sequence per key frame."""
    masks = [np.stack([blobs.labels(t) == i + 1 for t in range(blobs.length)]) for i in range(4)]
    tasks = [PropagationTask(MaskSequence.binary(masks[i % 4]), (key,)) for i, key in enumerate(keys)]
    ours, theirs, total = Clock(), Clock(), np.zeros(2)
    propagator = find_propagator(path, "cutie")
    ours(lambda: propagate(blobs.clip(), tasks, propagator))
    for i in np.linspace(0, len(keys) - 1, measured).round().astype(int):
        theirs(lambda i=i: official_sequence(official, blobs, masks[i % 4][keys[i]], keys[i]))
        total += theirs.wall[-1], theirs.cpu[-1]
    return total * len(keys) / measured, ours.best()


def long_clip(path: Path, frames: int, long_term: bool) -> None:
    """Prints time and peak memory while a clip is propagated."""

    class Reporting(Blobs):
        def read(self, t: int) -> np.ndarray:
            if t % 20 == 0:
                print(f"  frame {t:4d}: {time.perf_counter() - start:7.1f} s, peak {peak():6.0f} MiB", flush=True)
            return super().read(t)

    blobs, start = Reporting((480, 854), frames, 1), time.perf_counter()
    task = PropagationTask(MaskSequence.binary(blobs.labels(t) == 1 for t in range(frames)), (0,))
    propagate(blobs.clip(), [task], find_propagator(path, "cutie", long_term={"use": long_term}))
    print(f"  end       : {time.perf_counter() - start:7.1f} s, peak {peak():6.0f} MiB", flush=True)


def peak() -> float:
    """The largest memory of the process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path, nargs="?")
    parser.add_argument("--models", nargs="+", default=["small", "base"], choices=["small", "base"])
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--size", nargs=2, type=int, default=(480, 854), metavar=("H", "W"))
    parser.add_argument("--measured", type=int, default=2, help="sequences of the twelve that run on the official side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--long", type=int, help="frames of a long clip")
    parser.add_argument("--long-term", action="store_true", help="with the long-term memory")
    options = parser.parse_args()
    if options.checkout is None and options.long is None:
        parser.error("give the folder of the official code, or --long N")
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            path = weights(model, Path(folder))
            if options.long:
                print(f"{model}, {options.long} frames of 480x854, one sequence:")
                long_clip(path, options.long, options.long_term)
                continue
            official = Official(options.checkout.resolve(), model)
            keys = [int(i * options.frames / 12) for i in range(12)]
            blobs = Blobs(tuple(options.size), options.frames, 4)
            one = times(official, path, blobs, [options.frames // 2], 1)
            print_times(f"{model:5}  1 sequence,  {options.frames} frames", *one)
            twelve = times(official, path, blobs, keys, options.measured)
            print_times(f"{model:5} 12 sequences, {options.frames} frames", *twelve)


if __name__ == "__main__":
    main()
