"""A Dask and a Ray cluster of two workers on this machine: efficiency, a killed worker, and what travels.

    python -m benchmarks.cluster [--clips 200] [--backends dask ray] [--folder DIR]

The data are written to DIR: rendered boxes with ground truth, and the masks of three sources as PNG files. The recipe
is a vote of the sources, scored, with a report. It is run once in a single process, and on each cluster, whose
scheduler and workers keep running meanwhile, with one worker, with two, and with two of which one is killed in the
middle (SIGKILL). All results must be those of the single process, byte for byte.

Times are of the clips only, after the first tenth: the start of the command and of workers, the check of the data and
the report take the same for any number of clips or of workers. Where other programs use the cores, wall-clock times say
little; the CPU time of the workers per clip then tells what two workers lose.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.ensemble.commands.run import _work
from rvos_ensemble.ensemble.engine.clips import list_clips
from rvos_ensemble.ensemble.engine.workers.clusters import dask_cluster, ray_cluster, task_of
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.ensemble.report.record import read_record

SOURCES = ("first", "second", "third")
EXPRESSIONS, POSITIONS = 3, 4  # per clip; distinct masks, which frames repeat
RECIPE = """# A vote of three sources on disk.
data: {{dataset: ref_youtube_vos, root: {root}, split: valid}}
sources:
  first: {{adapter: files, path: {root}/predictions/first}}
  second: {{adapter: files, path: {root}/predictions/second}}
  third: {{adapter: files, path: {root}/predictions/third}}
steps:
  vote: {{op: vote, inputs: [first, second, third], across: expressions, threshold: 0.5}}
output: vote
"""


class Workers(NamedTuple):
    """A running cluster.

    Attributes:
        variables: of the environment, by which a run finds it.
        pids: returns the processes of its workers.
    """

    variables: dict[str, str]
    pids: Callable[[], list[int]]


class Sample(NamedTuple):
    """The state of a run: time and CPU time of its workers and of its own process in seconds, and finished clips."""

    time: float
    cpu: float
    own: float
    clips: int


class Outcome(NamedTuple):
    """What one run took.

    Attributes:
        wall: seconds per clip.
        cpu: CPU seconds of the workers per clip.
        own: CPU seconds of the process that runs the recipe, for the whole command.
        whole: seconds of the whole command.
        digest: hash of all masks, of the zip and of metrics.csv.
    """

    wall: float
    cpu: float
    own: float
    whole: float
    digest: str


def build(root: Path, clips: int, frames: int, size: tuple[int, int]) -> Path:
    """Writes the data set and the masks of the sources; returns the path of the recipe."""
    names, random = [f"{t:05d}" for t in range(frames)], np.random.default_rng(0)
    videos, objects = {}, {}
    for c in range(clips):
        clip = f"clip{c:04d}"
        videos[clip] = {"expressions": {str(e): {"exp": f"box {e}"} for e in range(EXPRESSIONS)}, "frames": names}
        objects[clip] = {str(e): str(e + 1) for e in range(EXPRESSIONS)}
        noise = cv2.resize(random.integers(0, 256, (15, 27, 3), np.uint8), size[::-1])
        picture = cv2.imencode(".jpg", noise)[1].tobytes()
        files = {f"valid/JPEGImages/{clip}/{{}}.jpg": [picture]}
        truth = [labels(c, t, size) for t in range(POSITIONS)]
        files[f"valid/Annotations/{clip}/{{}}.png"] = [png.encode_indices(t) for t in truth]
        for source in SOURCES:
            for e in range(EXPRESSIONS):
                blobs = (random.random((size[0] // 8, size[1] // 8)) < 0.04).astype(np.uint8)
                wrong = cv2.resize(blobs, size[::-1]).astype(bool)
                masks = [png.encode((t == e + 1) ^ wrong) for t in truth]
                files[f"predictions/{source}/{clip}/{e}/{{}}.png"] = masks
        for pattern, data in files.items():
            folder = (root / pattern).parent
            folder.mkdir(parents=True, exist_ok=True)
            for t, name in enumerate(names):
                (root / pattern.format(name)).write_bytes(data[t % len(data)])
    meta = root / "meta_expressions/valid"
    meta.mkdir(parents=True, exist_ok=True)
    (meta / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    (meta / "obj_ids.json").write_text(json.dumps(objects))
    (root / "votes.yaml").write_text(RECIPE.format(root=root))
    return root / "votes.yaml"


def labels(clip: int, t: int, size: tuple[int, int]) -> np.ndarray:
    """The boxes of a frame, uint8 [H, W]: object 1, 2, ..., or 0."""
    result = np.zeros(size, np.uint8)
    for e in range(EXPRESSIONS):
        y, x = size[0] * e // EXPRESSIONS + clip % 7, size[1] * (clip % 5) // 8 + 9 * t
        result[y : y + size[0] // 4, x : x + size[1] // 5] = e + 1
    return result


@contextlib.contextmanager
def dask_workers(count: int) -> Iterator[Workers]:
    """A Dask cluster of this machine."""
    with dask_cluster(count) as cluster:
        client = cluster.client
        variables = {"DASK_SCHEDULER_ADDRESS": client.scheduler.address}
        yield Workers(variables, lambda: [w.pid for w in client.cluster.workers.values() if w.pid])


@contextlib.contextmanager
def ray_workers(count: int) -> Iterator[Workers]:
    """A Ray cluster of this machine."""
    with ray_cluster(count, gpu=False):
        import psutil
        import ray

        def pids() -> list[int]:
            names = {}
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                    names[process.pid] = (process.cmdline() or [""])[0]
            ours = [pid for pid, name in names.items() if name.startswith("ray::")]
            return sorted(ours, key=lambda pid: "run_task" not in names[pid])  # those at work first

        yield Workers({"RAY_ADDRESS": ray.get_runtime_context().gcs_address}, pids)


CLUSTERS = {"dask": dask_workers, "ray": ray_workers}


def run(recipe: Path, out: Path, arguments: list[str], workers: Workers | None = None, kill_at: int = 0) -> Outcome:
    """Runs the recipe with a command of its own.

    Args:
        recipe: the recipe file.
        out: folder of the results.
        arguments: of the command line, besides.
        workers: the cluster, if any.
        kill_at: number of finished clips at which one of its workers is killed; 0 for never.
    """
    command = [sys.executable, "run_ensemble.py", f"recipe={recipe}", f"out={out}", *arguments]
    environment = {**os.environ, **(workers.variables if workers else {})}
    started, samples, used = time.perf_counter(), [], {}
    with (out.with_suffix(".log")).open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            clips = len([*out.glob(".pending-*/clips/*")])
            used |= cpu_seconds(workers.pids() if workers else [process.pid])
            own = cpu_seconds([process.pid]).get(process.pid, 0.0)
            samples.append(Sample(time.perf_counter(), sum(used.values()), own, clips))
            if kill_at and clips >= kill_at:
                os.kill(victim := workers.pids()[0], signal.SIGKILL)
                print(f"    killed worker {victim} after {clips} clips")
                kill_at = 0
            time.sleep(0.1)
    if process.returncode or kill_at:
        sys.exit(f"the run failed with exit code {process.returncode}; see {log.name}")
    clips = max(s.clips for s in samples)
    first = next(s for s in samples if s.clips >= max(clips // 10, 1))
    last = next(s for s in samples if s.clips == clips)
    wall, cpu = [(last[i] - first[i]) / max(last.clips - first.clips, 1) for i in range(2)]
    return Outcome(wall, cpu, samples[-1].own, time.perf_counter() - started, digest(out))


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    """{process: its user and system time}, of those that exist."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found[pid] = sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


