"""What a run leaves behind: never somebody else's files touched, never good results lost, never anything half."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from helpers.signals import hear_signals
from helpers.tiny import make_tiny
from test_pipeline import SLEEPER, manifest, run, statuses, tree

import run_ensemble
from rvos_ensemble.ensemble.engine.storage import results
from rvos_ensemble.ensemble.engine.storage.folders import MARK, owned, private

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments, **more):
    """A process that is not deaf to signals, as what is started by `nohup` or in the background is."""
    call = [sys.executable, str(ROOT / "run_ensemble.py"), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(call, **pipes, **more, preexec_fn=hear_signals)


def sleeping(tiny, **settings):
    """A recipe whose source takes its time, as arguments."""
    adapter = tiny.root.parent / "sleeper.py"
    adapter.write_text(SLEEPER)
    log = tiny.root.parent / "log.txt"
    given = [f"sources.sleeper.{k}={v}" for k, v in {"log": log, **settings}.items()]
    recipe = tiny.root.parent / "sleeping.yaml"
    recipe.write_text(
        f"data: {{dataset: ref_youtube_vos, root: {tiny.root}}}\n"
        f"sources: {{sleeper: {{adapter: {adapter}}}}}\noutput: sleeper\n"
    )
    return [f"recipe={recipe}", f"out={tiny.out}", *given]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def wait_for(condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it never came"
        time.sleep(0.02)


# ------------------------------------------------------------------------------------------------ whose folder it is


@pytest.mark.parametrize("verb", [[], ["ablate"]])
def test_a_foreign_folder_with_a_config_of_its_own_is_left_alone(tiny, capsys, verb):
    for name in ("config.yaml", "Annotations/a/0/00000.png", "report/x", "clips/thesis.tex", "submission.zip"):
        (tiny.out / name).parent.mkdir(parents=True, exist_ok=True)
        (tiny.out / name).write_text("precious")
    before = everything(tiny.out)
    more = ["ablate.smr.threshold=[1,2]"] if verb else []
    assert run_ensemble.main([*verb, *tiny.arguments, *more]) == 2
    assert "not the folder of an earlier run" in capsys.readouterr().err
    assert everything(tiny.out) == before


def test_a_refused_run_leaves_nothing(tiny, tmp_path, monkeypatch, capsys):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    shutil.rmtree(tiny.root / "predictions/soc")
    before = everything(tmp_path)
    assert run_ensemble.main([f"recipe={tiny.recipe}"]) == 2
    assert run_ensemble.main(["check", f"recipe={tiny.recipe}"]) == 2
    assert run_ensemble.main(["recipe=stage1", "data.seed=-1"]) == 2
    assert everything(tmp_path) == before and not [*place.glob("*/*")]


def test_results_of_two_kinds_never_share_a_folder(tiny, capsys):
    assert run(tiny) == 0
    before = everything(tiny.out)
    masks = tiny.root / "predictions" / "soc"
    asked = [f"gt={tiny.root}", f"pred={masks}", "protocol=ref_youtube_vos", f"out={tiny.out}"]
    assert run_ensemble.main(["evaluate", *asked]) == 2
    assert "the folder of a run, expected that of a evaluation" in capsys.readouterr().err
    assert everything(tiny.out) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["out=/proc/no"],
        ["out=/dev/null"],
        ["out=/dev/null/x"],
        ["store=/proc/no"],
        ["store=/dev/null/x"],
        ["ablate", "out=/proc/no", "ablate.smr.threshold=[1,2]"],
        ["ablate", "store=/proc/no", "ablate.smr.threshold=[1,2]"],
    ],
)
def test_a_folder_that_cannot_be_written_is_a_sentence(tiny, capsys, arguments):
    verb = [a for a in arguments if "=" not in a]
    assert run_ensemble.main([*verb, *tiny.arguments, *[a for a in arguments if "=" in a]]) == 2
    told = capsys.readouterr().err
    assert told.count("error: /") == told.count("rror: ") == 1 and "Traceback" not in told


@pytest.mark.parametrize("out", ["/proc/no", "/dev/null", "/dev/null/x"])
def test_results_of_an_evaluation_that_cannot_be_written(tiny, capsys, out):
    asked = [f"gt={tiny.root}", f"pred={tiny.root}/predictions/soc", "protocol=ref_youtube_vos", f"out={out}"]
    assert run_ensemble.main(["evaluate", *asked]) == 2
    assert f"error: {out}" in capsys.readouterr().err


def test_a_store_of_a_group_is_written_for_the_group(tiny):
    store = tiny.root.parent / "store"
    store.mkdir(mode=0o2770)
    os.chmod(store, 0o2770)
    before = os.umask(0o077)
    try:
        assert run(tiny, f"store={store}") == 0
    finally:
        os.umask(before)
    folders = [p for p in store.iterdir() if p.is_dir()]
    assert folders and all(p.stat().st_mode & 0o7777 == 0o2770 for p in folders)
    assert all(p.stat().st_mode & 0o060 == 0o060 for p in store.glob("*/*.masks"))


def test_a_store_that_one_may_not_write_is_told_before_anything(tiny, monkeypatch, capsys):
    store = tiny.root.parent / "store"
    assert run(tiny, f"store={store}") == 0
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != store and access(path, mode))
    assert run(tiny, f"store={store}", f"out={tiny.out}2") == 2
    assert f"error: {store}: cannot be written by you" in capsys.readouterr().err
    assert not Path(f"{tiny.out}2").exists()


# ------------------------------------------------------------------------------------- good results stay until better


def test_a_rerun_that_is_refused_leaves_the_last_good_results(tiny, capsys):
    assert run(tiny) == 0
    before = everything(tiny.out)
    assert run(tiny, "steps.smr.threshold=100") == 2
    assert "threshold 100" in capsys.readouterr().err
    assert everything(tiny.out) == before


def test_a_rerun_in_which_a_clip_fails_leaves_the_last_good_results(tiny, capsys):
    """Other settings, and a mask that is damaged where no check looks before it is read."""
    assert run(tiny) == 0
    before, config = tree(tiny.out), (tiny.out / "config.yaml").read_bytes()
    file = tiny.mask_file(frame="00010")
    good = file.read_bytes()
    file.write_bytes(good[:60])
    capsys.readouterr()
    assert run(tiny, "steps.smr.threshold=2") == 1
    printed = capsys.readouterr()
    assert str(file) in printed.err and "still holds the results of the earlier run" in printed.out
    assert tree(tiny.out) == before and (tiny.out / "config.yaml").read_bytes() == config
    file.write_bytes(good)
    assert run(tiny, "steps.smr.threshold=2") == 0
    assert statuses(tiny.out) == {"a": "done", "b": "reused", "c": "reused"}, "what was done has waited"
    assert tree(tiny.out) != before and "threshold: 2" in (tiny.out / "config.yaml").read_text()
    assert not [*tiny.out.glob(".pending*")]


@pytest.mark.parametrize("frames", [("00005", "00010", "00020"), ("00000", "00010", "00020")])
def test_all_damaged_masks_of_a_clip_are_told_in_one_run(tiny, capsys, frames):
    """Also where the first frame, which is looked at before every run, is among them."""
    files = [tiny.mask_file(m, "a", e, f) for m in ("soc", "mutr") for e in "02" for f in frames]
    for file in files:
        file.write_bytes(file.read_bytes()[:-20])
    assert run_ensemble.main(["check", *tiny.arguments]) == 2
    told = capsys.readouterr().err
    assert [f for f in files if str(f) not in told] == []
    assert run(tiny) == 1
    record = manifest(tiny.out)["clips"]["a"]["error"]
    assert [f for f in files if str(f) not in record] == []


ENDS = """
left = {step}
def counting(function):
    def counted(*arguments, **more):
        global left
        left -= 1
        if left < 0 and {how!r} == "kill":
            os._exit(9)
        if left == -1:
            raise KeyboardInterrupt if {how!r} == "interrupt" else OSError(28, "No space left on device")
        return function(*arguments, **more)
    return counted
