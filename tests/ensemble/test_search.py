"""`search.KEY=range`: chosen on one half, reported on the other; losing settings stop early; a kill changes nothing."""

import builtins
import json
import re
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import make_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.yaml_text import read_yaml
from rvos_ensemble.ensemble.ablation.search.shares import Shares
from rvos_ensemble.ensemble.ablation.search.space import FORMS, Choice, Numbers, Whole, number_of_settings, values_of
from rvos_ensemble.ensemble.ablation.weights import halves
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore, existence
from rvos_ensemble.ensemble.recipe.recipe import load

ROOT = Path(__file__).resolve().parents[2]
optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")
from rvos_ensemble.ensemble.ablation.search import trials  # noqa: E402
from rvos_ensemble.ensemble.ablation.search.trials import loses, parts_of, search  # noqa: E402


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Figures have their own tests."""
    monkeypatch.setattr(
        "rvos_ensemble.ensemble.ablation.results.files.rendered", lambda figure: {"svg": b"", "pdf": b""}
    )


@pytest.fixture
def six(tmp_path):
    """Twelve clips of three models, and a vote of them as the output."""
    return make_tiny(tmp_path, clips="abcdefghijkl")


def run(tiny, *arguments) -> int:
    return run_ensemble.main(["ablate", *tiny.arguments, "output=smr", "ablate.resamples=200", *arguments])


# ------------------------------------------------------------------------------------------------------ what is tried


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (["1..8"], Whole(1, 8)),
        ("-2..3", Whole(-2, 3)),
        ([0.1, 0.9], Numbers(0.1, 0.9)),
        ([0, 0.5], Numbers(0.0, 0.5)),
        (["0.1..0.9"], Numbers(0.1, 0.9)),
        (["1e-4..0.5"], Numbers(1e-4, 0.5)),
        ({"low": 0.001, "high": 1, "log": True}, Numbers(0.001, 1.0, True)),
        ([1, 8], Choice([1, 8])),
        ([0.25, 0.5, 0.75], Choice([0.25, 0.5, 0.75])),
        ({"choices": [0.25, 0.5]}, Choice([0.25, 0.5])),
        (["1..3", 8], Choice([1, 2, 3, 8])),
        (["argmax", {"rule": "uniform", "k": 2}, None], Choice(["argmax", {"rule": "uniform", "k": 2}, None])),
        ([[1, 1], [2, 1]], Choice([[1, 1], [2, 1]])),
        ([True, False], Choice([True, False])),
    ],
)
def test_ranges_and_choices(written, values):
    assert values_of(written) == values


def test_the_forms_that_the_help_shows_are_accepted():
    assert [type(values_of(read_yaml(form))) for form in FORMS] == [Whole, Numbers, Numbers, Choice]


@pytest.mark.parametrize(
    "written",
    [[], [3], 3, "argmax", ["argmax", "argmax"], ["8..1"], [0.9, 0.1], ["2..2"], {"low": 1}, None, {"choices": 3},
     {"low": 0, "high": 1, "log": True}, {"low": 0.1, "high": 0.9, "step": 1}],
)  # fmt: skip
def test_what_is_no_range_and_no_choice_is_refused(written):
    with pytest.raises(InputError):
        values_of(written)


def test_the_values_of_the_recipe_are_recognised():
    assert Whole(1, 3).contains(2) and not Whole(1, 3).contains(2.0) and not Whole(1, 3).contains(True)
    assert Numbers(0.0, 1.0).contains(0.5) and not Numbers(0.0, 1.0).contains(1), "1 is a count, 1.0 a share"
    assert Choice([None, {"b": 1, "a": 2}]).contains({"a": 2, "b": 1}) and Choice([None, 1]).contains(None)
    assert number_of_settings({"a": Whole(1, 3), "b": Choice([0, 1])}) == 6
    assert number_of_settings({"a": Whole(1, 3), "b": Numbers(0.0, 1.0)}) == float("inf")


# --------------------------------------------------------------------------------------------------------- the search

SPACE = {"x": Numbers(0.0, 1.0), "k": Whole(0, 9), "c": Choice(["good", "bad"])}
START = {"x": 0.1, "k": 0, "c": "bad"}


def hill(values) -> float:
    return -((values["x"] - 0.7) ** 2) - 0.02 * abs(values["k"] - 6) - 0.3 * (values["c"] == "bad")


def clips_of(function, clips, seed=0):
    """A score: the function, minus its value at the start, with noise for each clip; and what was asked."""
    noise = np.random.default_rng(seed).normal(0, 0.02, clips)
    asked = []

    def score(settings, first, last):
        asked.extend((json.dumps(v, sort_keys=True), clip) for v in settings for clip in range(first, last))
        return [
            [(function(v) - function(START) + noise[i] * v["x"]) / clips for i in range(first, last)] for v in settings
        ]

    return score, asked


def test_it_finds_the_hilltop_better_than_chance_and_keeps_to_its_budget():
    score, asked = clips_of(hill, 24)
    tried = search(SPACE, START, parts_of(24), 64, 0, score)
    best = max((t for t in tried if t.state == "complete"), key=lambda t: t.gain)
    random = np.random.default_rng(0)
    by_chance = [
        max(
            hill({"x": random.random(), "k": random.integers(10), "c": random.choice(["good", "bad"])})
            for _ in range(64)
        )
        for _ in range(50)
    ]
    assert hill(best.values) > np.median(by_chance)
    assert len(tried) == 64 == len({json.dumps(t.values, sort_keys=True) for t in tried})
    assert tried[0].values == START and tried[0].gain == pytest.approx(0, abs=0.02)
    assert len(asked) == len(set(asked)) == sum(len(t.gains) for t in tried), "no clip is scored twice"


def test_losing_settings_are_stopped_on_the_first_clips_and_the_best_is_not():
    score, asked = clips_of(hill, 32)
    tried = search(SPACE, START, parts_of(32), 64, 1, score)
    stopped = [t for t in tried if t.state == "stopped"]
    assert len(stopped) > 10 and all(len(t.gains) < 32 for t in stopped)
    complete = [t for t in tried if t.state == "complete"]
    assert all(len(t.gains) == 32 for t in complete)
    assert max(hill(t.values) for t in stopped) < max(hill(t.values) for t in complete)
    everything, all_asked = clips_of(hill, 32)
    search(SPACE, START, parts_of(32), 64, 1, everything, prune=False)
    assert len(all_asked) == 64 * 32 > 1.2 * len(asked), "stopping saves work"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1).map(lambda v: round(v, 2)), min_size=4, max_size=8, unique_by=abs))
def test_a_setting_loses_if_few_signs_of_its_differences_are_as_bad(differences):
    """The definition of the signed-rank test: the share of all signs with at most this sum of positive ranks."""
    differences = [d for d in differences if d]
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = sum(r for r, d in zip(ranks, differences, strict=True) if d > 0)
    sums = [sum(r for r, up in zip(ranks, signs, strict=True) if up) for signs in product((0, 1), repeat=len(ranks))]
    expected = np.mean(np.array(sums) <= observed) < 0.1 and len(differences) >= 4 and sum(differences) < 0
    assert loses(differences, [0.0] * len(differences)) == expected


def test_equal_settings_are_never_stopped():
    tried = search(SPACE, START, parts_of(16), 24, 0, lambda settings, a, b: [[0.0] * (b - a) for _ in settings])
    assert {t.state for t in tried} == {"complete"}


def test_the_same_seed_gives_the_same_search_and_a_larger_budget_continues_it():
    short, again, longer, other = (
        [t.values for t in search(SPACE, START, parts_of(16), budget, seed, clips_of(hill, 16)[0])]
        for budget, seed in ((24, 3), (24, 3), (40, 3), (24, 4))
    )
    assert short == again == longer[:24] and short != other


def test_few_settings_are_all_tried_and_a_failed_one_is_not_chosen():
    space = {"k": Whole(0, 3), "c": Choice(["good", "bad"])}

    def score(settings, first, last):
        return [None if v["k"] == 2 else [float(v["k"])] * (last - first) for v in settings]

    tried = search(space, {"k": 1, "c": "good"}, [4, 2], 64, 0, score, prune=False)
    assert len(tried) == 8 and tried[0].values == {"k": 1, "c": "good"}
    assert {t.values["k"] for t in tried if t.state == "failed"} == {2} and sum(t.state == "failed" for t in tried) == 2
    assert search(space, {"k": 9, "c": "good"}, [4, 2], 64, 0, lambda s, a, b: [None] * len(s))[0].state == "failed"


def test_a_search_that_has_converged_ends(monkeypatch):
    monkeypatch.setattr(trials, "REPEATED", 3)
    space = {"k": Whole(0, 9), "j": Whole(0, 9)}
    tried = search(space, {}, [4], 99, 0, lambda settings, a, b: [[-abs(v["k"] - 4.0)] * (b - a) for v in settings])
    assert 10 < len(tried) < 99


scores = st.builds(
    ExpressionScore, st.floats(0, 1), st.floats(0, 1), st.sampled_from([True, False, None]), st.booleans()
)


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.sampled_from("0123"), scores, min_size=1), min_size=1, max_size=5))
def test_the_contributions_of_clips_add_up_to_the_score(clips):
    every = [s for clip in clips for s in clip.values()]
    jf = float(np.mean([s.JF for s in every]))
    whole = existence(every, jf)
    if whole is not None and not any(s.no_target is False for s in every):
        return  # Final is not defined
    shares = Shares.of(clips)
    assert sum(map(shares, clips)) == pytest.approx(jf if whole is None else whole.Final)


# ----------------------------------------------------------------------------------------------------------- as a user


def test_chosen_on_one_half_and_reported_on_the_other(six, capsys, tmp_path):
    arguments = ["search.smr.threshold=[0.1,0.9]", "search.smr.across=[expressions,null]", "ablate.budget=12"]
    assert run(six, *arguments) == 0
    found, printed = pd.read_csv(six.out / "ablation.csv"), capsys.readouterr().out
    searched = found[found.ablation == "search, the half searched"]
    reported = found[found.ablation == "search"]
    assert len(searched) == 12 and set(reported.clips) == {6} and reported.label.iloc[0] == "the recipe as it is"
    assert searched.parameters.iloc[0] == "steps.smr.threshold; steps.smr.across"
    assert searched["values"].iloc[0] == '0.5; "expressions"', "the values of the recipe are tried first"
    complete = searched[searched.clips == 6]
    chosen = complete.sort_values("J&F", ascending=False, kind="stable").iloc[0]
    best = OmegaConf.load(six.out / "best.yaml")
    assert (
        json.loads(chosen["values"].split("; ")[0])
        == best.steps.smr.threshold
        == float(f"{best.steps.smr.threshold:.4g}")
    )
    assert reported.label.iloc[1] == chosen.label, "the best of the half searched is the first"
    text = (six.out / "best.yaml").read_text().replace("\n# ", " ")
    assert "the best of 12 settings" in text and "which the search did not see" in text
    assert "its rows are sorted by J&F on the half searched" in printed
    assert (six.out / "ablations/search.smr.threshold+smr.across/ablation.md").is_file()
    clips = {c.name for c in halves(load(six.arguments).dataset.clips(), 0)[1]}
    out = tmp_path / "run"
    plain = ["report=false", "annotations=false", "submission=false", f"out={out}", f"store={six.out}/store"]
    assert run_ensemble.main([f"recipe={six.out}/best.yaml", *plain]) == 0
    metrics = pd.read_csv(out / "metrics.csv")
    metrics = metrics[(metrics.step == "smr") & metrics["clip"].isin(clips)]
    assert reported["J&F"].iloc[1] == pytest.approx(metrics["J&F"].mean(), abs=1e-12), "what a run of best.yaml scores"


def test_a_combination_that_the_recipe_refuses_is_a_failed_setting(six, capsys):
    """7 of the 6 votes of a pair fail on every clip; the others are compared."""
    assert run(six, "search.smr.threshold=[4..7]", "ablate.prune=false") == 0
    found = pd.read_csv(six.out / "ablation.csv").set_index("label")
    assert found.loc["threshold=7", "expressions"] == 0 and "threshold=4" in found.index
    assert "counts above 3: an expression alone in its group" in capsys.readouterr().out


def test_stopped_settings_say_so_and_a_recipe_that_is_best_stays(six, capsys):
    """The recipe has a share of 0.5; low and high counts lose on the first four of the six clips."""
    assert run(six, "search.smr.threshold=[1..6]") == 0
    found, printed = pd.read_csv(six.out / "ablation.csv"), " ".join(capsys.readouterr().out.split())
    searched = found[found.ablation == "search, the half searched"].set_index("label")
    assert set(searched.clips) == {4, 6} and searched.loc["threshold=1", "clips"] == 4
    assert f"none of 6 settings, of which {(searched.clips == 4).sum()} were stopped early, scores higher" in printed
    assert "Best: the recipe as it is. On the half searched, no setting scores higher." in printed
    assert OmegaConf.load(six.out / "best.yaml").steps.smr.threshold == 0.5
    assert {*found[found.ablation == "search"].label[1:]} == {*searched[searched.clips == 6].index}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.smr.threshold=[0.1,1.5]"], "`threshold` is 1.5, expected a count (3), a share (0.5)"),
        (["search.smr.treshold=[1..3]"], "unknown key `treshold`, did you mean `threshold`?"),
        (["search.smt.threshold=[1..3]"], "search.smt.threshold: unknown key `smt`, did you mean `smr`?"),
        (
            ["search.smr.threshold=[1..3]", "search.steps.smr.threshold=[1..2]"],
            "one key is listed twice: search.smr.thr",
        ),
        (["search.smr.threshold=[3..1]"], "search.smr.threshold: the range from 3 to 1 is empty"),
        (
            ["search.smr.threshold=3"],
            "search.smr.threshold: expected a range such as [1..8] or [0.1, 0.9], or a choice",
        ),
        (["search.smr.threshold=[1..3]", "ablate.smr.threshold=[1]"], "give one of them"),
        (["search.smr.threshold=[1..3]", "data.videos=[a,b,c]"], "search.smr.threshold: 3 clips, expected at least 4"),
        (["search.out=[x,y]"], "unknown key `out`"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_computed(six, capsys, arguments, message):
    assert run(six, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not list((six.out / "store").glob("*/*"))


def test_without_optuna_the_command_to_install_it_is_named(six, capsys, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.partition(".")[0] == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert run(six, "search.smr.threshold=[1..3]") == 2
    assert "pip install 'rvos-ensemble[search]'" in capsys.readouterr().err


SLOW = """
import time
from rvos_ensemble.ensemble.steps.step import Step, INPUTS
from rvos_ensemble.adapters.core.settings import number


