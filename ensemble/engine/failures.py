"""Messages about what went wrong."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError

SHOWN = 10  # lines printed before "and N more"


def message_of(error: BaseException, where: str = "", file: Path | None = None) -> str:
    """An error in a few words.

    Args:
        error: bad input and failed reads and writes speak for themselves; of others the type and the source line are
            named.
        where: whose error it is, such as "source soc".
        file: the user's own file that defines the component, whose line is named rather than one of a library.
    """
    if isinstance(error, (InputError, OSError)):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if file is not None and Path(f.filename) == file]
    frame = (own or frames or [None])[-1]
    line = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame else ""
    return f"{where}{': ' if where else ''}{type(error).__name__}: {error}{line}"


def print_some(lines: Sequence[str]) -> None:
    """Prints the first few lines to stderr, of problems of which there may be thousands."""
    for line in lines[:SHOWN]:
        print(line, file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more", file=sys.stderr)