def carry_out(*arguments, of=results._carry_out):
    os.replace, os.rename, os.unlink = map(counting, (os.replace, os.rename, os.unlink))
    results.remove = counting(results.remove)
    of(*arguments)
results._carry_out = carry_out
"""  # of a run, at some change that it makes while it publishes: as by `kill -9`, by Ctrl-C, or by a full disk


def agrees(out: Path) -> bool:
    """Whether there is no zip, or one of the very pictures in the tree."""
    if not (out / "submission.zip").exists():
        return True
    with zipfile.ZipFile(out / "submission.zip") as archive:
        names = {i.filename for i in archive.infolist()}
        there = {str(p.relative_to(out)) for p in out.glob("Annotations/*/*/*.png")}
        return names == there and all(archive.read(n) == (out / n).read_bytes() for n in names)


STEPS = {  # after how many changes on disk; every one of them in the slow test
    "kill": (0, 1, 2, 3, 7, 20, 1000),
    "interrupt": (0, 8, 1000),
    "full": (1, 12, 1000),
    "kill at each": (*range(36), 1000),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(tiny benchmark of two clips, folder of its results, the results that other settings must give)."""
    tiny = make_tiny(tmp_path_factory.mktemp("published"), clips=("a", "b"))
    assert run(tiny, "steps.smr.threshold=2") == 0
    wanted = tree(tiny.out)
    shutil.rmtree(tiny.out)
    assert run(tiny) == 0
    before = tiny.out.with_name("before")
    tiny.out.rename(before)
    return tiny, before, wanted


