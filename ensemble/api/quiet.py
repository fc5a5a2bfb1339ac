"""Keeps what commands print out of the caller's terminal."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

BAR = re.compile(r"\d+% ?\||\d+[a-z]+ \[\d\d:\d\d, ")  # of tqdm, with and without a known total


class Log(io.StringIO):
    """What was printed."""

    @property
    def lines(self) -> list[str]:
        """The printed lines, without empty ones and progress bars."""
        lines = (line.rpartition("\r")[2].rstrip() for line in self.getvalue().split("\n"))
        return [line for line in lines if line and not BAR.search(line)]


@contextlib.contextmanager
def captured(verbose: bool = False) -> Iterator[Log]:
    """Collects what is printed to stdout and stderr in the block, for the whole process; nothing where `verbose`.

    >>> with captured() as log:
    ...     print("25 %", end="\\r")
    ...     print("done")
    >>> log.lines
    ['done']
    """
    log = Log()
    if verbose:
        yield log
        return
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield log