class SlowVote(Step):
    '''Takes its time, so that a test can interrupt it.'''
    defaults = {"inputs": INPUTS, "level": number(0.5), "log": "???"}

    def run(self, clip, inputs):
        with open(self.settings.log, "a") as log:
            log.write(f"{clip.name} {self.settings.level}\\n")
        time.sleep(0.05)
        first = inputs[self.inputs[0]]
        return first if self.settings.level < 0.4 else inputs[self.inputs[1]]
"""


def test_killed_and_resumed_it_gives_the_same_and_does_nothing_twice(tmp_path):
    tiny = make_tiny(tmp_path, clips="abcdefgh")
    step, log = tmp_path / "slow.py", tmp_path / "log"
    step.write_text(SLOW)
    tiny.recipe.write_text(
        re.sub(r"  smr: .*", f"  smr: {{op: {step}, inputs: [soc, mutr], log: {log}}}", tiny.recipe.read_text())
    )
    command = [sys.executable, str(ROOT / "run_ensemble.py"), "ablate", *tiny.arguments, "output=smr"]
    command += ["search.smr.level=[0.0,1.0]", "ablate.budget=14", "ablate.resamples=200"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(log.read_text().split("\n") if log.exists() else []) < 24 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = log.read_text().splitlines()
    assert 20 < len(before) < 60, "killed in the middle"
    assert run_ensemble.main(command[2:]) == 0
    after = log.read_text().splitlines()
    assert len(after) - len(set(after)) <= 8, "only the settings of the clip that was interrupted are computed again"
    resumed = {name: (tiny.out / f"ablation.{name}").read_bytes() for name in ("csv", "md", "tex")}
    fresh = tmp_path / "fresh"
    assert run_ensemble.main([*command[2:], f"out={fresh}"]) == 0
    assert {name: (fresh / f"ablation.{name}").read_bytes() for name in resumed} == resumed
