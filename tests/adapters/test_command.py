"""The adapter `command`: real child processes that write masks, fail, hang, write nothing, and are killed."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from helpers.tiny import FRAMES, H, T, W

import run_ensemble
from rvos_ensemble.adapters.command import Command
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.prediction import check_prediction
from rvos_ensemble.ensemble.recipe.components import make_component

SCRIPT = """
import json, os, sys
from pathlib import Path
import cv2

frames, expressions, out = map(Path, sys.argv[1:4])
for video, content in json.loads(expressions.read_text())["videos"].items():
    for id, e in content["expressions"].items():
        for frame in content["frames"]:
            (picture,) = frames.glob(frame + ".*")
            file = out / "Annotations" / video / id / f"{frame}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(file), (image > float(os.environ.get("THRESHOLD", 128))) * 255)
"""


class Blocks:
    """Frames in memory: frame t is bright in its first t + 1 columns."""

    size = (4, 6)
    paths = None

    def read(self, t):
        image = np.zeros((4, 6, 3), np.uint8)
        image[:, : t + 1] = 200
        return image

    def fingerprint(self):
        return "blocks"


CLIP = Clip("v", ("a", "b"), (Expression("v", "0", "the 'bright' $(one); \n€"), Expression("v", "1", "-x")), Blocks())


def command(tmp_path, body=SCRIPT, **settings):
    (tmp_path / "infer.py").write_text(body)
    line = f"{sys.executable} infer.py {{frames}} {{expressions}} {{out}}"
    return Command(**{"command": line, "folder": str(tmp_path), **settings})


def problem(adapter) -> str:
    with pytest.raises(InputError) as caught:
        adapter.predict(CLIP)
    return "\n".join(caught.value.problems)


def test_masks_of_a_command(tmp_path):
    adapter = pickle.loads(pickle.dumps(command(tmp_path, files=[str(tmp_path / "infer.py")])))
    assert adapter.check([CLIP]) == []
    prediction = check_prediction(adapter.predict(CLIP), CLIP, "command")
    for sequence in prediction.values():
        for t in range(2):
            assert (sequence.mask(t) == (CLIP.read(t)[..., 0] > 128)).all()
    assert not list(command(tmp_path, environment={"THRESHOLD": 201}).predict(CLIP)["0"].mask(1).nonzero()[0])


def test_what_a_command_reads(tmp_path):
    """Texts and names reach the command as data: nothing of them is executed, and no shell sees them."""
    copy = "import shutil, sys\nshutil.copy(sys.argv[2], 'seen.json')\n" + SCRIPT
    command(tmp_path, copy).predict(CLIP)
    (video,) = json.loads((tmp_path / "seen.json").read_text())["videos"].values()
    assert video["frames"] == ["a", "b"]
    assert {i: e["exp"] for i, e in video["expressions"].items()} == {e.id: e.text for e in CLIP.expressions}


def test_scores_and_soft_masks_in_another_format(tmp_path):
    body = """
