"""A recipe from one end to the other: the output contract, resuming, and everything that can go wrong on the way."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.reference import default_radius, j_and_f
from helpers.signals import hear_signals
from helpers.tiny import FRAMES, H, T, W, make_tiny, save
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.ensemble.commands import run as run_command
from rvos_ensemble.ensemble.engine.clips import Checked
from rvos_ensemble.ensemble.engine.storage.folders import shared
from rvos_ensemble.ensemble.report import submission

ROOT = Path(__file__).resolve().parents[2]

SLEEPER = """
import os, time
from rvos_ensemble.adapters import Adapter, MaskSequence

class Sleeper(Adapter):
    '''Takes its time, so that a test can interrupt it.'''
    defaults = {"seconds": 0.3, "log": "???", "die_on": ""}

    def predict(self, clip):
        with open(self.settings.log, "a") as log:
            log.write(clip.name + "\\n")
        time.sleep(self.settings.seconds)
        if clip.name == self.settings.die_on:
            os._exit(9)
        masks = [clip.read(t).mean(axis=2) > 128 for t in range(len(clip))]
        return {e.id: MaskSequence.binary(masks, [0.5] * len(clip)) for e in clip.expressions}
"""


def run(tiny, *arguments) -> int:
    return run_ensemble.main([*tiny.arguments, *arguments])


def tree(out: Path) -> dict[str, bytes]:
    """All results that must not depend on how the run went."""
    names = [*out.glob("Annotations/*/*/*.png"), out / "submission.zip", out / "metrics.csv", out / "metrics.json"]
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(names)}


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def statuses(out: Path) -> dict[str, str]:
    return {name: clip["status"] for name, clip in manifest(out)["clips"].items()}


def test_the_output_contract(tiny, capsys):
    assert run(tiny) == 0
    out, printed = tiny.out, capsys.readouterr().out
    for name in ("config.yaml", "manifest.json", "submission.zip", "metrics.json", "metrics.csv", "report.html"):
        assert (out / name).stat().st_size > 0, name
    clips = RefYoutubeVOS(root=str(tiny.root)).clips()
    assert submission.check(out / "submission.zip", clips) == []
    pictures = sorted(out.glob("Annotations/*/*/*.png"))
    assert len(pictures) == submission.plan(clips).masks == 3 * 3 * T
    for path in pictures:
        picture = Image.open(path)
        assert picture.mode == "L" and picture.size == (W, H) and set(np.unique(picture)) <= {0, 255}
    assert "3 clips done, 0 reused, 0 failed" in printed and str(out) in printed
    assert "smr_flow" in printed and "<- output" in printed
    page = (out / "report.html").read_text()
    assert "film strip" in page and "http" not in page.replace("http://www.w3.org", ""), "opens offline"


def test_the_scores_are_those_of_the_pictures(tiny):
    """metrics.csv of the output against the definition, from the PNGs alone."""
    assert run(tiny) == 0
    table = pd.read_csv(tiny.out / "metrics.csv", dtype={"expression": str})
    rows = table[table.step == "smr_flow"]
    assert len(rows) == 9
    for row in rows.itertuples():
        found = []
        for frame in FRAMES:
            mask = np.array(Image.open(tiny.out / "Annotations" / row.clip / row.expression / f"{frame}.png")) > 0
            truth = np.array(Image.open(tiny.root / "valid/Annotations" / row.clip / f"{frame}.png"))
            truth = truth == int(row.expression) // 2 + 1
            found.append(j_and_f(mask, truth, default_radius(H, W)))
        assert tuple(np.mean(found, axis=0)) == (row.J, row.F)
    means = json.loads((tiny.out / "metrics.json").read_text())["steps"]["smr_flow"]
    assert means["J"] == pytest.approx(rows.J.mean(), abs=1e-12)
    assert means["J&F"] == pytest.approx((rows.J.mean() + rows.F.mean()) / 2, abs=1e-12)


def test_the_vote_is_the_vote_of_the_files(tiny):
    """The step `smr` as output, against a naive sum over the PNGs that went in."""
    assert run(tiny, "output=smr", "grouping.rule=pairs") == 0
    for clip in tiny.clips:
        for group in (["0", "1"], ["2"]):
            for frame in FRAMES:
                files = [tiny.mask_file(m, clip, e, frame) for m in ("soc", "mutr", "referformer") for e in group]
                votes = sum((np.array(Image.open(f)) == 255).astype(float) for f in files)
                for e in group:
                    fused = np.array(Image.open(tiny.out / "Annotations" / clip / e / f"{frame}.png"))
                    assert np.array_equal(fused == 255, votes >= (3 if len(group) == 2 else 2))


def test_a_rerun_reuses_and_a_change_recomputes_what_it_must(tiny):
    assert run(tiny) == 0
    before = tree(tiny.out)
    assert run(tiny) == 0
    assert set(statuses(tiny.out).values()) == {"reused"} and tree(tiny.out) == before
    assert run(tiny, "steps.smr_flow.key_frame={rule: uniform, k: 2}") == 0
    computed = manifest(tiny.out)["clips"]["a"]["computed"]
    assert "smr_flow" in computed and "smr" not in computed
    assert run(tiny) == 0
    assert tree(tiny.out) == before, "and back again, from the store"
    assert "smr_flow" not in manifest(tiny.out)["clips"]["a"]["computed"]


@pytest.mark.parametrize("what", ["mask", "frame", "score", "truth"])
def test_changed_input_is_never_stale(tiny, what):
    assert run(tiny) == 0
    before = statuses(tiny.out), (tiny.out / "metrics.csv").read_bytes()
    if what == "mask":
        save(np.full((H, W), 255, np.uint8), tiny.mask_file())
    elif what == "frame":
        save(np.zeros((H, W, 3), np.uint8), tiny.frame_file(frame=FRAMES[2]), quality=95)
    elif what == "truth":
        annotations = tiny.root / "valid/Annotations/a"
        shutil.copy(annotations / f"{FRAMES[0]}.png", annotations / f"{FRAMES[1]}.png")
    else:
        file = tiny.root / "predictions/soc.scores.json"
        scores = json.loads(file.read_text())
        scores["a"]["0"] = [0, 0, 0, 0, 1]
        file.write_text(json.dumps(scores))
    if what == "truth":  # 0 and 1 in a grey picture: not an annotation of two objects
        shutil.copy(
            tiny.root / "valid/Annotations/a" / f"{FRAMES[0]}.png",
            tiny.root / "valid/Annotations/a" / f"{FRAMES[1]}.png",
        )
    assert run(tiny) == 0
    assert statuses(tiny.out)["a"] == "done"
    if what != "score":  # the score file is one for all clips
        assert statuses(tiny.out)["b"] == "reused"
    assert (tiny.out / "metrics.csv").read_bytes() != before[1] or what == "frame"


def test_another_output_or_fewer_files_leave_nothing_stale(tiny):
    assert run(tiny) == 0
    propagated = tree(tiny.out)
    assert run(tiny, "output=smr") == 0
    assert set(statuses(tiny.out).values()) == {"done"}
    voted = tree(tiny.out)
    assert voted != propagated and voted.keys() == propagated.keys()
    assert run(tiny, "annotations=false", "submission=false", "report=false") == 0
    left = {p.name for p in tiny.out.iterdir()}
    assert not left & {"Annotations", "submission.zip", "report.html"} and "metrics.csv" in left
    assert run(tiny) == 0
    assert tree(tiny.out) == propagated


def test_a_deleted_or_damaged_picture_is_written_again(tiny):
    assert run(tiny) == 0
    before = tree(tiny.out)
    (tiny.out / "Annotations/a/0" / f"{FRAMES[0]}.png").unlink()
    (tiny.out / "Annotations/b/0" / f"{FRAMES[0]}.png").write_bytes(b"x")
    (tiny.out / "Annotations/c/0/extra.png").write_bytes(b"x")
    assert run(tiny) == 0
    assert tree(tiny.out) == before
    assert manifest(tiny.out)["clips"]["a"]["computed"] == ["soc", "mutr", "referformer"], (
        "sources are files; steps reused"
    )


def test_a_damaged_store_entry_is_computed_again(tiny):
    assert run(tiny) == 0
    before = tree(tiny.out)
    entries = sorted(tiny.out.glob("store/a/*.masks"))
    assert len(entries) == 2
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])
    (tiny.out / "clips/a.json").unlink()
    assert run(tiny) == 0
    assert tree(tiny.out) == before and statuses(tiny.out)["a"] == "done"


def test_the_zip_without_a_tree_is_the_same_zip(tiny):
    assert run(tiny) == 0
    with_tree = (tiny.out / "submission.zip").read_bytes()
    assert run(tiny, "annotations=false", f"out={tiny.out}2") == 0
    out = Path(f"{tiny.out}2")
    assert not (out / "Annotations").exists()
    assert (out / "submission.zip").read_bytes() == with_tree


@pytest.mark.parametrize("annotations", ["true", "false"])
def test_an_unchanged_submission_is_not_packed_again(tiny, monkeypatch, annotations):
    assert run(tiny, f"annotations={annotations}") == 0
    zipped = tiny.out / "submission.zip"
    before, packed = zipped.read_bytes(), []
    write = submission.write
    monkeypatch.setattr(submission, "write", lambda path, *a: packed.append(path.name) or write(path, *a))
    assert run(tiny, f"annotations={annotations}") == 0
    assert not packed and zipped.read_bytes() == before and not (tiny.out / "pending").exists()
    zipped.write_bytes(before[:-1])
    assert run(tiny, f"annotations={annotations}") == 0
    assert len(packed) == 1 and zipped.read_bytes() == before
    team = "team={agreement: true, team_name: us, members: [{name: Ada, affiliation: here}], email: ada@us.org}"
    assert run(tiny, f"annotations={annotations}", team) == 0
    assert len(packed) == 2 and "team.json" in zipfile.ZipFile(zipped).namelist()
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("not on this file system")))
    assert run(tiny, f"annotations={annotations}", team) == 0
    assert len(packed) == 3 and submission.check(zipped, RefYoutubeVOS(root=str(tiny.root)).clips()) == []


@pytest.mark.parametrize("loss", ["gone", "damaged"])
def test_without_a_tree_a_lost_store_is_made_again(tiny, loss):
    assert run(tiny, "annotations=false") == 0
    before = (tiny.out / "submission.zip").read_bytes()
    for entry in (tiny.out / "store").glob("*/smr_flow-*.masks"):
        entry.unlink() if loss == "gone" else entry.write_bytes(entry.read_bytes()[:-1])
    assert run(tiny, "annotations=false") == 0
    assert set(statuses(tiny.out).values()) == {"done"} and (tiny.out / "submission.zip").read_bytes() == before
    assert run(tiny, "annotations=false") == 0 and set(statuses(tiny.out).values()) == {"reused"}


def test_votes_of_a_data_set_in_pairs_are_not_those_of_another(tiny, monkeypatch):
    """The same frames and sentences, but here the data set says that they come two by two."""
    assert run(tiny, "output=smr") == 0
    kept = RefYoutubeVOS.clips
    monkeypatch.setattr(RefYoutubeVOS, "clips", lambda self: [replace(c, in_pairs=not c.in_pairs) for c in kept(self)])
    assert run(tiny, "output=smr") == 0
    clips = manifest(tiny.out)["clips"].values()
    assert all(c["status"] == "done" and "smr" in c["computed"] for c in clips)


def test_masks_of_ones_own_without_scores(tiny, capsys):
    """The shipped recipe on data that the package does not render: the propagator is one for real video."""
    for file in tiny.root.glob("predictions/*.scores.json"):
        file.unlink()
    data = ["data=ref_youtube_vos", f"data.root={tiny.root}", f"predictions={tiny.root / 'predictions'}"]
    command = ["recipe=stage1", *data, f"out={tiny.out}", "engine.workers=1"]
    assert run_ensemble.main(command) == 0
    printed = capsys.readouterr()
    assert (
        "soc propagated by aot (blend of flow, aot_real and deaot_real)" in printed.out
        and "rendered" not in printed.err
    )
    notes = manifest(tiny.out)["clips"]["a"]["notes"]["smr_aot"]["0"]
    assert notes["key_frame_rule"] == "agreement" and "soc has no scores" in notes["key_frame_note"]
    assert run_ensemble.main([*command, "propagators.aot.weights=aot_nano"]) == 0
    note = "note: aot (aot_nano) was trained on rendered shapes only"
    assert note in capsys.readouterr().err
    assert run_ensemble.main(["check", *command]) == 0 and "rendered" not in capsys.readouterr().err
    assert run_ensemble.main(["check", *command, "propagators.aot.weights=aot_nano"]) == 0
    assert note in capsys.readouterr().err


def test_a_store_that_others_use_keeps_their_half_written_files(tiny):
    """The first to come clears away what killed runs left; beside another run nobody knows whose it is."""
    leftover = tiny.out / "store" / "a" / ".smr-1.masks.x.tmp"
    assert run(tiny) == 0
    leftover.touch()
    with shared(tiny.out / "store"):
        assert not leftover.exists()
        leftover.touch()
        assert run(tiny) == 0 and leftover.exists()
    assert run(tiny) == 0 and not leftover.exists()


def damage_corrupt_png(tiny):
    tiny.mask_file().write_bytes(tiny.mask_file().read_bytes()[:40])
    return tiny.mask_file()


def damage_missing_mask(tiny):
    tiny.mask_file().unlink()
    return tiny.mask_file()


def damage_missing_frame(tiny):
    tiny.frame_file().unlink()
    return tiny.frame_file()


def damage_wrong_size(tiny):
    save(np.zeros((H, W + 1), np.uint8), tiny.mask_file())
    return tiny.mask_file()


def damage_frame_size(tiny):
    save(np.zeros((H + 2, W, 3), np.uint8), tiny.frame_file(frame=FRAMES[2]))
    return tiny.frame_file(frame=FRAMES[2])


def damage_palette(tiny):
    palette = Image.fromarray(np.arange(H * W, dtype=np.uint8).reshape(H, W) % 3, "P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    save(palette, tiny.mask_file())
    return tiny.mask_file()


def damage_colour(tiny):
    save(np.zeros((H, W, 3), np.uint8), tiny.mask_file())
    return tiny.mask_file()


def damage_extra_expression(tiny):
    folder = tiny.mask_file().parent
    shutil.copytree(folder, folder.with_name("7"))
    return folder.with_name("7")


def damage_truth(tiny):
    path = tiny.root / "valid/Annotations/a" / f"{FRAMES[1]}.png"
    path.unlink()
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Results of two clips without a fault."""
    tiny = make_tiny(tmp_path_factory.mktemp("undisturbed"), clips=("a", "b"))
    assert run(tiny) == 0
    return tree(tiny.out)


