"""Ensemble and post-processing for referring video object segmentation.

python run_ensemble.py recipe=NAME|FILE [data=NAME] [key=value ...]   run a recipe (resume it if interrupted)
python run_ensemble.py check recipe=... [key=value ...]               validate recipe and every input; compute nothing
python run_ensemble.py ablate recipe=... ablate.STEP.KEY=[a,b,...]    what thresholds, weights, models, steps are worth
python run_ensemble.py evaluate gt=DIR pred=DIR|ZIP protocol=NAME     J and F of any masks, by a benchmark's protocol
python run_ensemble.py train propagator=NAME|segmenter=NAME ...       trains a network, on shapes or your own data
python run_ensemble.py list                                           what recipes and evaluate can name
python run_ensemble.py weights [verify FILE | export FILE NAME]      published checkpoints; what a file is; fp16 of it

Exit codes: 0 all is done, 1 some clips failed (the same command resumes), 2 the input or recipe is wrong, or a file
cannot be written, 70 a fault of the program, 130, 143, 129 interrupted by Ctrl-C, TERM, HUP (the same command resumes),
141 the reader of the output is gone (as in `| head`).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

FAULT = 70  # exit code: the program is wrong, not the input (EX_SOFTWARE)
UNREAD = 141  # the exit code of a shell's command that writes to a pipe which nobody reads
VERBS = ("run", "check", "ablate", "evaluate", "train", "list", "weights")  # files of ensemble/commands
SHOWN = 50  # problems that are printed


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments say; see the top of this file for them and for the exit code that it returns."""
    with _ended_by(signal.SIGTERM, signal.SIGHUP), _readable():
        try:
            return _main(list(sys.argv[1:] if arguments is None else arguments))
        except KeyboardInterrupt as e:
            ended = e.args[0] if e.args and isinstance(e.args[0], signal.Signals) else signal.SIGINT
            print("interrupted; the same command resumes", file=sys.stderr)
            return 128 + ended


def _main(arguments: list[str]) -> int:
    from rvos_ensemble.adapters.core.errors import (
        InputError,  # here and below, because loading takes its time, and may be interrupted
    )

    try:
        code = _obey(arguments)
        sys.stdout.flush()
        return code
    except InputError as e:
        for problem in e.problems[:SHOWN]:
            print(f"error: {problem}", file=sys.stderr)
        if len(e.problems) > SHOWN:
            print(f"and {len(e.problems) - SHOWN} more problems", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough; what Python would still flush at its end goes nowhere
        _silence(sys.stdout)
        return UNREAD
    except OSError as e:
        _silence(sys.stdout)
        print(f"error: {e}", file=sys.stderr)
        return 2
    except Exception as e:
        what = "".join(f"{e}".splitlines()[:1])
        print(f"error: a fault of the program: {type(e).__name__}: {what}; {_keep_trace()}", file=sys.stderr)
        return FAULT


def _obey(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0 if arguments else 2
    verb = "run" if "=" in arguments[0] else arguments.pop(0)
    if verb not in VERBS:
        from rvos_ensemble.adapters.core.errors import InputError

        raise InputError(f"no command {verb!r}. There are: {', '.join(VERBS)}; key=value alone runs a recipe")
    return importlib.import_module(f"rvos_ensemble.ensemble.commands.{verb}").run(arguments)


@contextlib.contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """These signals end what is done here as Ctrl-C does; where they are ignored, as under `nohup`, they stay so."""

    def end(number: int, _) -> None:
        raise KeyboardInterrupt(signal.Signals(number))

    before = {}
    with contextlib.suppress(ValueError):  # only a main thread can
        before = {s: signal.signal(s, end) for s in signals if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Removes control characters from what is printed; an unwritable stderr does not stop the work."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Printable(sys.stdout), _Printable(sys.stderr, optional=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Printable:
    """A stream to which only printable text goes.

    Args:
        stream: sys.stdout or sys.stderr.
        optional: what cannot be written is no error.
    """

    CONTROLS = {c: f"\\x{c:02x}" for c in (*range(32), 127, *range(128, 160)) if chr(c) not in "\n\r\t"}

    def __init__(self, stream, optional: bool = False):
        self.stream, self.optional = stream, optional

    def write(self, text: str) -> int:
        text = (
            text.translate(self.CONTROLS)
            .encode(self.encoding or "utf-8", "backslashreplace")
            .decode(self.encoding or "utf-8", "replace")
        )
        with self._attempt():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._attempt():
            self.stream.flush()

    @contextlib.contextmanager
    def _attempt(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # nowhere to write to, or closed
            if not self.optional:
                raise
            _silence(self.stream)

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


def _silence(stream) -> None:
    """From now on what is written goes nowhere; Python itself would complain of what is left at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _keep_trace() -> str:
    """Writes where the exception came from; in words, where it lies."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="rvos_ensemble_", suffix=".txt", delete=False) as file:
            file.write(traceback.format_exc())
        return f"where it came from is in {file.name}; please report it"
    except OSError:
        return f"where it came from:\n{traceback.format_exc()}"


if __name__ == "__main__":
    sys.exit(main())
