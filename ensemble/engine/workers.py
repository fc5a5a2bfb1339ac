"""Runs clips in parallel worker processes, which end with the run; a worker that dies costs one clip."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

import joblib
from tqdm import tqdm

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.lifetime import end_with


class Record(Protocol):
    """What became of a clip."""

    clip: str
    status: str
    frames: int


R = TypeVar("R", bound=Record)
ENDINGS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}  # the run answers them, and its workers end with it
DIED = (
    "its worker process died, and again when it was tried alone: most likely memory ran out, or a library crashed on "
    "this clip; the other clips go on without it. Look at its files, or try fewer engine.workers, then run again"
)


def in_order(work: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    """`work(job)` of every job, in order, in processes of this machine.

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
    """All clips through `work`, side by side, with a progress bar; {clip: what became of it}.

    A process that dies costs one clip: those that were in the works are tried again, each alone, and the one that
    kills its process a second time is the failed one. The rest goes on in new processes.

    Args:
        clips: at least one.
        work: what to do with a clip, in a process of its own.
        record: makes its result, from (clip, "failed", reason), for a clip whose process died.
        engine: see `recipe_files.ENGINE`.
        title: of the progress bar.
        done: told in this process of every clip that is through.
    """
    workers = min(engine["workers"], len(clips))
    backend = "sequential" if workers == 1 and engine["backend"] == "loky" else engine["backend"]
    records: dict[str, R] = {}
    with (
        _backend(backend, workers),
        tqdm(total=sum(len(c) for c in clips), desc=title, unit="frame", mininterval=pace()) as bar,
    ):

        def through(found: R) -> None:
            records[found.clip] = found
            done(found)
            bar.update(found.frames)
            failed = sum(r.status == "failed" for r in records.values())
            bar.set_postfix_str(f"{len(records)}/{len(clips)} clips" + (f", {failed} failed" if failed else ""))

        left = list(clips)
        while left:
            suspects: list[Clip] = []
            if not _together(left, work, backend, workers, suspects, through):
                suspects = [c for c in suspects if c.name not in records] or left[:1]
                for clip in suspects:
                    if not _together([clip], work, backend, workers, [], through):
                        through(record(clip.name, "failed", f"clip {clip.name}: {DIED}", len(clip)))
            left = [c for c in left if c.name not in records]
    return records


def _together(
    clips: Sequence[Clip],
    work: Callable[[Clip], R],
    backend: str,
    workers: int,
    begun: list[Clip],
    through: Callable[[R], None],
) -> bool:
    """Clips side by side until all are through, or a process has died.

    Args:
        begun: filled with the clips that were handed out.

    Returns:
        Whether all are through.
    """
    work = _Worker(work, os.getpid() if backend == "loky" else None)

    def jobs() -> Iterator[Any]:
        for clip in clips:
            begun.append(clip)
            yield joblib.delayed(work)(clip)

    as_they_come = "list" if backend == "ray" else "generator_unordered"  # Ray's backend knows no generators
    # no clip is handed out before there is a process for it: what was handed out when one died is what it worked on
    parallel = joblib.Parallel(
        n_jobs=max(workers, 2) if backend == "loky" else workers,  # joblib takes one worker for none
        return_as=as_they_come,
        batch_size=1,
        pre_dispatch=workers,
    )
    try:
        with _endings_are_ours():
            results = parallel(jobs())
        for found in results:
            through(found)
    except Exception as error:
        if not _is_death(error):
            raise
        return False
    return True


def _is_death(error: Exception) -> bool:
    """Whether an exception says that a process died: Dask and Ray, which may not be installed, have their own."""
    return isinstance(error, BrokenProcessPool) or type(error).__name__ in ("KilledWorker", "WorkerCrashedError")


class _Worker:
    """What runs in a worker: `work`, in a process that ends with the one that started it."""

    def __init__(self, work: Callable[[Any], Any], parent: int | None):
        self.work, self.parent = work, parent

    def __call__(self, job: Any) -> Any:
        if self.parent is not None:
            end_with(self.parent)
        return self.work(job)


@contextlib.contextmanager
def _endings_are_ours() -> Iterator[None]:
    """Processes and threads that are started here are deaf to Ctrl-C and the like: one line is said, by this one.

    A signal of this moment is answered at its end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _backend(name: str, workers: int) -> Iterator[None]:
    """Makes a joblib backend the one in force; Dask and Ray are installed by those who have a cluster."""
    with contextlib.ExitStack() as stack:
        try:
            if name == "ray":
                from ray.util.joblib import register_ray

                register_ray()
            if name == "dask":  # the cluster of DASK_SCHEDULER_ADDRESS, else processes of this machine
                from dask.distributed import Client

                here = {} if "DASK_SCHEDULER_ADDRESS" in os.environ else {"n_workers": workers, "threads_per_worker": 1}
                stack.enter_context(Client(**here))
            stack.enter_context(joblib.parallel_config(backend=name))
        except ImportError as e:
            raise InputError(f"engine.backend is {name!r}: {e}; pip install 'rvos-ensemble[{name}]'") from None
        yield


def pace() -> float:
    """Seconds between two updates of a progress bar: a log file wants fewer lines than a terminal."""
    return 0.1 if sys.stderr.isatty() else 30.0
