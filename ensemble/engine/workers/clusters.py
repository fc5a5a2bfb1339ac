"""Clips on a Dask or Ray cluster, whose workers may be on other machines.

A task is a clip and the recipe: names, paths and settings, no pixels. Workers read and write files under the paths of
the process that runs the recipe, so that these must lie on a file system that all machines share.

Tasks are given to the schedulers directly, not through joblib: when a worker dies, joblib's Dask backend can wait
forever, and that of Ray, which returns no clip before all are finished, loses those that are. Both schedulers give the
task of a worker that died to another one. A clip of which they despair is tried once more at the end, alone: Dask also
despairs of a clip that only waited on a worker that another one killed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError

RETRIES = 1  # by the scheduler, of a clip whose worker died; a Dask cluster of the user's has its `allowed-failures`
PATIENCE = 600  # seconds that a worker process may take to start


class WorkerDied(Exception):
    """The worker process of a task died at every try; the text is what the scheduler says, "" if nothing."""


class Cluster(Protocol):
    """Workers that carry out tasks."""

    def slots(self) -> int:
        """How many tasks can be carried out at a time, at present."""

    def submit(self, task: tuple[str, bytes]) -> Any:
        """Hands out a task, see `task_of`; returns its handle."""

    def first(self, handles: Sequence[Any]) -> Any:
        """Waits for one of these to be finished, and returns it."""

    def result(self, handle: Any) -> Any:
        """The result of a task that is finished. Exceptions of the work are raised as they are.

        Raises:
            WorkerDied: its worker died at every try.
        """


def on_cluster(
    cluster: Cluster, work: Callable[[Clip], Any], clips: Sequence[Clip], most: int | None = None
) -> Iterator[tuple[Clip, Any]]:
    """`(clip, work(clip))` in the order in which clips are finished; `(clip, WorkerDied)` where its worker did.

    Args:
        cluster: the workers.
        work: processes one clip.
        clips: the clips.
        most: number of clips that are processed at a time; None for as many as the cluster can at that moment.
    """
    suspects = []
    for clip, result in _together(cluster, work, clips, most):
        if isinstance(result, WorkerDied):
            suspects.append(clip)
        else:
            yield clip, result
    yield from _together(cluster, work, suspects, 1)


def _together(
    cluster: Cluster, work: Callable[[Clip], Any], clips: Sequence[Clip], most: int | None
) -> Iterator[tuple[Clip, Any]]:
    """As `on_cluster`, with one try."""
    left, running = list(reversed(clips)), {}
    while left or running:
        while left and len(running) < (most or max(cluster.slots(), 1)):
            clip = left.pop()
            running[cluster.submit(task_of(work, clip))] = clip
        handle = cluster.first([*running])
        clip = running.pop(handle)
        try:
            result = cluster.result(handle)
        except WorkerDied as error:
            result = error
        yield clip, result


def task_of(work: Callable[[Clip], Any], clip: Clip) -> tuple[str, bytes]:
    """What travels to a worker: the folder in which relative paths start, and the pickled work and clip."""
    import cloudpickle  # classes of the user's files are pickled by value

    return os.getcwd(), cloudpickle.dumps((work, clip))


def run_task(folder: str, packed: bytes) -> Any:
    """Carries out a task in a worker process.

    The worker stays in the folder: other threads of it may be at work on clips of the same run.

    Raises:
        InputError: the folder does not exist on this machine.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be used on machine {socket.gethostname()} of the cluster: {error.strerror}; run the "
            "command in a folder that all machines share under the same path"
        ) from None
    work, clip = pickle.loads(packed)
    return work(clip)


