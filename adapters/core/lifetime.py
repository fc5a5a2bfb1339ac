"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import select
import threading
from functools import lru_cache


@lru_cache(maxsize=1)
def end_with(parent: int) -> None:
    """Ends this process as soon as the one that started it has ended, however that was.

    Args:
        parent: its number; to be called in a child of it.
    """
    threading.Thread(target=_wait_and_end, args=(parent,), daemon=True).start()


def _wait_and_end(parent: int) -> None:
    try:
        ended = os.pidfd_open(parent)
    except (AttributeError, OSError):  # not on this system, or already gone
        ended = None
    while os.getppid() == parent:
        if ended is None:
            threading.Event().wait(0.05)
        else:
            select.select([ended], [], [], 1.0)
    os._exit(1)
