"""How far the work on a clip is: loops over frames say it here, and the engine, if it listens, shows it.

    for t in progress.counted(range(len(clip))):
        ...

Every call is optional: a component that says nothing is shown by its name alone. Without a listener nothing happens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

_listener: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)
_inner: ContextVar[tuple[float, float] | None] = ContextVar("inner", default=None)


@contextlib.contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Calls `listener(share)` on every advance within, with the share of the work that is done, in 0..1.

    >>> seen = []
    >>> with listening(seen.append):
    ...     advance(1, 4)
    ...     with inner(1, 3, 4):
    ...         advance_inner(1, 2)
    >>> advance(4, 4)
    >>> seen
    [0.25, 0.5]
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def advance(done: float, total: float) -> None:
    """States that `done` of `total` equal parts of the work are done."""
    listener = _listener.get()
    if listener is not None and total > 0:
        listener(min(done / total, 1.0))


def counted(items: Sequence[T]) -> Iterator[T]:
    """The items of a loop that is the whole work; each of them, when the loop is through with it, is one part."""
    for n, item in enumerate(items, start=1):
        yield item
        advance(n, len(items))


@contextlib.contextmanager
def inner(start: float, end: float, total: float) -> Iterator[None]:
    """Work within that leads from `start` to `end` of `total` parts may state its own parts by `advance_inner`."""
    token = _inner.set((start / total, end / total))
    try:
        yield
    finally:
        _inner.reset(token)


def advance_inner(done: float, total: float) -> None:
    """States that `done` of `total` parts of the work of the innermost `inner` are done; ignored outside of one."""
    span = _inner.get()
    if span is not None and total > 0:
        advance(span[0] + (span[1] - span[0]) * min(done / total, 1.0), 1)