@pytest.mark.parametrize("damage", [f for n, f in list(globals().items()) if n.startswith("damage_")])
def test_one_bad_clip_never_sinks_a_run(tmp_path, damage, undisturbed, capsys):
    tiny = make_tiny(tmp_path, clips=("a", "b"))
    backup = tmp_path / "backup"
    shutil.copytree(tiny.root, backup)
    culprit = damage(tiny)
    assert run(tiny) == 1
    told = capsys.readouterr().err
    assert str(culprit) in told or culprit.name in told, told
    assert statuses(tiny.out) == {"a": "failed", "b": "done"}
    assert not (tiny.out / "submission.zip").exists() and not (tiny.out / "Annotations/a").exists()
    shutil.rmtree(tiny.root)
    shutil.copytree(backup, tiny.root)
    assert run(tiny) == 0
    assert statuses(tiny.out) == {"a": "done", "b": "reused"}
    assert tree(tiny.out) == undisturbed


def test_check_tells_everything_and_computes_nothing(tiny, capsys):
    assert run_ensemble.main(["check", *tiny.arguments]) == 0
    assert "3 clips, 9 expressions, 45 masks" in capsys.readouterr().out
    culprits = [damage_missing_mask(tiny), damage_frame_size(tiny)]
    other = tiny.mask_file("mutr", "b", "2", FRAMES[3])
    other.unlink()
    assert run_ensemble.main(["check", *tiny.arguments]) == 2
    told = capsys.readouterr().err
    assert str(culprits[0].parent) in told and str(culprits[1]) in told, "frames and masks of one clip"
    assert str(other.parent) in told and other.name in told
    assert not tiny.out.exists()