class Dask:
    """The cluster of a Dask client."""

    def __init__(self, client: Any):
        self.client = client

    def slots(self) -> int:
        """The number of threads of all workers."""
        return sum(self.client.nthreads().values())

    def submit(self, task: tuple[str, bytes]) -> Any:
        """See `Cluster`."""
        return self.client.submit(run_task, *task, pure=False)

    def first(self, handles: Sequence[Any]) -> Any:
        """See `Cluster`."""
        from distributed import wait

        return next(iter(wait(handles, return_when="FIRST_COMPLETED").done))

    def result(self, handle: Any) -> Any:
        """See `Cluster`."""
        from distributed import KilledWorker

        try:
            return handle.result()
        except KilledWorker as error:
            raise WorkerDied from error
        finally:
            handle.release()


class Ray:
    """The cluster that this process is connected to.

    Args:
        gpu: whether a task needs a GPU, where the cluster has some; Ray hides all others from it.
    """

    def __init__(self, gpu: bool):
        import ray

        self.resource = "GPU" if gpu and ray.cluster_resources().get("GPU") else "CPU"
        needs = {"num_cpus": 1, "num_gpus": int(self.resource == "GPU")}
        self.task = ray.remote(max_retries=RETRIES, **needs)(run_task)

    def slots(self) -> int:
        """The number of CPUs of all machines, or of GPUs where tasks need one."""
        import ray

        return int(ray.cluster_resources().get(self.resource, 0))

    def submit(self, task: tuple[str, bytes]) -> Any:
        """See `Cluster`."""
        return self.task.remote(*task)

    def first(self, handles: Sequence[Any]) -> Any:
        """See `Cluster`."""
        import ray

        return ray.wait(handles, num_returns=1)[0][0]

    def result(self, handle: Any) -> Any:
        """See `Cluster`."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            return ray.get(handle)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise WorkerDied(str(error).strip().partition("\n")[0]) from error


@contextlib.contextmanager
def dask_cluster(here: int) -> Iterator[Dask]:
    """The Dask cluster of DASK_SCHEDULER_ADDRESS, else worker processes of this machine, which end with it.

    Args:
        here: number of those.
    """
    import dask
    from distributed import Client

    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    local = {"n_workers": here, "threads_per_worker": 1, "dashboard_address": None}
    settings = {
        "distributed.scheduler.allowed-failures": RETRIES,
        "distributed.deploy.lost-worker-timeout": PATIENCE,  # else a worker is given up that takes 15 s to start again
    }
    place = f"the Dask cluster at {address}" if address else "a Dask cluster on this machine"
    with dask.config.set(settings):
        try:
            client = Client(address) if address else Client(**local)
        except (OSError, ValueError) as error:
            raise InputError(f"engine.backend is 'dask': {place} cannot be used: {error}") from error
        with client:
            cluster = Dask(client)
            if not cluster.slots():
                print(f"note: {place} has no workers; the run waits for them", file=sys.stderr)
            yield cluster


@contextlib.contextmanager
def ray_cluster(here: int, gpu: bool) -> Iterator[Ray]:
    """The Ray cluster of RAY_ADDRESS or of this process, else worker processes of this machine, which end with it.

    Args:
        here: number of those.
        gpu: see `Ray`.
    """
    import ray

    ours = not ray.is_initialized()
    if ours:
        local = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": here, "include_dashboard": False}
        try:
            ray.init(logging_level="warning", log_to_driver=False, **local)
        except Exception as error:  # of many kinds
            address = os.environ.get("RAY_ADDRESS")
            place = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
            raise InputError(f"engine.backend is 'ray': {place} cannot be used: {error}") from error
    try:
        yield Ray(gpu)
    finally:
        if ours:
            ray.shutdown()


def open_cluster(backend: str, here: int, gpu: bool) -> contextlib.AbstractContextManager[Cluster]:
    """The cluster of `engine.backend`; see `dask_cluster` and `ray_cluster`.

    Raises:
        InputError: the package is not installed.
    """
    try:
        for package in ("cloudpickle", "distributed" if backend == "dask" else "ray"):
            __import__(package)
    except ImportError as error:
        raise InputError(f"engine.backend is {backend!r}: {error}; pip install 'rvos-ensemble[{backend}]'") from None
    return dask_cluster(here) if backend == "dask" else ray_cluster(here, gpu)