def digest(out: Path) -> str:
    """The hash of all masks, of the zip and of metrics.csv, with their names."""
    result = hashlib.blake2b(digest_size=16)
    for path in [*sorted(out.glob("Annotations/*/*/*.png")), out / "metrics.csv", out / "submission.zip"]:
        result.update(f"{path.relative_to(out)} {hashlib.blake2b(path.read_bytes()).hexdigest()}\n".encode())
    return result.hexdigest()


def travelling(recipe: Path, out: Path) -> str:
    """What a task and its result take, in words."""
    loaded = load([f"recipe={recipe}"])
    clip = list_clips(loaded).clips[0]
    work = partial(_work, loaded.name, json.dumps([loaded.config]), False, out / ".pending-00000000")
    task, result = len(task_of(work, clip)[1]), len(pickle.dumps(read_record(out / f"clips/{clip.name}.json")))
    pixels = len(clip) * clip.size[0] * clip.size[1] * (3 + EXPRESSIONS * len(SOURCES))
    return f"per clip {task:,} bytes go to a worker and {result:,} back; its pictures and masks are {pixels:,} bytes"


def main() -> None:
    """Builds the data, runs everything, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640))
    parser.add_argument("--backends", nargs="+", choices=[*CLUSTERS], default=[*CLUSTERS])
    parser.add_argument("--folder", type=Path, help="an empty folder; by default a temporary one, which is removed")
    a = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = (a.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))).resolve()
        recipe = build(folder / "data", a.clips, a.frames, tuple(a.size))
        reference = run(recipe, folder / "sequential", ["engine.backend=sequential"])
        print(f"{a.clips} clips, in a single process: {described(reference)}")
        print(travelling(recipe, folder / "sequential"))
        for backend in a.backends:
            compare(backend, recipe, folder, a.clips, reference.digest)


def compare(backend: str, recipe: Path, folder: Path, clips: int, wanted: str) -> None:
    """Runs the recipe on a cluster with one worker, with two, and with one that is killed; prints what it took."""
    print(f"{backend}:", flush=True)
    found: dict[str, Outcome] = {}
    with CLUSTERS[backend](2) as workers:
        for name, count, kill_at in (("one", 1, 0), ("two", 2, 0), ("killed", 2, clips // 2)):
            chosen = [f"engine.backend={backend}", f"engine.workers={count}"]
            o = found[name] = run(recipe, folder / f"{backend}-{name}", chosen, workers, kill_at)
            print(f"    {name:6} {described(o)}; results {'equal' if o.digest == wanted else 'DIFFERENT'}", flush=True)
    one, two = found["one"], found["two"]
    print(
        f"    two workers are {one.wall / two.wall:.2f}x as fast as one, {2 * one.cpu / two.cpu:.2f}x by CPU time per "
        f"clip; they had {two.cpu / two.wall / 2:.0%} of two cores, the one {one.cpu / one.wall:.0%} of one"
    )
    if any(o.digest != wanted for o in found.values()):
        sys.exit(1)


def described(o: Outcome) -> str:
    """An outcome in words."""
    return (
        f"{1000 * o.wall:.0f} ms per clip, {1000 * o.cpu:.0f} ms of CPU time in workers; "
        f"the command {o.whole:.1f} s, {o.own:.1f} s of CPU time in its own process"
    )


if __name__ == "__main__":
    main()