def test_input_that_is_wrong_for_every_clip_stops_before_anything(tiny, capsys):
    shutil.rmtree(tiny.root / "predictions/soc")
    assert run(tiny) == 2
    assert "predictions: no masks of soc; " in capsys.readouterr().err
    assert not (tiny.out / "config.yaml").exists()


def test_results_of_which_a_clip_now_fails_stay_as_they_were(tiny):
    assert run(tiny) == 0
    before = tree(tiny.out)
    damage_corrupt_png(tiny)
    assert run(tiny) == 1
    assert tree(tiny.out) == before
    assert run(tiny, f"out={tiny.out}2") == 1, "where there were none, those of the other clips are all there is"
    assert not (Path(f"{tiny.out}2") / "Annotations/a").exists() and (Path(f"{tiny.out}2") / "Annotations/b").exists()


def test_clips_of_other_data_do_not_linger(tiny):
    assert run(tiny) == 0
    assert run(tiny, "data.videos=[b]") == 0
    assert [p.name for p in (tiny.out / "Annotations").iterdir()] == ["b"]
    assert list(statuses(tiny.out)) == ["b"]


def test_a_folder_that_is_not_ours_is_left_alone(tiny, capsys):
    tiny.out.mkdir()
    (tiny.out / "thesis.tex").write_text("precious")
    assert run(tiny) == 2
    assert "not the folder of an earlier run" in capsys.readouterr().err
    assert sorted(p.name for p in tiny.out.iterdir()) == ["thesis.tex"]


