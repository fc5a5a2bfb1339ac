"""Random `kill -9` of runs, ablations, trainings, frame extraction: a rerun ends with the same bytes, nothing is left.

`pytest -m slow -s tests/ensemble/test_kills.py` prints the table.
"""

import os
import random
import shutil
import signal
import time
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.forks import Forks
from helpers.tiny import make_tiny
from test_nothing_lost import children

SLOW = pytest.mark.slow
RESULTS = ("Annotations/*/*/*.png", "submission.zip", "metrics.csv", "report.html", "report/*.js", "clips/*.npz")
LEFT_OVER = ("*.tmp", ".pending*/new/*", "new", "old", "plan.json")


def killed(forks: Forks, whom: str, rng: random.Random, seconds: float) -> bool:
    """Kills at a random moment; False where it was through before."""
    if forks.ended(rng.uniform(0, 0.8 * seconds)) is not None:
        return False
    workers = children(forks.pid) if whom == "worker" else []
    if workers:
        os.kill(rng.choice(workers), signal.SIGKILL)
        assert forks.ended() is not None, "one worker less must not keep a run from ending"
    else:
        forks.kill(group=whom != "parent")
    return True


def found(out: Path, names) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for name in names for p in sorted(out.glob(name))}


def agrees(out: Path) -> bool:
    """Whether there is no zip, or one of the very pictures that are there."""
    if not (out / "submission.zip").exists():
        return True
    with zipfile.ZipFile(out / "submission.zip") as archive:
        return all(archive.read(i) == (out / i).read_bytes() for i in archive.namelist())


def video(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for t in range(40):
        writer.write(np.full((48, 64, 3), 5 * t, np.uint8))
    writer.release()
    return path


def commands(home: Path) -> dict[str, tuple[list, tuple[str, ...]]]:
    """{what: (arguments but out, results to compare)}."""
    tiny = make_tiny(home, clips=tuple("abcdef"))
    run = [f"recipe={tiny.recipe}"]
    taken = ["recipe=single", "source=own", f"data.video={video(home / 'v.avi')}", "data.expressions=[a thing]"]
    own = home / "own.py"
    own.write_text(
        "from rvos_ensemble.adapters import Adapter, MaskSequence\n"
        "class Own(Adapter):\n"
        "    def predict(self, clip):\n"
        "        masks = [clip.read(t).mean(axis=2) > 90 for t in range(len(clip))]\n"
        "        scores = [0.1 * t for t in range(len(clip))]\n"
        "        return {e.id: MaskSequence.binary(masks, scores) for e in clip.expressions}\n"
    )
    taken += [f"sources.own.adapter={own}", "propagators.aot.propagator=flow", "engine.workers=1", "output=own"]
    taken += [f"data.cache={home / 'cache'}", "overlays=null", "steps.propagated=null"]
    shapes = ["data=shapes", "size=[48,64]", "frames=3", "batch=1", "steps=6", "save_every=1", "log_every=1"]
    training = ["train", "propagator=aot", "variant=aot_nano", *shapes, "validate_every=3", "validate_clips=0"]
    return {
        "run, 1 worker": ([*run, "engine.workers=1"], RESULTS),
        "run, 2 workers": ([*run, "engine.workers=2"], RESULTS),
        "ablation, 1 worker": (["ablate", *run, "ablate.smr.threshold=[1..4]", "engine.workers=1"], ("*.csv",)),
        "ablation, 2 workers": (["ablate", *run, "ablate.smr.threshold=[1..4]", "engine.workers=2"], ("*.csv",)),
        "frames of a video": (taken, RESULTS),
        "training": (training, ("weights.pth",)),
    }


WHAT = ("run, 1 worker", "run, 2 workers", "ablation, 1 worker", "ablation, 2 workers", "frames of a video", "training")
FEW = ("frames of a video",)  # beside those of tests/ensemble/test_pipeline.py


@pytest.mark.parametrize(("what", "many"), [*((w, 1) for w in FEW), *(pytest.param(w, 40, marks=SLOW) for w in WHAT)])
def test_killed_at_random_moments(tmp_path, forks, what, many):
    arguments, results = commands(tmp_path)[what]
    whole = tmp_path / "whole"
    assert forks.run([*arguments, f"out={whole}"]) == 0, forks.told
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    started = time.time()
    assert forks.run([*arguments, f"out={whole}2"]) == 0, forks.told
    seconds = time.time() - started
    wanted = found(whole, results)
    assert wanted
    rng, table = random.Random(what), Counter()
    for number in range(many if "frames" not in what and "training" not in what else -(-many // 2)):
        out = tmp_path / f"out{number}"
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        whom = ("group", "parent", "worker")[number % 3] if "2 workers" in what else "group"
        for _ in range(rng.randint(1, 3)):
            forks.start([*arguments, f"out={out}"])
            table[whom] += killed(forks, whom, rng, seconds)
            assert agrees(out)
        assert forks.run([*arguments, f"out={out}"]) == 0, forks.told
        assert found(out, results) == wanted, (number, whom)
        assert [p for pattern in LEFT_OVER for p in out.rglob(pattern)] == []
        assert [*(tmp_path / "cache").rglob(".*.tmp")] == []
        shutil.rmtree(out)
    print(f"\n{what:20} kills: {dict(table)}; all reruns byte-identical, nothing left over")
