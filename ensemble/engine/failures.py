"""Messages about what went wrong."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.own_code import failure, line_of

SHOWN = 10  # lines printed before "and N more"


def message_of(error: BaseException, where: str = "", file: Path | None = None) -> str:
    """An error in a few words.

    Args:
        error: bad input and failed reads and writes speak for themselves; of others the type and the source line are
            named.
        where: whose error it is, such as "source soc".
        file: the user's file that defines the component: the innermost line of it is named, not that of a library.
    """
    if isinstance(error, InputError):
        return str(error)
    prefix = f"{where}: " if where else ""
    if file is not None and line_of(error, file):
        return f"{prefix}{failure(error, file)}"
    if isinstance(error, OSError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    line = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{prefix}{type(error).__name__}: {error}{line}"


def print_some(lines: Sequence[str]) -> None:
    """Prints the first few lines to stderr, of problems of which there may be thousands."""
    for line in lines[:SHOWN]:
        print(line, file=sys.stderr)
    if len(lines) > SHOWN:
        print(f"and {len(lines) - SHOWN} more", file=sys.stderr)