def test_the_command_line(tiny, capsys):
    assert run_ensemble.main(["list"]) == 0
    listed = capsys.readouterr().out
    for name in ("stage2", "lsvos2023", "shapes", "ref_youtube_vos", "files", "flow", "vote", "propagate"):
        assert f"  {name} " in listed, name
    assert "TEMPLATE" not in listed
    assert run_ensemble.main(["frobnicate", "recipe=stage1"]) == 2
    assert (
        "no command 'frobnicate'. There are: run, check, ablate, evaluate, compare, train, list, weights"
        in capsys.readouterr().err
    )
    assert run_ensemble.main([]) == 2 and run_ensemble.main(["--help"]) == 0
    assert run(tiny, "ouput=smr") == 2
    assert "did you mean `output`? Valid: " in capsys.readouterr().err


def sleeping(tiny, seconds=0.3, **more) -> list[str]:
    """Arguments for a run with one more source, an adapter of the user's own that takes its time."""
    file = tiny.root.parent / "sleeper.py"
    file.write_text(SLEEPER)
    log = tiny.root.parent / "log.txt"
    settings = {"adapter": file, "seconds": seconds, "log": log, **more}
    source = [f"sources.sleeper.{k}={v}" for k, v in settings.items()]
    return [*tiny.arguments, *source, "steps.smr.inputs=[soc,mutr,referformer,sleeper]"]


