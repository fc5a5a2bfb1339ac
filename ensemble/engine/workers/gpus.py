"""Distributes GPUs among worker processes: one each, also across several runs on one machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

_held: dict[int, IO] = {}  # {GPU of this process: its lock file}, open and locked as long as the process lives


def take_gpu(folder: Path | None = None) -> int | None:
    """Reserves one of the machine's GPUs for this process and makes it torch's default CUDA device.

    The process takes the first GPU that no other worker holds, and keeps it. Where all are taken, because there are
    more workers than GPUs, processes are distributed evenly.

    Args:
        folder: where the lock files lie; by default the machine's folder for temporary files.

    Returns:
        Its number; None where the machine has no GPU, such as some machines of a cluster.
    """
    import torch  # slow to import, and needed only with a GPU

    count = torch.cuda.device_count()
    if not count:
        return None
    folder = folder or Path(tempfile.gettempdir())
    taken = next(iter(_held), None)
    if taken is None:
        taken = next((i for i in range(count) if _lock(folder, i)), None)
    chosen = os.getpid() % count if taken is None else taken
    torch.cuda.set_device(chosen)
    return chosen


def _lock(folder: Path, gpu: int) -> bool:
    import torch

    name = torch.cuda.get_device_properties(gpu).uuid  # numbers depend on CUDA_VISIBLE_DEVICES
    file = (folder / f"rvos_ensemble_{os.getuid()}_gpu_{name}.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _held[gpu] = file
    return True