@pytest.mark.parametrize(
    ("how", "code"),
    [("kill", 9), ("interrupt", 130), ("full", 1), pytest.param("kill at each", 9, marks=pytest.mark.slow)],
)
def test_ended_while_it_publishes_the_rest_is_done_by_the_next(published, forks, how, code):
    """At step after step of it: pictures and zip never disagree, and the next run ends with what it should."""
    tiny, before, wanted = published
    other = [*tiny.arguments, "steps.smr.threshold=2"]
    codes = {}
    for step in STEPS[how]:
        shutil.copytree(before, tiny.out)
        codes[step] = forks.run(other, ENDS.format(step=step, how=how.split()[0]))
        assert agrees(tiny.out)
        assert run_ensemble.main(other) == 0
        assert tree(tiny.out) == wanted and not [*tiny.out.glob(".pending*")]
        shutil.rmtree(tiny.out)
    assert codes[1000] == 0 and {c for s, c in codes.items() if s < 20} == {code}, codes


def test_a_record_that_was_changed_is_not_believed(tiny, capsys):
    assert run(tiny) == 0
    table = (tiny.out / "metrics.csv").read_bytes()
    file = tiny.out / "clips/a.json"
    text = file.read_text()
    number = str(json.loads(text)["scores"]["soc"]["0"]["J"])
    for changed in (text.replace(number, "5.0"), text.replace("smr", "smt"), text[:-1], "{}", "[]", ""):
        file.write_text(changed)
        assert run(tiny) == 0
        assert (tiny.out / "metrics.csv").read_bytes() == table and statuses(tiny.out)["a"] == "done"


def test_results_do_not_depend_on_what_came_from_the_store(tiny):
    assert run(tiny) == 0

    def found():
        names = ["metrics.csv", "metrics.json", "report.html", *(f"clips/{c}.npz" for c in "abc"), "report/a.js"]
        return {name: (tiny.out / name).read_bytes() for name in names} | tree(tiny.out)

    before = found()
    for step in ("smr-", "smr_flow-", ""):
        for entry in tiny.out.glob(f"store/a/{step}*.masks"):
            entry.unlink()
        (tiny.out / "clips/a.json").unlink()
        (tiny.out / "clips/c.json").unlink()
        assert run(tiny) == 0 and found() == before


def test_the_order_of_a_recipe_is_that_of_the_results(tiny):
    """The same steps in another order: nothing is computed, and the rows are in that order."""
    assert run(tiny) == 0
    other = tiny.recipe.with_name("other.yaml")
    text = tiny.recipe.read_text()
    lines = text.splitlines()
    soc = next(line for line in lines if line.startswith("  soc:"))
    lines.remove(soc)
    other.write_text("\n".join([*lines[:4], soc, *lines[4:]]))
    assert run_ensemble.main([f"recipe={other}", f"out={tiny.out}"]) == 0
    again = Path(f"{tiny.out}2")
    assert run_ensemble.main([f"recipe={other}", f"out={again}"]) == 0
    assert (tiny.out / "metrics.csv").read_bytes() == (again / "metrics.csv").read_bytes()


# --------------------------------------------------------------------------------------------------------- processes