def start(arguments) -> subprocess.Popen:
    command = [sys.executable, ROOT / "run_ensemble.py", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, preexec_fn=hear_signals, **pipes)


def test_a_users_own_adapter_and_its_own_code_is_part_of_the_key(tiny):
    arguments = sleeping(tiny, seconds=0)
    log = tiny.root.parent / "log.txt"
    assert run_ensemble.main(arguments) == 0
    assert run_ensemble.main(arguments) == 0
    assert log.read_text().split() == ["a", "b", "c"], "once a clip, then from the store"
    file = tiny.root.parent / "sleeper.py"
    file.write_text(file.read_text().replace("> 128", "> 100"))
    assert run_ensemble.main(arguments) == 0
    assert log.read_text().split() == ["a", "b", "c"] * 2, "edited code computes again"


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_kill_9_at_random_moments(tiny, workers):
    """The outputs are those of an undisturbed run, and a clip that was finished is not computed again."""
    arguments = [*sleeping(tiny), f"engine.workers={workers}"]
    log = tiny.root.parent / "log.txt"
    undisturbed = [*arguments, f"out={tiny.out}-undisturbed"]
    assert run_ensemble.main(undisturbed) == 0
    log.unlink()
    moments = random.Random(workers)
    for _ in range(3):
        process = start(arguments)
        deadline = time.time() + 60
        clips = len(log.read_text().split()) if log.exists() else 0
        while process.poll() is None and time.time() < deadline:  # wait until it works on the next clip
            if log.exists() and len(log.read_text().split()) > clips:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.6))
        kill_tree(process)
    finished = {p.stem for p in tiny.out.glob("clips/*.json")}
    log.unlink(missing_ok=True)
    assert run_ensemble.main(arguments) == 0
    again = set(log.read_text().split()) if log.exists() else set()
    assert not again & finished
    assert tree(tiny.out) == tree(Path(f"{tiny.out}-undisturbed"))
    assert not [p for p in tiny.out.rglob("*.tmp")], "no leftovers"


