"""The progress of a run: within a clip, in several workers, in a terminal and in a log file."""

import io
import os
import re
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.tiny import make_tiny

import run_ensemble
from rvos_ensemble.adapters.core import progress
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.ensemble.api.quiet import captured
from rvos_ensemble.ensemble.engine import progress_bar
from rvos_ensemble.ensemble.engine.progress_bar import FOLDER, ClipsBar, ProgressBar, tracked
from rvos_ensemble.ensemble.engine.workers import clip_progress, workers
from rvos_ensemble.ensemble.engine.workers.clip_progress import ClipProgress

SLOW = """
import time
import numpy as np
import rvos_ensemble as rv


class Slow(rv.Propagator):
    '''Keeps masks where they are, slowly.'''

    def sweep(self, size, sequences):
        return SlowSweep()


class SlowSweep:
    def __init__(self):
        self.masks = {}

    def step(self, frame, given):
        time.sleep(0.05)
        self.masks |= {i: mask.astype(np.uint8) * 255 for i, mask in given.items()}
        return dict(self.masks)
"""


class Clock:
    """Replaces the time."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Time that the test moves, and no parts that were measured before."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr(clip_progress, "_seconds", {})
    return clock


def clip_of(name: str, frames: int) -> Clip:
    return Clip(name, tuple(f"{t:03d}" for t in range(frames)), (), SimpleNamespace(size=(4, 4)))


# Within a clip


def test_the_first_frames_tell_how_long_the_clip_will_take(clock):
    """Two networks and a vote: when a tenth of the first is done, the second is expected to take as long."""
    work = ClipProgress(None, frames=20)
    work.expect({"soc": True, "aot": True, "vote": False})
    with work.running(["soc"]):
        clock.now += 2
        progress.advance(2, 20)
        assert work.done() == pytest.approx(2 / (20 + 20 + 0.02 * 20))
        clock.now += 18
        progress.advance(20, 20)
    with work.running(["aot"]):
        assert work.done() == pytest.approx(20 / (20 + 20 + 0.02 * 20), rel=0.03)
        clock.now += 10
        progress.advance(1, 4)  # slower than soc: 40 s
        assert work.done() == pytest.approx(30 / (60 + 0.02 * 40))


def test_parts_of_an_earlier_clip_are_expected_to_take_as_long_per_frame(clock):
    first = ClipProgress(None, frames=10)
    for name, seconds in {"soc": 5.0, "aot": 20.0}.items():
        with first.running([name]):
            clock.now += seconds
    second = ClipProgress(None, frames=20)
    second.expect({"soc": True, "aot": True})
    with second.running(["soc"]):
        clock.now += 10
        progress.advance(1, 1)
        assert second.done() == pytest.approx(10 / (10 + 40))


def test_what_is_shown_of_a_clip_is_not_taken_back(clock):
    """A network that passes the clip twice starts over; its frames are not counted down."""
    work = ClipProgress(None, frames=10)
    with work.running(["soc"]):
        for share in (0.5, 1.0, 0.1):
            clock.now += 1
            progress.advance(share, 1)
        assert work.share == 1.0


def test_parts_of_parts():
    seen = []
    with progress.listening(seen.append):
        progress.advance_inner(1, 2)  # of nothing
        with progress.inner(10, 20, 40):
            progress.advance_inner(1, 2)
        assert list(progress.counted("ab")) == ["a", "b"]
    progress.advance(1, 1)  # nobody listens
    assert seen == [15 / 40, 0.5, 1.0]


def test_a_folder_that_does_not_exist_does_not_stop_the_work(tmp_path):
    """As on another machine of a cluster."""
    with clip_progress.of_clip(tmp_path / "gone", clip_of("a", 3)), clip_progress.current().running(["soc"]):
        progress.advance(1, 3)
    assert not (tmp_path / "gone").exists()


# What is shown


def test_the_remaining_time_is_that_of_the_average_pace(clock):
    bar = ProgressBar("stage2", 200, "frame")
    clock.now += 30
    bar.n = 0.2  # too little for an estimate
    assert bar.line().endswith(" | 00:30")
    bar.n, bar.note = 50.0, "1 of 4 clips"
    assert bar.line() == "stage2: 25% | 50 of 200 frames | 1 of 4 clips | 00:30, about 01:30 left"


def test_the_bar_counts_the_frames_of_clips_in_progress(clock, tmp_path):
    with ClipsBar("run", {"a.b": 100, "c": 50, "d": 50}) as bar:
        bar.finish("c", failed=True)
        with clip_progress.of_clip(bar.folder, clip_of("a.b", 100)):
            clip_progress.current().expect({"soc": True, "aot": True})
            with clip_progress.current().running(["soc"]):
                clock.now += 10
                progress.advance(1, 2)
                bar.refresh()
                assert bar.bar.n == pytest.approx(50 + 25)
                assert bar.bar.note == "1 of 3 clips, 1 failed, a.b: soc 50/100"
    assert not bar.folder.exists()


def test_folders_of_killed_runs_are_removed(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = [f"{FOLDER}{process}_x" for process in (ended.pid, os.getppid(), 10**30, "mine")]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / names[0] / "a.json").write_text("{}")
    with ClipsBar("run", {"a": 1}), ClipsBar("run", {"a": 1}) as second:
        assert second.folder.name.startswith(f"{FOLDER}{os.getpid()}_")
        assert len(list(tmp_path.iterdir())) == 3 + 2
    assert {p.name for p in tmp_path.iterdir()} == set(names[1:])


def test_a_log_gets_plain_lines_and_few_of_them(clock, monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    for _ in tracked(range(300), "checking", 300, "clip"):
        clock.now += 1
    lines = log.getvalue().split("\n")[:-1]
    assert lines[0] == "checking: 3% | 10 of 300 clips | 00:10, about 04:50 left"
    assert len(lines) == 5 and "\r" not in log.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(tracked("abc", "checking", 3, "clip")) == ["a", "b", "c"]
    assert "checking" in terminal.getvalue() and "\r" in terminal.getvalue()


def test_quiet_runs_keep_progress_out_of_their_log(clock):
    with captured() as log:
        bar = ProgressBar("run", 10, "frame")
        clock.now += 60
        bar.show(5)
        print("note: kept", file=sys.stderr)
    assert "run: 50% | 5 of 10 frames | 01:00, about 01:00 left" in log.getvalue() and log.lines == ["note: kept"]


# From the command line


def test_a_run_shows_frames_within_its_only_clip(tmp_path, monkeypatch, capsys):
    tiny = make_tiny(tmp_path, clips=("a",))
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.setattr(progress_bar, "FIRST", 0.0)
    monkeypatch.setattr(progress_bar, "EVERY", 0.0)
    monkeypatch.setattr(progress_bar, "REFRESH", 0.02)
    monkeypatch.setattr(clip_progress, "PAUSE", 0.0)
    assert run_ensemble.main([*tiny.arguments, f"propagators.flow.propagator={tmp_path}/slow.py"]) == 0
    shown = re.findall(
        r"^tiny: \d+% \| (\d+) of 5 frames \| 0 of 1 clips, a: smr_flow (\d)/5 \|", capsys.readouterr().err, re.M
    )
    frames = [int(n) for _, n in shown]
    assert len(set(frames)) >= 3 and frames == sorted(frames)


def _two_steps(clip: Clip) -> SimpleNamespace:
    """Work of a worker process."""
    with clip_progress.current().running(["soc"]):
        for _ in progress.counted(range(len(clip))):
            time.sleep(0.1)
    return SimpleNamespace(clip=clip.name, status="done", frames=len(clip))


def test_workers_say_how_far_they_are(monkeypatch):
    """Two processes at once, whose frames are shown before either of them is through."""
    seen = []
    monkeypatch.setattr(ProgressBar, "show", lambda self, n, note="": seen.append((n, note)))
    engine = {"workers": 2, "backend": "loky"}
    records = workers.spread([clip_of("a", 12), clip_of("b", 12)], _two_steps, SimpleNamespace, engine, "run")
    assert records.keys() == {"a", "b"}
    assert any(0 < n < 12 and re.search(r"[ab]: soc \d+/12", note) for n, note in seen)
    assert seen[-1] == (24, "2 of 2 clips") and np.all(np.diff([n for n, _ in seen]) >= 0)