def children(pid: int) -> list[int]:
    told = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(p) for p in told]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


SLOWLY = [pytest.param(how, marks=pytest.mark.slow) for how in (signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.parametrize("how", [signal.SIGKILL, *SLOWLY])
def test_workers_end_with_their_run(tiny, how):
    """Only the run itself is hit; its workers sleep in the middle of a clip."""
    arguments = [*sleeping(tiny, seconds=30), "engine.workers=2"]
    process = command(*arguments)
    log = tiny.root.parent / "log.txt"
    wait_for(lambda: (log.exists() and len(log.read_text().split()) == 2) or process.poll() is not None)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(how)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (-9 if how is signal.SIGKILL else 128 + how)
    if how is not signal.SIGKILL:
        assert told.splitlines()[-1] == "interrupted; the same command resumes" and "Traceback" not in told
    wait_for(lambda: not any(map(alive, workers)), 5)
    assert run_ensemble.main([*arguments, "engine.workers=1", "sources.sleeper.seconds=0"]) == 0
    assert not [*tiny.out.rglob("*.tmp")] and not [*tiny.out.glob(".pending*")]


def test_ctrl_c_at_a_terminal_prints_one_line(tiny):
    """It reaches the run and its workers alike."""
    process = command(*sleeping(tiny, seconds=30), "engine.workers=2", start_new_session=True)
    log = tiny.root.parent / "log.txt"
    wait_for(lambda: (log.exists() and len(log.read_text().split()) == 2) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = [line for line in told.replace("\r", "\n").splitlines() if line.strip() and "/s]" not in line]
    lines = [line for line in lines if " of 3 clips" not in line]  # progress, where starting takes ten seconds
    assert lines == ["interrupted; the same command resumes"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_while_it_loads(how):
    process = command("recipe=stage2", "out=/proc/no", bufsize=0)
    time.sleep(0.4)
    process.send_signal(how)
    _, told = process.communicate(timeout=60)
    if process.returncode != 2:  # so fast that it was through
        assert process.returncode == 128 + how and told == "interrupted; the same command resumes\n"


def test_what_a_worker_that_outlived_its_run_writes_reaches_nothing(tmp_path):
    """As one on another machine would: its run is gone, and the next one owns the folder."""
    out = tmp_path / "out"
    with owned(out, "run"), private(out / results.PENDING) as first:
        results.prepare(first)
        (first / "clips" / "kept").mkdir()
    with owned(out, "run"), private(out / results.PENDING) as second:
        results.prepare(second)
        assert second != first and (second / "clips" / "kept").is_dir()
        before = sorted(map(str, out.rglob("*")))
        with pytest.raises(FileNotFoundError):
            results.Draft(first, "a").__enter__()
        draft = results.Draft(second, "a").__enter__()
        draft.write("Annotations/0/1.png", b"x")
        shutil.rmtree(second / "new")
        with pytest.raises(FileNotFoundError):
            draft.write("Annotations/0/2.png", b"x")
        (second / "new").mkdir()
        assert sorted(map(str, out.rglob("*"))) == before


def test_a_worker_that_dies_costs_one_clip(tmp_path, capsys):
    from helpers.tiny import make_tiny

    tiny = make_tiny(tmp_path, clips=tuple("abcdefgh"))
    arguments = [*sleeping(tiny, seconds=0.05, die_on="c"), "engine.workers=2"]
    assert run_ensemble.main(arguments) == 1
    assert statuses(tiny.out) == {n: "failed" if n == "c" else "done" for n in tiny.clips}
    assert "clip c: its worker process died" in capsys.readouterr().err
    assert run_ensemble.main([*arguments, "sources.sleeper.die_on=z"]) == 0


def test_an_adapter_that_leaves_costs_its_clip(tiny, capsys):
    adapter = tiny.root.parent / "leaver.py"
    adapter.write_text(
        "import sys\nfrom rvos_ensemble.adapters import Adapter\n"
        "class Leaver(Adapter):\n    def predict(self, clip):\n        sys.exit(0)\n"
    )
    assert run(tiny, f"sources.soc.adapter={adapter}") == 1
    assert "SystemExit" in capsys.readouterr().err and set(statuses(tiny.out).values()) == {"failed"}


# ------------------------------------------------------------------------------------------------------ what is said


def test_paths_and_names_of_the_command_line_are_texts(tmp_path, monkeypatch, capsys):
    tiny = make_tiny(tmp_path, clips=("a",))
    monkeypatch.chdir(tmp_path)
    for out in ("exp #2", "no", "~", "&x", "[1]", "a: b", "1e3", "${x}", "null.d", "{a}"):
        assert run_ensemble.main([f"recipe={tiny.recipe}", f"out={out}"]) == 0, out
        assert (Path(out) / MARK).is_file(), out
    assert not Path("runs").exists() and not Path("exp").exists()
    capsys.readouterr()
    for argument in ("out=", "data.root=", "store=", "sources.soc.path=", "output=", "data.root=&x", "data.root=[a"):
        assert run_ensemble.main([f"recipe={tiny.recipe}", "out=refused", argument]) == 2, argument
        told = capsys.readouterr().err
        assert told.startswith("error: ") and "Traceback" not in told, told
    assert not Path("refused").exists()


def test_ten_faults_of_a_recipe_are_told_at_once(tiny, capsys):
    wrong = {
        "steps.smr.treshold=3": "treshold",
        "steps.smr_flow.with=flaw": "flaw",
        "sources.soc.paht=x": "paht",
        "sources.mutr.adapter=fils": "fils",
        "data.splt=x": "splt",
        "engine.workers=two": "workers",
        "grouping.rule=pair": "rule",
        "output=smr_flo": "smr_flo",
        "reprot=false": "reprot",
        "sources.sco.path=x": "sco",
        "overlays=mpg": "mpg",
        "steps.more={op: [vote]}": "op is ['vote']",
        "steps.most={op: union, inputs: [soc, mutt]}": "mutt",
    }
    assert run_ensemble.main([*tiny.arguments, *wrong]) == 2
    told = capsys.readouterr().err
    assert [what for what in wrong.values() if what not in told] == []


@pytest.mark.parametrize("name", ["../../X", "a/b", "x" * 300, "a\x1b[31m", ".."])
def test_names_of_sources_cannot_leave_the_folder(tiny, capsys, name):
    given = json.dumps(name)
    recipe = tiny.recipe.read_text().replace("  soc:", f"  {given}:").replace("[soc,", f"[{given},")
    tiny.recipe.write_text(recipe.replace("scores_from: soc", "scores_from: mutr"))
    assert run(tiny) == 2
    told = capsys.readouterr().err
    assert "source " in told and "a name is made of" in told and "\x1b" not in told
    assert not tiny.out.exists()


def test_no_escape_bytes_reach_the_terminal(tiny, capsys):
    file = tiny.root / "meta_expressions/valid/meta_expressions.json"
    file.write_text(file.read_text().replace('"a"', '"a\\u001b[31m\\u009b1m"'))
    assert run(tiny) == 1
    told = capsys.readouterr()
    assert "\x1b" not in told.err + told.out and "\x9b" not in told.err + told.out and "\\x1b[31m" in told.err


def test_a_fault_of_the_program_is_one_sentence(tiny, capsys, monkeypatch):
    from rvos_ensemble.ensemble.commands import run as run_command

    monkeypatch.setattr(run_command, "list_clips", lambda recipe: 1 / 0)
    assert run(tiny) == run_ensemble.FAULT == 70
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and "ZeroDivisionError" in told
    trace = Path(told.partition("the traceback is in ")[2].partition(";")[0])
    assert "Traceback" in trace.read_text() and "ZeroDivisionError" in trace.read_text()
    trace.unlink()
    assert not tiny.out.exists()


def test_messages_that_cannot_be_written_stop_nothing(tiny):
    with open("/dev/full", "w") as full:
        call = [sys.executable, str(ROOT / "run_ensemble.py"), *tiny.arguments]
        done = subprocess.run(call, stdout=subprocess.PIPE, stderr=full, text=True)
    assert done.returncode == 0 and "3 clips done" in done.stdout


def test_a_run_whose_table_nobody_reads(tiny):
    call = f"{sys.executable} {ROOT}/run_ensemble.py {' '.join(tiny.arguments)}"
    done = subprocess.run(["bash", "-c", f"{call} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert done.returncode in (0, run_ensemble.UNREAD) and "rror" not in done.stderr, done.stderr
    assert (tiny.out / "submission.zip").exists()
