"""Freed memory that is kept for the next array."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
ARRAY, KEPT = 1 << 25, 1 << 26  # bytes; glibc takes no higher threshold than the first


def keep_freed() -> None:
    """Lets the allocator keep what is freed, up to 64 MB, and use it for arrays of up to 32 MB.

    By default glibc returns large arrays to the system at once, and the next ones get pages that have to be cleared:
    more than half of the time of reading masks goes into that. Other C libraries are left as they are.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, ARRAY)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
