"""Runs clips in parallel worker processes, which end with the run; a worker that dies costs one clip."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, TypeVar

import joblib

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.lifetime import end_with
from rvos_ensemble.adapters.inference import precision
from rvos_ensemble.ensemble.engine.progress_bar import ClipsBar
from rvos_ensemble.ensemble.engine.workers.clip_progress import of_clip
from rvos_ensemble.ensemble.engine.workers.clusters import WorkerDied, on_cluster, open_cluster
from rvos_ensemble.ensemble.recipe.schema import CLUSTERS


class Record(Protocol):
    """The outcome of a clip."""

    clip: str
    status: str
    frames: int


R = TypeVar("R", bound=Record)
ENDINGS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}  # the run handles them, and its workers end with it
DIED = (
    "its worker process died, and died again when the clip was tried alone: most likely memory ran out, or a library "
    "crashed on this clip; the other clips are not affected. Check its files or use fewer engine.workers, and run again"
)


def in_order(work: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    """`work(job)` for every job, in order, in processes of this machine.

    Raises:
        InputError: a process died.
    """
    work = _Worker(work, os.getpid())
    try:
        with _endings_are_ours():
            results = joblib.Parallel(workers, return_as="generator")(joblib.delayed(work)(job) for job in jobs)
        yield from results
    except BrokenProcessPool:
        raise InputError(
            "a worker process died, most likely for lack of memory; nothing was written; try fewer, such as workers=1"
        ) from None


def spread(
    clips: Sequence[Clip],
    work: Callable[[Clip], R],
    record: Callable[..., R],
    engine: Mapping[str, Any],
    title: str,
    done: Callable[[R], None] = lambda record: None,
) -> dict[str, R]:
    """Processes all clips in parallel, and shows the progress; returns {clip: its record}.

    A process that dies costs one clip: the clips that were being processed are tried again, each alone, and one that
    kills its process a second time has failed. The others continue in new processes.

    Args:
        clips: at least one.
        work: processes one clip, in a worker process.
        record: makes the record of a clip whose process died, from (clip, "failed", reason, frames).
        engine: see `Recipe.engine`.
        title: of the progress bar.
        done: called in this process with the record of every clip that is finished.
    """
    workers = min(engine["workers"], len(clips))
    backend = "sequential" if workers == 1 and engine["backend"] == "loky" else engine["backend"]
    records: dict[str, R] = {}
    with contextlib.ExitStack() as stack:
        if backend in CLUSTERS:
            cluster = stack.enter_context(open_cluster(backend, workers, engine["gpu"]))
        with _endings_are_ours():  # for the thread of the bar
            bar = stack.enter_context(ClipsBar(title, {c.name: len(c) for c in clips}))
        tracked = _Tracked(work, bar.folder)

        def finish(result: R) -> None:
            records[result.clip] = result
            done(result)
            bar.finish(result.clip, result.status == "failed")

        if backend in CLUSTERS:
            most = None if engine["all_workers"] else workers
            for clip, result in on_cluster(cluster, _Worker(tracked, None), clips, most):
                finish(_death(record, clip, str(result)) if isinstance(result, WorkerDied) else result)
            return records
        stack.enter_context(joblib.parallel_config(backend=backend))
        left = list(clips)
        while left:
            suspects: list[Clip] = []
            if not _together(left, tracked, backend, workers, suspects, finish):
                suspects = [c for c in suspects if c.name not in records] or left[:1]
                for clip in suspects:
                    if not _together([clip], tracked, backend, workers, [], finish):
                        finish(_death(record, clip))
            left = [c for c in left if c.name not in records]
    return records


def _death(record: Callable[..., R], clip: Clip, said: str = "") -> R:
    """The record of a clip whose process died, with what the scheduler of a cluster said about it."""
    return record(clip.name, "failed", f"clip {clip.name}: {DIED}{f' ({said})' if said else ''}", len(clip))


def _together(
    clips: Sequence[Clip],
    work: Callable[[Clip], R],
    backend: str,
    workers: int,
    begun: list[Clip],
    finish: Callable[[R], None],
) -> bool:
    """Processes clips in parallel until all are finished, or a process has died.

    Args:
        begun: filled with the clips that were handed to workers.

    Returns:
        Whether all are finished.
    """
    work = _Worker(work, os.getpid() if backend == "loky" else None)

    def jobs() -> Iterator[Any]:
        for clip in clips:
            begun.append(clip)
            yield joblib.delayed(work)(clip)

    # a clip is handed out only when a process is free: when one dies, it was working on a clip that was handed out
    parallel = joblib.Parallel(
        n_jobs=max(workers, 2) if backend == "loky" else workers,  # joblib runs one worker in this process
        return_as="generator_unordered",
        batch_size=1,
        pre_dispatch=workers,
    )
    try:
        with _endings_are_ours():
            results = parallel(jobs())
        for result in results:
            finish(result)
    except BrokenProcessPool:
        return False
    return True


class _Worker:
    """`work` in a worker process that ends with the process that started it, and computes in the same precision."""

    def __init__(self, work: Callable[[Any], Any], parent: int | None):
        self.work, self.parent, self.precision = work, parent, precision.travelling()

    def __call__(self, job: Any) -> Any:
        precision.adopt(self.precision)
        if self.parent is not None:
            end_with(self.parent)
        return self.work(job)


class _Tracked:
    """`work` on a clip, whose progress is written into a folder."""

    def __init__(self, work: Callable[[Clip], Any], folder: Path):
        self.work, self.folder = work, folder

    def __call__(self, clip: Clip) -> Any:
        with of_clip(self.folder, clip):
            return self.work(clip)


@contextlib.contextmanager
def _endings_are_ours() -> Iterator[None]:
    """Processes and threads that are started within ignore Ctrl-C and similar signals: this process handles them alone.

    A signal that arrives meanwhile is handled at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
