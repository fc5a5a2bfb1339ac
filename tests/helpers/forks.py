"""Commands in forks of a process that has loaded everything, so that a kill falls into the work and not into imports.

The forks come from a process of their own: one of the tests' has threads by then, which a fork would not have.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER = """
import json, os, sys
sys.path.insert(0, {root!r})
import run_ensemble
from rvos_ensemble.ensemble.commands import ablate, evaluate, run, train
from rvos_ensemble.ensemble.engine.storage import results
from rvos_ensemble.ensemble.recipe import recipe
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.chdir(asked["home"])
        told = os.open("told.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(told, 1)
        os.dup2(told, 2)
        code = 70
        try:
            exec(asked["first"])
            code = run_ensemble.main(asked["arguments"])
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forks:
    """Runs one command at a time; what it prints is added to `told.txt` in the folder `home`, which a test sets."""

    home: Path

    def __init__(self):
        self.pid, self.running = 0, False
        code = SERVER.format(root=str(ROOT))
        self.server = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start(self, arguments, first: str = "") -> int:
        """The number of a process, in a group of its own, that obeys the arguments; `first` is code to run before."""
        asked = {"arguments": [str(a) for a in arguments], "home": str(self.home), "first": first}
        self.server.stdin.write(json.dumps(asked).encode() + b"\n")
        self.server.stdin.flush()
        self.pid, self.running = int(self.server.stdout.readline()), True
        return self.pid

    def ended(self, seconds: float = 240) -> int | None:
        """The exit code of the process, None where it still runs after that time."""
        ready, _, _ = select.select([self.server.stdout], [], [], max(seconds, 0))
        if not ready:
            return None
        self.running = False
        return int(self.server.stdout.readline())

    def run(self, arguments, first: str = "") -> int | None:
        """Its exit code; where it does not end, that of a kill."""
        self.start(arguments, first)
        code = self.ended()
        return self.kill() if code is None else code

    def kill(self, group: bool = True) -> int:
        """Kills the process, or all of its group, and returns its exit code."""
        (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
        return self.ended()

    def finish(self) -> None:
        """Ends a process that a failed test has left, so that the next test can start one."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):  # it ends by itself at this moment
                os.killpg(self.pid, signal.SIGKILL)
            self.ended()

    def close(self) -> None:
        self.server.kill()
        self.server.wait()

    @property
    def told(self) -> str:
        return (self.home / "told.txt").read_text()[-2000:]