def kill_tree(process) -> None:
    """kill -9 of a process and its workers."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    for pid in [process.pid, *map(int, children)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def test_two_runs_in_one_folder_at_once(tiny):
    arguments = sleeping(tiny, seconds=120)  # longer than the second one takes to start, however busy the machine is
    first = start(arguments)
    log = tiny.root.parent / "log.txt"
    while not log.exists() and first.poll() is None:
        time.sleep(0.05)
    second = start(arguments)
    _, told = second.communicate(timeout=110)
    assert second.returncode == 2 and "another run is working in this folder" in told
    assert first.poll() is None, "the second one must not disturb it"
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 130


def test_a_full_disk(tiny, capsys):
    disk = tiny.root.parent / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        out = disk / "out"
        assert run_ensemble.main([f"recipe={tiny.recipe}", f"out={out}"]) == 1
        assert "No space left on device" in capsys.readouterr().err
        assert not list(out.rglob("*.tmp")) and not (out / "submission.zip").exists()
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        assert run_ensemble.main([f"recipe={tiny.recipe}", f"out={out}"]) == 0
        resumed = tree(out)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert run(tiny) == 0
    assert tree(tiny.out) == resumed


@pytest.mark.parametrize("command", [["list"], ["weights"], []])
def test_a_reader_that_goes_away_is_no_error(command):
    """As `| head` does."""
    call = [sys.executable, "run_ensemble.py", *command]
    with subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == run_ensemble.UNREAD


def test_of_what_holds_nothing_is_checked_or_started(tiny, monkeypatch):
    assert run(tiny) == 0
    before = tree(tiny.out)
    checked = []
    monkeypatch.setattr(run_command, "_run_clips", None)
    monkeypatch.setattr(run_command, "check", lambda _, clips: checked.extend(clips) or Checked(clips, {}))
    assert run(tiny) == 0 and tree(tiny.out) == before and not checked


def test_backends(tiny, capsys, monkeypatch):
    """Dask and Ray: tests/ensemble/test_clusters.py."""
    assert run(tiny, "engine.workers=2") == 0
    loky = tree(tiny.out)
    shutil.rmtree(tiny.out)
    assert run(tiny, "engine.backend=sequential") == 0
    assert tree(tiny.out) == loky
    shutil.rmtree(tiny.out)  # of what is there already nothing is computed
    assert run(tiny, "engine.backend=nonsense", "engine.workers=2") == 2
    assert "expected one of loky, sequential, dask, ray" in capsys.readouterr().err
    for package, backend in (("distributed", "dask"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, package, None)
        assert run(tiny, f"engine.backend={backend}", "engine.workers=2") == 2
        assert f"pip install 'rvos-ensemble[{backend}]'" in capsys.readouterr().err