import json, sys
import numpy as np
out = sys.argv[3]
masks = np.stack([np.full((4, 6), 0.25 * (t + 1), np.float32) for t in range(2)])
np.savez(f"{out}/masks.npz", **{f"v/{i}/masks": masks for i in "01"})
json.dump({"v": {i: [0.5, 0.75] for i in "01"}}, open(f"{out}/scores.json", "w"))
"""
    prediction = command(tmp_path, body, masks="masks.npz", kind="prob").predict(CLIP)
    assert prediction["1"].kind == "prob" and prediction["1"].scores.tolist() == [0.5, 0.75]
    assert prediction["1"].prob_at(1).tolist() == np.full((4, 6), 127).tolist()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "import sys\nsys.exit('no weights here')",
            "clip 'v': the command failed, exit code 1; its output ends with: no",
        ),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os\nos.kill(os.getpid(), 9)", "failed, killed by signal 9; it printed nothing"),
        ("print('nothing to do')", "what the command wrote: {out}: an empty folder, expected VIDEO/ID/FRAME.png"),
        (SCRIPT.replace("> float", "[:, :3] > float"), "v/0/a.png"),
        (SCRIPT.replace('["frames"]:', '["frames"][:1]:'), "b.png"),
        (SCRIPT.replace("* 255", "* 7"), "v/0/a.png"),
        (SCRIPT.replace("video / id", 'video / (id + "x")'), "no masks of expression '0'"),
    ],
)
def test_a_command_that_fails_is_named_with_its_words(body, words, tmp_path):
    told = problem(command(tmp_path, body))
    assert words in told and "/tmp" not in told.replace(str(tmp_path), "").replace(sys.executable, "")


def test_the_whole_output_is_in_the_traceback(tmp_path):
    with pytest.raises(InputError) as caught:
        command(tmp_path, "for i in range(30):\n    print('line', i, flush=True)\nraise SystemExit(3)").predict(CLIP)
    assert "exit code 3" in str(caught.value) and "line 25 | " in str(caught.value)
    assert "line 0\n" in str(caught.value.__cause__)


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path):
    body = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(99)\n"
    )
    started = time.time()
    assert "took longer than 2 s (`timeout`)" in problem(command(tmp_path, body, timeout=2))
    assert time.time() - started < 20
    assert ended((tmp_path / "pids").read_text().split())


def ended(pids, seconds=10) -> bool:
    """Whether all processes end within some seconds; one that its parent has not collected counts as ended."""
    deadline = time.time() + seconds
    while time.time() < deadline:
        if not any(os.path.exists(f"/proc/{pid}") and state(pid) != "Z" for pid in pids):
            return True
        time.sleep(0.05)
    return False


def state(pid) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_command_ends_with_the_process_that_runs_it(tmp_path):
    """Even if that is killed and cannot do anything about it."""
    body = "import os, time\nopen('pids', 'w').write(str(os.getpid()))\ntime.sleep(99)\n"
    (tmp_path / "infer.py").write_text(body)
    run = (
        "import sys\nfrom rvos_ensemble.adapters.core.io.lifetime import run_command\n"
        "run_command([sys.executable, 'infer.py'], sys.stdout.buffer, sys.argv[1])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", run, tmp_path], stdout=subprocess.DEVNULL)
    while not ((tmp_path / "pids").exists() and (tmp_path / "pids").read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert ended([(tmp_path / "pids").read_text()])


def test_what_is_wrong_with_a_command_is_found_before_it_runs(tmp_path):
    def wrong(**settings):
        with pytest.raises(InputError) as caught:
            make_component("adapter", {"adapter": "command", **settings}, "source x")
        return "\n".join(caught.value.problems)

    assert "has no {out}" in wrong(command="infer {frames}")
    assert "unknown {frame}" in wrong(command="infer {frame} {out}")
    assert "cannot be split into words" in wrong(command="infer 'x {out}")
    assert "setting `command` must be given" in wrong(timeout=3)
    assert "expected a text, a number or null" in wrong(command="infer {out}", environment={"A": [1]})
    absent = Command(command="no_such_program {out}", files=[str(tmp_path / "weights.pth")]).check([CLIP])
    assert "no_such_program: no such program" in absent[0] and "weights.pth" in absent[1]
    assert "no such folder" in Command(command="x {out}", folder=str(tmp_path / "none")).check([CLIP])[0]
    assert Command(command=["./run me", "{out}"], folder=str(tmp_path)).check([CLIP])
    (tmp_path / "run me").write_text("#!/bin/sh\nexit 5\n")
    (tmp_path / "run me").chmod(0o755)
    by_list = Command(command=["./run me", "{out}"], folder=str(tmp_path))
    assert by_list.check([CLIP]) == [] and "exit code 5" in problem(by_list)


def test_one_bad_video_does_not_sink_a_run(tiny, tmp_path, capsys):
    """And results are kept: a clip runs again only if the command, its files or the frames change."""
    body = "import sys\nopen('log', 'a').write(sys.argv[1][-1])\nassert sys.argv[1][-1] != 'b', 'bad video'\n" + SCRIPT
    (tmp_path / "infer.py").write_text(body)
    line = f"{sys.executable} infer.py {{frames}} {{expressions}} {{out}}"
    recipe = tiny.recipe.with_name("own.yaml")
    recipe.write_text(
        f"base: tiny.yaml\nsources:\n  own:\n    adapter: command\n    command: '{line}'\n"
        f"    folder: {tmp_path}\n    files: [{tmp_path}/infer.py]\n"
        "steps: {smr: {inputs: [soc, own]}, smr_flow: null}\noutput: smr\n"
    )
    arguments = [f"recipe={recipe}", f"out={tiny.out}"]
    assert run_ensemble.main(arguments) == 1
    said = capsys.readouterr().err
    assert "clip 'b': the command failed, exit code 1" in said and "AssertionError: bad video" in said
    assert (tmp_path / "log").read_text() == "abc"
    assert run_ensemble.main([*arguments, "sources.own.timeout=50"]) == 1
    assert (tmp_path / "log").read_text() == "abcb", "a longer timeout computes only what failed"
    (tmp_path / "infer.py").write_text(body.replace("!= 'b'", "!= 'x'"))
    assert run_ensemble.main(arguments) == 0
    assert (tmp_path / "log").read_text() == "abcbabc"
    written = sorted(p.name for p in (tiny.out / "Annotations" / "b" / "0").iterdir())
    assert written == [f"{frame}.png" for frame in FRAMES] and (H, W, T) == (48, 70, 5)


def test_files_may_be_folders(tmp_path):
    adapter = command(tmp_path, files=[str(tmp_path)])
    before = adapter.fingerprint(CLIP)
    for hidden in (".git", "__pycache__"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "x").write_text("x")
    assert adapter.fingerprint(CLIP) == before and adapter.check([CLIP]) == []
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights").write_text("1")
    assert adapter.fingerprint(CLIP) != before


@pytest.mark.parametrize("available", [True, False])
def test_a_command_sees_only_the_gpu_of_its_worker(available, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: types.SimpleNamespace(uuid=f"uuid-{i}"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    body = "import os\nopen('seen', 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])\n" + SCRIPT
    for settings, expected in (
        ({"gpu": True}, "GPU-uuid-3" if available else "7"),
        ({"gpu": False}, "7"),
        ({"gpu": True, "environment": {"CUDA_VISIBLE_DEVICES": 1}}, "1"),
    ):
        adapter = command(tmp_path, body, **settings)
        adapter.predict(CLIP)
        assert (tmp_path / "seen").read_text() == expected and adapter.uses_gpu == settings["gpu"]
