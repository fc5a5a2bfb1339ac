"""Processes that end with the process that started them, however that ends.

This file is also a program, which imports nothing but the standard library: `python lifetime.py PID COMMAND...` runs a
command for the process PID, and kills it and everything that it started as soon as PID has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import IO


@lru_cache(maxsize=1)
def end_with(parent: int) -> None:
    """Ends this process as soon as its parent process has ended.

    Args:
        parent: process id of the parent.
    """
    _after(parent, partial(os._exit, 1))


def run_command(
    command: Sequence[str],
    output: IO[bytes],
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> int | None:
    """Runs a command without a shell. It and all that it started end when it returns, and when this process ends.

    Args:
        command: the program and its arguments.
        output: a file for what it prints to stdout and stderr.
        folder: its working folder; None for the working folder of this process.
        environment: its environment variables; None for those of this process.
        timeout: seconds that it may take; None for any time.

    Returns:
        Its exit code, minus the signal that killed it, or None if it took too long.

    Raises:
        OSError: the program cannot be started.
    """
    launcher = [sys.executable, "-I", os.path.abspath(__file__), str(os.getpid()), *command]
    process = subprocess.Popen(
        launcher,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=folder,
        env=environment,
        start_new_session=True,  # a process group of its own, which can be killed as a whole
    )
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return 128 - code if code > 128 else code


def _after(parent: int, action: Callable[[], None]) -> None:
    """Calls the action in a thread as soon as the parent process has ended."""

    def wait() -> None:
        try:
            ended = os.pidfd_open(parent)
        except (AttributeError, OSError):  # not available on this system, or the parent has already ended
            ended = None
        while os.getppid() == parent:
            if ended is None:
                threading.Event().wait(0.05)
            else:
                select.select([ended], [], [], 1.0)
        action()

    threading.Thread(target=wait, daemon=True).start()


def _launch(parent: int, command: Sequence[str]) -> int:
    """Runs the command until it ends or the parent does; returns its exit code, 128 + N if signal N killed it."""
    _after(parent, lambda: os.killpg(0, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # workers of a run block some signals, which commands may rely on
    try:
        code = subprocess.call(command)
    except OSError as error:
        print(f"{command[0]}: cannot be started: {error.strerror or error}", file=sys.stderr)
        return 127
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_launch(int(sys.argv[1]), sys.argv[2:]))
