"""Expressions that refer to nothing (MeViSv2), from the truth through the protocol to every table of a run."""

import json
import math
import shutil
import zipfile
from itertools import product

import numpy as np
import pandas as pd
import pytest
from helpers.reference import default_radius, j_and_f
from helpers.tiny import FRAMES, MODELS, H, W
from helpers.tiny_mevis import EXPRESSIONS, make_tiny_mevis, objects
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.ensemble.ablation.rows import row
from rvos_ensemble.ensemble.ablation.variants import Variant
from rvos_ensemble.ensemble.api.run_result import RunResult
from rvos_ensemble.ensemble.metrics.existence import MEASURES, Existence, ExpressionScore, existence
from rvos_ensemble.ensemble.metrics.gains import difference_of_final
from rvos_ensemble.ensemble.metrics.protocols.mevis import MevisProtocol

CLIPS = ("a", "b", "c")
RADIUS = default_radius(H, W)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run on the tiny MeViSv2."""
    tiny = make_tiny_mevis(tmp_path_factory.mktemp("mevis"))
    assert run_ensemble.main(tiny.arguments) == 0
    return tiny


@pytest.fixture
def pred(done, tmp_path):
    """A copy of the masks of `mutr`, which answers "nothing" where that is right."""
    shutil.copytree(done.root / "predictions" / "mutr", tmp_path / "pred")
    return tmp_path / "pred"


def evaluate(done, pred, **options):
    return MevisProtocol(**options).evaluate(done.root / "valid_u", pred, 1)


def masks(folder, clip, e):
    return np.stack([np.array(Image.open(folder / clip / e / f"{frame}.png")) > 0 for frame in FRAMES])


def naive(folder, expressions=EXPRESSIONS):
    """{measure: value}, written out: J&F over these expressions, N-acc, T-acc and Final over all."""
    jf, right = [], {True: [], False: []}
    for number, clip in enumerate(CLIPS):
        for e, of in EXPRESSIONS.items():
            predicted, truth = masks(folder, clip, e), np.isin(objects(number), of)
            if e in expressions:
                jf.append(np.mean([j_and_f(p, g, RADIUS) for p, g in zip(predicted, truth, strict=True)]))
            right[not of].append(predicted.any() == bool(of))
    n, t = np.mean(right[True]), np.mean(right[False])
    return {"J&F-Mean": np.mean(jf), "N-acc": n, "T-acc": t, "Final": (np.mean(jf) + n + t) / 3}


# The measures


def test_the_definition_of_gres():
    """Sums of the four kinds of answers, written out."""
    for truth in product([True, False], repeat=4):
        for answer in product([True, False, None], repeat=4):
            kinds = list(zip(truth, answer, strict=True))
            tp, fn = kinds.count((True, True)), kinds.count((True, False)) + kinds.count((True, None))
            tn, fp = kinds.count((False, False)), kinds.count((False, True)) + kinds.count((False, None))
            measured = existence([ExpressionScore(0.5, 0.5, *kind) for kind in kinds], jf=0.25)
            if not tp + fn:
                assert measured is None
                continue
            n, t = tp / (tp + fn), tn / (tn + fp) if tn + fp else math.nan
            assert measured == pytest.approx(Existence(n, t, (0.25 + n + t) / 3), nan_ok=True)


def test_an_empty_anno_id_was_dropped_and_counts_now(done, tmp_path):
    """Before: such expressions did not count, so that masks for what does not exist cost nothing."""
    targets = [e for e, of in EXPRESSIONS.items() if of]
    old, new = {}, {}
    for source in ("mutr", "wrong"):
        folder = done.root / "predictions" / "mutr"
        if source == "wrong":  # the same masks, and those of expression 0 where there is nothing
            shutil.copytree(folder, tmp_path / "wrong")
            folder = tmp_path / "wrong"
            for clip in CLIPS:
                shutil.copytree(folder / clip / "0", folder / clip / "3", dirs_exist_ok=True)
        old[source] = naive(folder, targets)["J&F-Mean"]
        new[source] = evaluate(done, folder).summary
        assert {k: new[source][k] for k in naive(folder)} == pytest.approx(naive(folder), abs=1e-12)
        assert evaluate(done, folder, jf_over="targets").summary["J&F-Mean"] == pytest.approx(old[source], abs=1e-12)
    assert old["mutr"] == old["wrong"] == pytest.approx(0.5916, abs=1e-4), "the old rule saw no difference"
    assert new["mutr"]["J&F-Mean"] == pytest.approx((3 * old["mutr"] + 1) / 4, abs=1e-12)
    assert new["wrong"]["J&F-Mean"] == pytest.approx(3 * old["mutr"] / 4, abs=1e-12)
    assert [round(100 * new[s]["Final"], 1) for s in ("mutr", "wrong")] == [89.8, 48.1]
    assert (new["mutr"]["N-acc"], new["wrong"]["N-acc"]) == (1, 0) and new["wrong"]["T-acc"] == 1


def test_masks_of_the_whole_frame_where_there_is_nothing(done, pred):
    """The quirk of the official F stays: neither side has a boundary, so F is 1. J is 0, and the answer is wrong."""
    for frame in FRAMES:
        (pred / "a" / "3" / f"{frame}.png").write_bytes(png.encode(np.ones((H, W), bool)))
    result = evaluate(done, pred)
    rows = result.rows.set_index(["video", "expression"])
    assert rows.loc[("a", "3"), ["J-Mean", "F-Mean"]].tolist() == [0, 1] and not rows.loc[("a", "3"), "empty"]
    assert rows.loc[("b", "3"), ["J-Mean", "F-Mean"]].tolist() == [1, 1] and rows.loc[("b", "3"), "empty"]
    assert result.summary["N-acc"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("gone", ["folder", "one frame"])
def test_missing_masks_are_not_the_answer_nothing(done, pred, gone):
    folders = [pred / "a" / "3", pred / "b" / "1"]  # one refers to nothing, one does not
    for folder in folders:
        shutil.rmtree(folder) if gone == "folder" else (folder / f"{FRAMES[2]}.png").unlink()
    zero, empty = evaluate(done, pred), evaluate(done, pred, missing="empty")
    with pytest.raises(InputError, match="missing=empty takes them for empty masks"):
        evaluate(done, pred, missing="error")
    t = 8 / 9 if gone == "folder" else 1  # the frames that are there show the object
    assert [zero.summary[m] for m in MEASURES[:2]] == pytest.approx([2 / 3, t])
    assert [empty.summary[m] for m in MEASURES[:2]] == pytest.approx([1, t])
    rows = zero.rows.set_index(["video", "expression"])
    assert rows.loc[("a", "3"), "empty"] is None and rows.loc[("a", "3"), "J-Mean"] == (0 if gone == "folder" else 0.8)
    assert any("1 of 3 expressions that refer to nothing have no (or too few) masks" in n for n in zero.notes)
    assert not any("refer to nothing" in n for n in empty.notes)


def test_evaluate_says_it_on_the_terminal_and_in_its_files(done, pred, tmp_path, capsys):
    arguments = [f"gt={done.root}", f"pred={pred}", "protocol=mevis", "version=2", f"out={tmp_path / 'out'}"]
    assert run_ensemble.main(["evaluate", *arguments]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("N-acc", "T-acc", "Final", "no_target", "empty"))
    summary = json.loads((tmp_path / "out" / "metrics.json").read_text())["summary"]
    assert list(summary)[-3:] == [*MEASURES] and summary["Final"] == pytest.approx(naive(pred)["Final"])
    rows = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert rows[rows["no_target"]]["empty"].all() and len(rows[rows["no_target"]]) == 3


def without_nothing(tiny):
    """Removes the expressions that refer to nothing, so that the data are like MeViS."""
    file = tiny.root / "valid_u/meta_expressions_v2.json"
    content = json.loads(file.read_text())
    for video in content["videos"].values():
        del video["expressions"]["3"]
    file.write_text(json.dumps(content))
    for name, clip in product(MODELS, content["videos"]):
        shutil.rmtree(tiny.root / "predictions" / name / clip / "3")


def test_without_such_expressions_nothing_changes(tmp_path, capsys):
    tiny = make_tiny_mevis(tmp_path, clips=("a", "b"))
    without_nothing(tiny)
    assert run_ensemble.main(tiny.arguments) == 0
    assert run_ensemble.main(["ablate", *tiny.arguments, "ablate.smr.threshold=[1,3]"]) == 0
    printed = capsys.readouterr().out
    result = evaluate(tiny, tiny.out / "Annotations")
    content = json.loads((tiny.out / "metrics.json").read_text())
    page = (tiny.out / "report.html").read_text()
    assert {*content["steps"]["smr"]} == {"J", "F", "J&F"} and '"measures":["J","F","J&F"]' in page
    assert list(RunResult(tiny.out).scores.columns) == ["clip", "expression", "text", "step", "J", "F", "J&F"]
    assert not {"no_target", "empty"} & {*result.rows} and not {*MEASURES} & {*result.summary}
    assert "Final" not in printed and "Final" not in (tiny.out / "ablation.csv").read_text()
    assert "highest J&F of 3 settings" in printed


# A run


def test_a_run_measures_what_evaluate_measures(done, capsys):
    result = RunResult(done.out)
    for name in MODELS:
        expected = naive(done.root / "predictions" / name)
        found = result.metrics.loc[name].rename({"J&F": "J&F-Mean"})
        assert {k: found[k] for k in expected} == pytest.approx(expected, abs=1e-12), name
    for source in (done.out / "Annotations", done.out / "submission.zip"):
        summary = evaluate(done, source).summary
        own = result.metrics.loc["smr", [*MEASURES]].tolist()
        assert [summary[m] for m in MEASURES] == pytest.approx(own, abs=1e-12)
    scores = result.scores
    assert scores["no_target"].sum() == 3 * 5 and scores["no_target"].dtype == "boolean"
    soc = scores[(scores["step"] == "soc") & scores["no_target"]]
    assert not soc["empty"].any() and scores[(scores["step"] == "smr") & scores["no_target"]]["empty"].all()
    assert run_ensemble.main(done.arguments) == 0
    printed = capsys.readouterr().out
    assert "    J     F   J&F N-acc T-acc Final" in printed and "3 reused" in printed


def test_the_zip_has_a_black_mask_for_every_frame_of_the_answer_nothing(done):
    with zipfile.ZipFile(done.out / "submission.zip") as archive:
        for clip, frame in product(CLIPS, FRAMES):
            mask = png.decode(archive.read(f"{clip}/3/{frame}.png"), frame)
            assert mask.values.shape == (H, W) and not mask.values.any()


def test_an_expression_without_annotation_is_not_scored(tmp_path):
    tiny = make_tiny_mevis(tmp_path, clips=("a", "b"))
    file = tiny.root / "valid_u/meta_expressions_v2.json"
    content = json.loads(file.read_text())
    del content["videos"]["a"]["expressions"]["3"]["anno_id"]
    file.write_text(json.dumps(content))
    assert run_ensemble.main([*tiny.arguments, "report=false"]) == 0
    scores = RunResult(tiny.out).scores
    assert scores[scores["no_target"]]["clip"].unique().tolist() == ["b"]
    assert len(evaluate(tiny, tiny.out / "Annotations").rows) == 7


# Ablations


def test_a_sweep_gives_the_numbers_of_runs(done, tmp_path, capsys):
    """Shares are counts of the 3 votes; from 8 thresholds on, they are scored in one pass over the votes."""
    few, many = [1, 2, 3], [round(0.1 * k, 1) for k in range(1, 10)]
    assert run_ensemble.main(["ablate", *done.arguments, f"ablate.smr.threshold={many}"]) == 0
    shares = pd.read_csv(done.out / "ablation.csv").set_index("label")
    capsys.readouterr()
    assert run_ensemble.main(["ablate", *done.arguments, f"ablate.smr.threshold={few}"]) == 0
    table, printed = pd.read_csv(done.out / "ablation.csv").set_index("label"), capsys.readouterr().out
    out = tmp_path / "run"
    assert run_ensemble.main([f"recipe={done.recipe}", f"out={out}", "steps.smr.threshold=3", "report=false"]) == 0
    expected = RunResult(out).metrics.loc["smr"]
    assert table.loc["threshold=3", expected.index].tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    for share in many:
        same = table.loc[f"threshold={math.ceil(share * 3)}"]
        assert shares.loc[f"threshold={share}", expected.index].tolist() == same[expected.index].tolist()
    first = table.loc["the recipe as it is"]
    assert (table["final_delta"] - (table["Final"] - first["Final"])).abs().max() < 1e-12
    assert (table["delta"] - (table["J&F"] - first["J&F"])).abs().max() < 1e-12
    assert "diff: of Final" in printed and "highest Final of 4 settings" in printed


def test_the_interval_of_final_is_that_of_a_naive_bootstrap():
    random = np.random.default_rng(0)

    def scores(shift, right):
        return {
            str(c): {
                str(e): ExpressionScore(x + shift, x, no_target := e == 0, no_target == (random.random() < right))
                for e, x in enumerate(random.random(4))
            }
            for c in range(12)
        }

    def final(pool):
        n, t = ([s.is_right for s in pool if s.no_target == kind] for kind in (True, False))
        return (np.mean([(s.J + s.F) / 2 for s in pool]) + np.mean(n) + np.mean(t)) / 3

    ours, other = scores(0.2, 0.9), scores(0.0, 0.6)
    gain = difference_of_final(ours, other, seed=1, resamples=4000)
    every = [[s for of in each.values() for s in of.values()] for each in (ours, other)]
    assert gain.delta == pytest.approx(final(every[0]) - final(every[1]), abs=1e-12)
    draws = []
    for _ in range(2000):
        names = random.choice(list(ours), len(ours))
        drawn = [[s for n in names for s in each[n].values()] for each in (ours, other)]
        draws.append(final(drawn[0]) - final(drawn[1]))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (gain.low, gain.high) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_rows_are_compared_by_final():
    def made(jf, right):
        return {c: {"0": ExpressionScore(1, 1, True, right), "1": ExpressionScore(jf, jf, False, False)} for c in "abc"}

    reference = made(0.8, False)
    rows = [row(Variant(n, {}, "s"), s, reference, 0, 100) for n, s in (("a", reference), ("b", made(0.5, True)))]
    assert rows[1].JF < rows[0].JF and rows[1].value > rows[0].value
    assert rows[1].jf_gain.delta == pytest.approx(-0.15) and rows[1].gain.delta == pytest.approx((-0.15 + 1) / 3)
    assert rows[1].measure == "Final" and rows[1].gain.mark == ""


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([True, False, None])), min_size=1), st.floats(0, 1))
def test_the_measures_are_shares(answers, jf):
    measured = existence([ExpressionScore(0, 0, *answer) for answer in answers], jf)
    assert (measured is None) == (not any(no_target for no_target, _ in answers))
    assert measured is None or all(math.isnan(v) or 0 <= v <= 1 for v in measured)


def test_a_truth_that_does_not_say_whether_there_is_a_target_does_not_count():
    known = [ExpressionScore(1, 1, True, True), ExpressionScore(1, 1, False, False)]
    unknown = ExpressionScore(0.5, 0.5)
    assert existence([*known, unknown], 0.5) == existence(known, 0.5) == Existence(1, 1, 2.5 / 3)
    ours = {c: {"0": known[0], "1": known[1], "2": unknown} for c in "ab"}
    other = {c: of | {"0": known[0]._replace(empty=False), "2": unknown._replace(J=0.2)} for c, of in ours.items()}
    assert difference_of_final(ours, other, 0, 100).delta == pytest.approx((0.15 / 3 + 1) / 3)
