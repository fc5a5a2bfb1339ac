"""GPUs shared out among worker processes: one each, also between runs on one machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

_held: dict[int, IO] = {}  # {GPU of this process: its lock}, open as long as the process lives; the lock goes with it


def take_gpu(count: int, folder: Path | None = None) -> int:
    """Makes one of the machine's GPUs this process's own, the default for everything torch does on CUDA.

    The first that no other worker holds, and the same one ever after; where all are held, as when more workers were
    asked for than there are GPUs, processes are spread evenly.

    Args:
        count: how many GPUs there are.
        folder: where the lock files lie; the machine's folder for temporary files.

    Returns:
        Its number.
    """
    import torch  # takes its time to load; runs without a GPU never come here

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
