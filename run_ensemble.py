"""Ensemble and post-processing for referring video object segmentation.

python run_ensemble.py RECIPE|FILE.yaml [data=NAME] [key=value ...]   run a recipe (resume it if interrupted)
python run_ensemble.py check RECIPE [key=value ...]                   validate recipe and every input; compute nothing
python run_ensemble.py ablate RECIPE ablate.STEP.KEY=[a,b,...]        the gain of thresholds, weights, models and steps
python run_ensemble.py evaluate gt=DIR pred=DIR|ZIP protocol=NAME     score any masks by a benchmark's protocol
python run_ensemble.py compare RUN_A RUN_B ...                        the gains of runs over the first, with intervals
python run_ensemble.py train propagator=NAME|segmenter=NAME ...       train a network, on shapes or on your own data
python run_ensemble.py list [KIND|NAME|FILE.py]                       names to use; the settings of one of them
python run_ensemble.py weights [verify FILE | export FILE NAME]       published checkpoints; identify or export a file
python run_ensemble.py completion bash|zsh|fish                       completes verbs, recipes and keys in your shell
python run_ensemble.py help VERB                                      the keys of a verb and examples, as VERB --help

RECIPE is short for recipe=RECIPE; --version prints the version.

Exit codes: 0 success; 1 some clips failed (the same command resumes); 2 the input or recipe is wrong, or a file cannot
be written; 70 a bug in the program; 130, 143, 129 interrupted by Ctrl-C, TERM, HUP (the same command resumes); 141 the
reader of the output has closed it (as in `| head`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

FAULT = 70  # exit code: a bug in the program (EX_SOFTWARE)
UNREAD = 141  # exit code: the reader of a pipe has closed it, as shells report it
SHOWN = 50  # number of problems that are printed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments describe and returns its exit code; see the top of this file for both."""
    with _ended_by(signal.SIGTERM, signal.SIGHUP), _readable():
        try:
            return _main(list(sys.argv[1:] if arguments is None else arguments))
        except KeyboardInterrupt as e:
            ended = e.args[0] if e.args and isinstance(e.args[0], signal.Signals) else signal.SIGINT
            print("interrupted; the same command resumes", file=sys.stderr)
            return 128 + ended


def _main(arguments: list[str]) -> int:
    from rvos_ensemble.adapters.core.errors import InputError  # here, so that loading can be interrupted cleanly

    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except InputError as e:
        for problem in e.problems[:SHOWN]:
            print(f"error: {problem}", file=sys.stderr)
        if len(e.problems) > SHOWN:
            print(f"and {len(e.problems) - SHOWN} more problems", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as in `| head`; what Python would flush at its end is discarded
        _silence(sys.stdout)
        return UNREAD
    except OSError as e:
        _silence(sys.stdout)
        print(f"error: {e}", file=sys.stderr)
        return 2
    except Exception as e:
        what = "".join(f"{e}".splitlines()[:1])
        print(f"error: a bug in the program: {type(e).__name__}: {what}; {_keep_trace()}", file=sys.stderr)
        return FAULT


def _dispatch(arguments: list[str]) -> int:
    from importlib import import_module, metadata  # here, so that loading can be interrupted cleanly

    if not arguments or arguments in (["-h"], ["--help"], ["help"]):
        print(__doc__)
        return 0 if arguments else 2
    if arguments == ["--version"]:
        try:
            print(f"rvos-ensemble {metadata.version('rvos-ensemble')}")
        except metadata.PackageNotFoundError:
            print("rvos-ensemble, a checkout that is not installed")
        return 0
    from rvos_ensemble.ensemble.commands.verbs import parse

    verb, rest = parse(arguments)
    return import_module(f"rvos_ensemble.ensemble.commands.{verb}").run(rest)


@contextlib.contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """These signals interrupt the program as Ctrl-C does; where they are ignored (`nohup`), they stay so."""

    def end(number: int, _) -> None:
        raise KeyboardInterrupt(signal.Signals(number))

    before = {}
    with contextlib.suppress(ValueError):  # only the main thread can
        before = {s: signal.signal(s, end) for s in signals if signal.getsignal(s) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Replaces control characters in the output; an unwritable stderr does not stop the work."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Printable(sys.stdout), _Printable(sys.stderr, optional=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Printable:
    """A text stream that replaces control characters.

    Args:
        stream: sys.stdout or sys.stderr.
        optional: whether failed writes are ignored.
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
        except (OSError, ValueError):  # the stream is closed or cannot be written
            if not self.optional:
                raise
            _silence(self.stream)

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


def _silence(stream) -> None:
    """Discards everything written from now on; Python would otherwise complain at its end about unwritten text."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _keep_trace() -> str:
    """Writes the current traceback into a file; returns a sentence that names it."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="rvos_ensemble_", suffix=".txt", delete=False) as file:
            file.write(traceback.format_exc())
        return f"the traceback is in {file.name}; please report it"
    except OSError:
        return f"the traceback is:\n{traceback.format_exc()}"


if __name__ == "__main__":
    sys.exit(main())
