"""Processes that hear signals, which those that `nohup` or a shell in the background has started do not."""

import signal


def hear_signals() -> None:
    """To be called in the new process, before its program starts."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
