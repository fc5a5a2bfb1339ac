"""`ablate` from one end to the other: its numbers are those of runs, nothing is computed twice, and faults are told."""

import itertools
import json
import math
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import FRAMES, T, make_tiny, save
from omegaconf import OmegaConf

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation import settings, weights
from rvos_ensemble.ensemble.ablation.clip import score_clip
from rvos_ensemble.ensemble.ablation.results.figure import figure
from rvos_ensemble.ensemble.ablation.rows import Row, best_of, row, verdict
from rvos_ensemble.ensemble.ablation.variants import Variant
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore
from rvos_ensemble.ensemble.recipe import recipe_edits
from rvos_ensemble.ensemble.recipe.recipe import load
from rvos_ensemble.propagators.flow import Flow

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("report=false", "annotations=false", "submission=false")


def ablate(tiny, *arguments) -> int:
    return run_ensemble.main(["ablate", *tiny.arguments, *arguments])


def table(tiny) -> pd.DataFrame:
    return pd.read_csv(tiny.out / "ablation.csv").set_index("label")


def scores_of_a_run(tiny, out, *arguments) -> tuple[float, float]:
    """J and F of the output, from the metrics of a run in a folder of its own."""
    assert run_ensemble.main([f"recipe={tiny.recipe}", f"out={out}", *QUICK, *arguments]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    return tuple(metrics["steps"][metrics["output"]][m] for m in ("J", "F"))


def refused(capsys, tiny, *arguments) -> str:
    assert ablate(tiny, *arguments) == 2
    return capsys.readouterr().err


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Draws figures in the tests of figures only."""
    if "figure" not in request.node.name:
        monkeypatch.setattr(
            "rvos_ensemble.ensemble.ablation.results.files.rendered", lambda figure: {"svg": b"", "pdf": b""}
        )


@pytest.fixture
def sweeps(monkeypatch):
    """Counts the sweeps of the propagator."""
    count, original = [], Flow.sweep
    monkeypatch.setattr(Flow, "sweep", lambda self, *a: count.append(1) or original(self, *a))
    return count


def test_a_sweep_gives_the_numbers_of_runs(tiny, tmp_path, capsys):
    """Counts and shares of a vote that is the output, one of them above the votes of an expression that is alone."""
    values = [2, 5, 0.4]
    assert ablate(tiny, "output=smr", f"ablate.smr.threshold={values}") == 0
    found, printed = table(tiny), capsys.readouterr().out
    assert len(found) == 1 + len(values) and set(found.step) == {"smr"} and set(found.expressions) == {9}
    for value in values:
        leftover = ["steps.smr.leftover=1.0"] if value == 5 else []
        j, f = scores_of_a_run(tiny, tmp_path / "run", "output=smr", f"steps.smr.threshold={value}", *leftover)
        label = f"threshold={value}"
        assert found.loc[label, "J"] == pytest.approx(j, abs=1e-12), label
        assert found.loc[label, "F"] == pytest.approx(f, abs=1e-12), label
        assert found.loc[label, "J&F"] == pytest.approx((j + f) / 2, abs=1e-12), label
    assert "counts above 3: an expression alone in its group has 3 votes in step smr" in printed
    assert "threshold=0.4" in (tiny.out / "report.html").read_text()


def test_ablations_in_one_folder_keep_their_tables(tiny, capsys):
    """Two in one command and a third later: each has its files, the latest also those at the top, the report all."""
    assert ablate(tiny, "output=smr", "ablate=grouping", "ablate=sources") == 0
    assert capsys.readouterr().out.count("Chosen: the highest J&F") == 2
    folder = tiny.out / "ablations"
    first = {file: file.read_bytes() for file in sorted(folder.glob("*/*"))}
    assert {str(f.relative_to(folder)) for f in first} >= {
        f"{name}/{file}" for name in ("grouping", "sources") for file in ("ablation.csv", "ablation.svg", "best.yaml")
    }
    assert (tiny.out / "ablation.csv").read_bytes() == first[folder / "sources" / "ablation.csv"], "the last one"
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[2]", "ablate.smr.across=[expressions]") == 0
    assert all(file.read_bytes() == data for file, data in first.items())
    third = pd.read_csv(folder / "smr.threshold+smr.across" / "ablation.csv")
    pd.testing.assert_frame_equal(third, pd.read_csv(tiny.out / "ablation.csv"))
    page = (tiny.out / "report.html").read_text()
    rows = json.loads(page.split('id="ablations-data">')[1].split("</script>")[0])
    assert {row["ablation"] for row in rows} == {"grouping", "sources", "smr.threshold+smr.across"}
    outs = {OmegaConf.load(file).out for file in [*folder.glob("*/best.yaml"), tiny.out / "best.yaml"]}
    assert len(outs) == 4, "the runs of two best.yaml do not replace each other"


@pytest.mark.parametrize("written", [["ablate=steps", "ablate=gate"], ["ablate=[steps, gate]"]])
def test_several_named_ablations_of_one_command(written):
    assert [r.folder for r in settings.read(["recipe=x", *written, "ablate=steps"])] == ["steps", "gate"]


@pytest.mark.parametrize("path", ["a.b", "../../x", "a/b", "x" * 300, "é.key"])
def test_folders_of_ablations_are_plain_names(path):
    name = settings.Request([], None, {path: [1]}, {}).folder
    assert re.fullmatch(r"[A-Za-z0-9_.+-]{1,100}", name) and name.strip(".")


def test_a_count_within_reach_means_what_it_means_in_a_run(tiny):
    """3 of the 3 votes of the lone expression: no leftover is put in."""
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[3]") == 0
    best = OmegaConf.to_container(OmegaConf.load(tiny.out / "best.yaml"))
    assert "leftover" not in best["steps"]["smr"]


def test_the_best_setting_is_a_recipe_that_gives_its_score(tiny, capsys):
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[1..6]") == 0
    found = table(tiny)
    best = found.loc[found["J&F"].idxmax()]
    text = (tiny.out / "best.yaml").read_text()
    assert text.startswith("# tiny on ref_youtube_vos: ablate.smr.threshold") and "expect less on others" in text
    capsys.readouterr()
    assert run_ensemble.main([f"recipe={tiny.out / 'best.yaml'}"]) == 0
    metrics = json.loads((tiny.out / "best" / "metrics.json").read_text())
    assert metrics["steps"][metrics["output"]]["J&F"] == pytest.approx(best["J&F"], abs=1e-12)


def test_nothing_upstream_is_computed_again(tiny, sweeps):
    """A run, then a sweep of what comes after the propagation; and a sweep before it, whose masks are kept."""
    assert run_ensemble.main(tiny.arguments) == 0
    before = len(sweeps)
    last = "steps.last={op: vote, inputs: [smr_flow, soc], threshold: 1}"
    assert ablate(tiny, last, "output=last", "ablate.last.threshold=[1,2]") == 0
    assert len(sweeps) == before, "propagated by the run"
    assert ablate(tiny, "ablate.smr.threshold=[0.3,0.5,0.9]") == 0
    after = len(sweeps)
    assert after > before
    for file in tiny.out.glob("*ablation*/*.json"):
        file.unlink()
    assert ablate(tiny, "ablate.smr.threshold=[0.3,0.5,0.9]") == 0
    assert len(sweeps) == after, "from the store"


def test_a_grid_is_every_combination_in_order(tiny):
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[0.5,2]", "ablate.grouping.rule=[pairs,none]") == 0
    labels = [f"threshold={t} rule={r}" for t in ("0.5", "2") for r in ("pairs", "none")]
    found = table(tiny)
    assert list(found.index) == ["the recipe as it is", *labels]
    assert found.loc[labels[1], "parameters"] == "steps.smr.threshold; grouping.rule"
    assert found.loc[labels[1], "values"] == '0.5; "none"'


def test_sources_and_any_other_key_can_be_swept(tiny, tmp_path):
    """Another model in the place of one: the score is that of the run with it."""
    mutr = tiny.root / "predictions/mutr"
    assert ablate(tiny, "output=smr", f"ablate.sources.soc.path=[{mutr}]") == 0
    expected = scores_of_a_run(tiny, tmp_path / "run", "output=smr", f"sources.soc.path={mutr}")
    assert tuple(table(tiny)[["J", "F"]].iloc[1]) == pytest.approx(expected, abs=1e-12)


def test_works_beside_a_run_and_before_one(tiny):
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[2]") == 0, "no run was made"
    assert run_ensemble.main([*tiny.arguments, "output=smr"]) == 0, "in the folder that an ablation began"
    kept = {p: p.read_bytes() for p in tiny.out.rglob("*.png")} | {
        tiny.out / n: (tiny.out / n).read_bytes() for n in ("metrics.csv", "submission.zip", "config.yaml")
    }
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[3]") == 0
    assert all(path.read_bytes() == data for path, data in kept.items()), "the run's results are left alone"
    foreign = tiny.out.parent / "foreign"
    save(np.zeros((4, 4), np.uint8), foreign / "holiday.png")
    assert run_ensemble.main(["ablate", f"recipe={tiny.recipe}", f"out={foreign}", "ablate.smr.threshold=[3]"]) == 2


def test_the_reference_has_no_difference_to_itself(tiny):
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[0.5,0.9]") == 0
    same = table(tiny).loc["threshold=0.5"]
    assert (same.delta, same.low, same.high) == (0, 0, 0)


# --------------------------------------------------------------------------------------------------- named ablations


def test_sources(tiny, tmp_path):
    assert ablate(tiny, "output=smr", "ablate=sources") == 0
    found = table(tiny)
    names = ("soc", "mutr", "referformer")
    rows = [f"{what} {n}" for what in ("without", "only") for n in names] + [f"{n} as it is" for n in names]
    assert list(found.index) == ["the recipe as it is", *rows]
    expected = scores_of_a_run(tiny, tmp_path / "run", "output=smr", "steps.smr.inputs=[soc,referformer]")
    assert tuple(found.loc["without mutr", ["J", "F"]]) == pytest.approx(expected, abs=1e-12)
    expected = scores_of_a_run(tiny, tmp_path / "run", "output=mutr")
    assert tuple(found.loc["mutr as it is", ["J", "F"]]) == pytest.approx(expected, abs=1e-12)


def test_steps_build_the_recipe_up_and_take_it_apart(tiny, tmp_path, capsys):
    alone = "steps.soc_flow={op: propagate, input: soc, with: flow}"
    assert ablate(tiny, "ablate=steps", alone) == 0
    found = table(tiny)
    best = found.index[1]
    printed = capsys.readouterr().out
    rungs = [label for label in found.index if label.startswith(("best", "+"))]
    assert len(rungs) > 2
    for i, after in enumerate(rungs[1:], start=1):
        (note,) = [line for line in printed.splitlines() if line.startswith(f"note: {after}: J&F ")]
        told = [part.rpartition(", 95 % [")[0] for part in note.partition("J&F ")[2].split("; ")]
        gains = {before: 100 * (found.loc[after, "J&F"] - found.loc[before, "J&F"]) for before in reversed(rungs[:i])}
        assert told == [f"{gain:+.2f} on {before}" for before, gain in gains.items()], "the nearest rung first"
    assert best.startswith("best single source: ")
    assert {"+ smr: vote", "+ smr_flow: propagate", "without smr", "without smr_flow"} <= set(found.index)
    assert found.loc["+ smr_flow: propagate", "delta"] == 0, "the recipe itself"
    expected = scores_of_a_run(tiny, tmp_path / "run", "output=smr")
    assert tuple(found.loc["without smr_flow", ["J", "F"]]) == pytest.approx(expected, abs=1e-12)
    expected = scores_of_a_run(tiny, tmp_path / "run", "steps.smr_flow.input=soc")
    assert tuple(found.loc["without smr", ["J", "F"]]) == pytest.approx(expected, abs=1e-12)


def test_key_frame_rules_ride_in_one_sweep_each_way(tiny, sweeps, capsys):
    assert ablate(tiny, "ablate=key_frame") == 0
    assert len(sweeps) == 3 * 2, "3 clips, forward and backward: all rules in one batch"
    found, printed = table(tiny), capsys.readouterr().out
    assert math.isnan(found.loc["key_frame=given", "J"]) and found.loc["key_frame=given", "clips"] == 0
    assert "not scored: key_frame of clip 'a'" in printed
    assert found.loc["key_frame=uniform", "expressions"] == 9


def test_rules_that_a_step_cannot_take_are_left_out(tiny, capsys):
    """`argmax` and `top` go by one score, this step by two."""
    two = ["steps.smr_flow.key_frame=product", "steps.smr_flow.scores_from=[soc,mutr]"]
    assert ablate(tiny, *two, "ablate=key_frame") == 0
    assert {"key_frame=product", "key_frame=first"} <= {*table(tiny).index} - {"key_frame=argmax", "key_frame=top"}
    assert "key_frame=argmax is left out: step smr_flow: key_frame argmax uses one score" in capsys.readouterr().out


def test_grouping_rules(tiny, capsys):
    assert ablate(tiny, "output=smr", "ablate=grouping") == 0
    found = table(tiny)
    assert {"rule=pairs", "rule=runs", "rule=none", "rule=auto"} <= set(found.index)
    assert "grouping=file is left out" in capsys.readouterr().out


def test_weights_are_reported_on_clips_that_the_search_did_not_see(tmp_path, capsys):
    tiny = make_tiny(tmp_path, clips="abcdef")
    arguments = ["output=smr", "ablate=weights", "ablate.budget=12", "ablate.votes=[0,1,2]"]
    assert ablate(tiny, *arguments) == 0
    found = pd.read_csv(tiny.out / "ablation.csv")
    searched = found[found.ablation == "weights, the half searched"]
    assert len(searched) == 12 and set(searched.clips) == {3} and set(found[found.ablation == "weights"].clips) == {3}
    clips = load(tiny.arguments).dataset.clips()
    search, report = weights.halves(clips, 0)
    assert not {c.name for c in search} & {c.name for c in report} and len(search) + len(report) == 6
    chosen = searched.sort_values("J&F", ascending=False, kind="stable").iloc[0]
    best = OmegaConf.load(tiny.out / "best.yaml")
    assert json.loads(chosen["values"]) == list(best.steps.smr.weights)
    text = (tiny.out / "best.yaml").read_text().replace("\n# ", " ")
    assert "which the search did not see" in text and "rows are sorted by J&F on the half searched" in text
    order = found[found.ablation == "weights"].iloc[1:].label.tolist()
    assert order == searched.sort_values("J&F", ascending=False, kind="stable").label.tolist()[: len(order)]
    before = (tiny.out / "ablation.csv").read_bytes()
    assert ablate(tiny, *arguments) == 0
    assert (tiny.out / "ablation.csv").read_bytes() == before, "seeded"


def test_the_search_finds_the_hilltop_and_keeps_to_its_budget():
    goal, asked = np.array([3, 0, 1, 2, 0]), []

    def score(candidates):
        asked.extend(candidates)
        return [-float(np.abs(np.array(w) - goal).sum()) for w in candidates]

    found = weights.search((1, 1, 1, 1, 1), [0, 1, 2, 3], 150, 0, False, score)
    assert max(found, key=found.get) == tuple(goal) and len(found) <= 150
    assert len(asked) == len(set(asked)) == len(found), "nothing is tried twice"
    assert next(iter(found)) == (1, 1, 1, 1, 1), "the recipe's own is tried first"


def test_with_a_share_only_proportions_are_tried_and_few_are_tried_all():
    found = weights.search((1, 1), [0, 1, 2], 64, 0, True, lambda ws: [0.0] * len(ws))
    assert sorted(found) == [(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)]
    found = weights.search((1, 1), [0, 1, 2], 64, 0, False, lambda ws: [0.0] * len(ws))
    assert len(found) == 8


def test_what_is_left_without_a_source_or_step(tiny):
    recipe = load([*tiny.arguments, "steps.smr.weights=[3,2,1]"])
    without = recipe_edits.without_sources(recipe.config, recipe.steps, ["soc"])
    assert without["steps"]["smr"] | {"threshold": 0} == {
        "op": "vote",
        "inputs": ["mutr", "referformer"],
        "weights": [2, 1],
        "across": "expressions",
        "threshold": 0,
    }
    assert without["steps"]["smr_flow"]["scores_from"] is None and set(without["sources"]) == {"mutr", "referformer"}
    assert without["steps"]["smr_flow"]["key_frame"]["without_scores"] == "agreement"
    assert recipe_edits.without_step(recipe.config, recipe.steps, "smr")["steps"]["smr_flow"]["input"] == "soc"
    assert recipe_edits.without_step(recipe.config, recipe.steps, "smr_flow")["output"] == "smr"
    with pytest.raises(InputError, match="nothing is left of smr_flow"):
        recipe_edits.without_sources(recipe.config, recipe.steps, ["soc", "mutr", "referformer"])
    assert recipe.config["steps"]["smr"]["inputs"] == ["soc", "mutr", "referformer"], "the recipe stays as it was"


# ------------------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "ablate what?"),
        (["ablate=everything"], "unknown key `everything`. Valid: gate, grouping, key_frame, sources, steps, weights"),
        (["ablate=steps", "ablate.smr.threshold=[1]"], "give one of them"),
        (["ablate.smr.treshold=[1,2]"], "unknown key `treshold`, did you mean `threshold`? Valid: across"),
        (["ablate.smt.threshold=[1,2]"], "unknown key `smt`, did you mean `smr`?"),
        (["ablate.steps.last.threshold=[1,2]"], "ablate.steps.last.threshold: steps: unknown key `last`. Valid: smr"),
        (["ablate.sources.sock.path=[x]"], "unknown key `sock`, did you mean `soc`?"),
        (["ablate.smr=[1]"], "which key of step smr? It has op, inputs"),
        (["ablate.out=[x,y]"], "unknown key `out`"),
        (["ablate.smr.threshold=[1]", "ablate.steps.smr.threshold=[2]"], "one key is listed twice"),
        (["ablate.smr.threshold=[]"], "expected a list of values to try, such as [1, 2, 3] or [1..8], found []"),
        (["ablate.smr.threshold=3"], "expected a list of values to try"),
        (["ablate.smr.threshold=[1,"], "cannot be read"),
        (["ablate.smr.threshold=[0, 1.5]"], "`threshold` is 1.5, expected a count (3), a share (0.5)"),
        (["ablate.smr.threshold=[1..30]", "ablate.limit=29"], "30 = 30 settings, at most 29; give ablate.limit=30"),
        (["ablate.seed=x", "ablate.smr.threshold=[1]"], "setting `seed` is 'x', expected a whole number"),
        (["ablate=weights", "ablate.votes=[1]"], "at least two whole numbers"),
        (["ablate=weights", "ablate.step=smr_flow"], "ablate.step: unknown key `smr_flow`"),
        (["ablate=weights"], "3 clips, expected at least 4"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_computed(tiny, capsys, arguments, message):
    assert message in refused(capsys, tiny, *arguments)
    assert not list((tiny.out / "store").glob("*/*"))


def test_without_ground_truth_there_is_nothing_to_compare(tiny, capsys):
    (tiny.root / "meta_expressions/valid/obj_ids.json").unlink()
    for file in (tiny.root / "valid/Annotations").rglob("*.png"):
        file.unlink()
    assert "ablate needs ground truth" in refused(capsys, tiny, "ablate.smr.threshold=[1]")


def test_a_source_that_fails_on_one_clip_costs_that_clip(tiny, capsys):
    """A damaged file, found only on reading: the others are compared, exit code 1; mended, the command resumes."""
    good = tiny.mask_file("mutr", "b", "1", FRAMES[2])
    kept = good.read_bytes()
    good.write_bytes(kept[: len(kept) // 2])
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[0.5,0.9]") == 1
    told = capsys.readouterr()
    assert "1 clips are left out" in told.err and str(good) in told.err and "2 clips, 6 expressions" in told.out
    assert set(table(tiny).clips) == {2}
    good.write_bytes(kept)
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[0.5,0.9]") == 0
    assert set(table(tiny).clips) == {3}


def test_a_missing_file_is_found_before_and_costs_its_clip(tiny, capsys):
    tiny.mask_file("mutr", "b").unlink()
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[0.5,0.9]") == 1
    assert "mutr" in capsys.readouterr().err and set(table(tiny).clips) == {2}


def test_a_setting_that_fails_on_some_clips_is_not_the_best(tiny, capsys):
    """7 of the 6 votes of a pair: every clip has one, and the others are compared all the same."""
    assert ablate(tiny, "output=smr", "ablate.smr.threshold=[4,7]") == 0
    found, printed = table(tiny), capsys.readouterr().out
    assert found.loc["threshold=7", "expressions"] == 0 and found.loc["threshold=4", "expressions"] == 9
    assert "not scored: step smr: clip 'a', a group of 2: threshold 7 of 6 votes" in printed


def test_changed_truth_or_a_damaged_file_of_scores_is_never_stale(tiny):
    arguments = ("output=smr", "ablate.smr.threshold=[0.5,0.9]")
    assert ablate(tiny, *arguments) == 0
    first = (tiny.out / "ablation.csv").read_bytes()
    scores = tiny.out / "ablation" / "a.json"
    changed = scores.read_text()
    digit = changed.index("0.", changed.index("scores")) + 3
    scores.write_text(changed[:digit] + ("1" if changed[digit] != "1" else "2") + changed[digit + 1 :])
    assert ablate(tiny, *arguments) == 0
    assert (tiny.out / "ablation.csv").read_bytes() == first
    annotation = tiny.root / "valid/Annotations/a" / f"{FRAMES[0]}.png"
    annotation.write_bytes((annotation.parent / f"{FRAMES[4]}.png").read_bytes())
    assert ablate(tiny, *arguments) == 0
    assert (tiny.out / "ablation.csv").read_bytes() != first


SLOW = """
import time
from rvos_ensemble.adapters import Adapter, MaskSequence

class Slow(Adapter):
    '''Takes its time, so that a test can interrupt it.'''
    defaults = {"log": "???"}

    def predict(self, clip):
        with open(self.settings.log, "a") as log:
            log.write(clip.name + "\\n")
        time.sleep(0.4)
        masks = [clip.read(t)[..., 0] > 128 for t in range(len(clip))]
        return {e.id: MaskSequence.binary(masks) for e in clip.expressions}
"""


def test_killed_and_resumed_it_does_nothing_twice(tmp_path):
    tiny = make_tiny(tmp_path, clips="abcdef")
    adapter, log = tmp_path / "slow.py", tmp_path / "log"
    adapter.write_text(SLOW)
    files = f"soc: {{adapter: files, path: {tiny.root}/predictions/soc}}"
    text = tiny.recipe.read_text()
    assert files in text
    tiny.recipe.write_text(text.replace(files, f"soc: {{adapter: {adapter}, log: {log}}}"))
    arguments = [*tiny.arguments, "output=smr"]
    command = [sys.executable, str(ROOT / "run_ensemble.py"), "ablate", *arguments, "ablate.smr.threshold=[1,2,3]"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(tiny.out.glob("*ablation*/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {p.stem for p in tiny.out.glob("*ablation*/*.json")}
    assert 2 <= len(done) < 6, "killed in the middle"
    assert run_ensemble.main(command[2:]) == 0
    visits = log.read_text().split()
    assert all(visits.count(clip) == 1 for clip in done), "what was finished is not done again"
    resumed = (tiny.out / "ablation.csv").read_bytes()
    fresh = tmp_path / "fresh"
    assert run_ensemble.main([*command[2:], f"out={fresh}"]) == 0
    assert (fresh / "ablation.csv").read_bytes() == resumed


# ------------------------------------------------------------------------------------------------------ table, words


PICKY = """
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.propagators.flow import Flow as _Flow
from rvos_ensemble.propagators.core.propagator import Propagator


class Picky(Propagator):
    def sweep(self, size, sequences):
        return OneKey(_Flow().sweep(size, sequences))


class OneKey:
    def __init__(self, flow):
        self.flow, self.running = flow, set()

    def step(self, frame, given):
        if self.running & set(given):
            raise InputError("two key frames are too many")
        self.running |= set(given)
        return self.flow.step(frame, given)
"""


def test_a_propagator_that_fails_costs_its_own_row_alone(tiny, tmp_path, capsys):
    """Both settings ride in one sweep of a propagator that refuses what one of them asks."""
    file = tmp_path / "picky.py"
    file.write_text(PICKY)
    arguments = ["steps.smr_flow.key_frame=first", f"propagators.flow={{propagator: {file}}}"]
    assert ablate(tiny, *arguments, "ablate.smr_flow.key_frame=[argmax,{rule: uniform, k: 2}]") == 0
    found, printed = table(tiny), capsys.readouterr().out
    assert list(found.expressions) == [9, 9, 0] and "two key frames are too many" in printed


def test_a_number_swept_beside_null_is_no_curve():
    rows = [made("the recipe as it is", {"a": {"0": (0.5, 0.5)}})]
    for keep, share in itertools.product((5, 10, 20, None), (0.5, 0.85)):
        parameters = {"steps.x.keep": keep, "steps.x.max_iou": share}
        rows.append(replace(rows[0], variant=Variant(f"{keep} {share}", {}, "s", parameters)))
    drawn = figure("title", rows)
    assert [t.get_text() for t in drawn.axes[0].get_xticklabels()] == ["5", "10", "20", "null"], "a heat map"
    single = [replace(r, variant=Variant(r.variant.label, {}, "s", {"k": r.variant.parameters})) for r in rows[1:]]
    assert "None 0.85" in [t.get_text() for t in figure("title", [rows[0], *single]).axes[0].get_yticklabels()], "bars"


def test_the_weights_searched_are_of_a_vote_that_the_output_needs(tiny, capsys):
    later = "steps.last={op: vote, inputs: [smr_flow, soc], threshold: 1}"
    recipe = load([*tiny.arguments, later])
    assert weights.vote_step(recipe, None) == "smr"
    with pytest.raises(InputError, match=r"unknown key `last`.*Valid: smr"):
        weights.vote_step(recipe, "last")
    with pytest.raises(InputError, match="output soc of recipe tiny needs no vote over several inputs"):
        weights.vote_step(load([*tiny.arguments, "output=soc"]), None)


def made(label, scores, reference=None) -> Row:
    scores, reference = (
        {clip: {e: ExpressionScore(*s) for e, s in of.items()} for clip, of in each.items()}
        for each in (scores, reference or scores)
    )
    return row(Variant(label, {}, "s"), scores, reference, seed=0, resamples=1000)


def test_words_say_when_a_gain_may_be_chance():
    reference = {str(i): {"0": (0.5, 0.5)} for i in range(8)}
    sure = {str(i): {"0": (0.6, 0.6)} for i in range(8)}
    chance = {str(i): {"0": (0.5, 0.5 + (0.3 if i == 0 else 0))} for i in range(8)}
    first = made("the recipe as it is", reference)
    for scores, words in ((sure, "J&F +10.00, 95 % [+10.00, +10.00] against"), (chance, "not distinguishable")):
        rows = [first, made("x", scores, reference)]
        assert best_of(rows) is rows[1] and words in verdict(rows, rows[1])
    same = made("same", reference, reference)
    assert verdict([first, same], same) == "Best: same: the same as the recipe as it is."
    assert "None of the 1 settings scores higher" in verdict([first, made("x", reference)], first)
    part = made("part", {"0": {"0": (1.0, 1.0)}}, reference)
    assert best_of([first, part]) is first, "a setting that was scored on fewer clips is not compared"


def test_the_figure_is_an_svg_that_names_what_it_shows(tiny):
    from xml.etree import ElementTree

    for arguments, shown in (
        (["ablate.smr.threshold=[1,2,3]"], {"steps.smr.threshold", "J&F", "1", "2", "3"}),
        (["ablate.smr.threshold=[1,2,3]", "ablate.smr.across=[expressions,null]"], {"steps.smr.across", "null", "3"}),
        (["ablate.smr.leftover=[vote,0.5,0.9]"], {"leftover=vote"}),
    ):
        assert ablate(tiny, "output=smr", *arguments) == 0
        svg = ElementTree.parse(tiny.out / "ablation.svg").getroot()
        assert shown <= {e.text or "" for e in svg.iter("{http://www.w3.org/2000/svg}text")}
        assert (tiny.out / "ablation.pdf").read_bytes().startswith(b"%PDF")


def test_ranges_are_lists():
    (request,) = settings.read(["recipe=x", "ablate.final.threshold=[1..4, 8]", "ablate.seed=3"])
    assert request.lists == {"final.threshold": [1, 2, 3, 4, 8]} and request.recipe == ["recipe=x"]
    assert request.options["seed"] == 3


def test_a_clip_that_cannot_be_read_is_a_record_not_an_exception(tiny):
    recipe = load(tiny.arguments)
    clip = recipe.dataset.clips()[0]
    record = score_clip("tiny", json.dumps([{**recipe.config, "output": "nowhere"}]), ["smr"], str(tiny.out), 0, clip)
    assert record.status == "failed" and "nowhere" in record.error and record.frames == T
