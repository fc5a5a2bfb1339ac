"""The command `evaluate`: its arguments, its output, and masks in folders and zips."""

import json
import shutil
import zipfile

import pandas as pd
import pytest
from helpers.label_videos import davis_root, prediction, proposals, truth, write

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.commands import evaluate
from rvos_ensemble.ensemble.metrics.protocols.davis2017_semi import Davis2017SemiProtocol


@pytest.fixture
def masks(tmp_path):
    """Folder with `gt` and `pred`, two videos."""
    write(tmp_path / "gt", truth, ["plain", "odd"])
    write(tmp_path / "pred", prediction, ["plain", "odd"])
    return tmp_path


def arguments(folder, **more):
    given = {"gt": folder / "gt", "pred": folder / "pred", "protocol": "davis2017_semi", "out": folder / "out", **more}
    return ["evaluate", *(f"{key}={value}" for key, value in given.items())]


def zipped(folder, root="", extra=()):
    """A zip of a folder of videos under another root, with some more members."""
    path = folder.parent / "masks.zip"
    with zipfile.ZipFile(path, "w") as file:
        for png in sorted(folder.glob("*/*.png")):
            file.write(png, f"{root}{png.relative_to(folder)}")
        for name in extra:
            file.writestr(name, b"stray")
    return path


def snapshot(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


def test_scores_are_printed_and_written(masks, capsys):
    before = snapshot(masks / "gt") | snapshot(masks / "pred")
    assert run_ensemble.main(arguments(masks)) == 0
    expected = Davis2017SemiProtocol().evaluate(masks / "gt", masks / "pred", 1)
    printed = capsys.readouterr().out
    assert f"{100 * expected.summary['J&F-Mean']:.2f}" in printed and f"results: {masks / 'out'}" in printed
    rows = pd.read_csv(masks / "out" / "metrics.csv", dtype=str).astype(expected.rows.dtypes)
    pd.testing.assert_frame_equal(rows, expected.rows, check_exact=True)
    content = json.loads((masks / "out" / "metrics.json").read_text())
    assert content["summary"] == expected.summary
    assert content["protocol"] == "davis2017_semi" and content["options"]["first_last"] == "drop"
    assert snapshot(masks / "gt") | snapshot(masks / "pred") == before


def test_options_reach_the_protocol_with_their_types(masks):
    options = {"first_last": "keep", "empty_empty": 0, "legacy_decay": "true", "videos": "[odd]"}
    request = evaluate.parse(arguments(masks, **options)[1:])
    found = vars(request.protocol.settings)
    assert {key: found[key] for key in options} == {**options, "legacy_decay": True, "videos": ["odd"]}


def test_one_process_or_several_give_the_same(masks):
    """Three processes, of which one has nothing to do."""
    several = Davis2017SemiProtocol().evaluate(masks / "gt", masks / "pred", 3)
    alone = Davis2017SemiProtocol().evaluate(masks / "gt", masks / "pred", 1)
    pd.testing.assert_frame_equal(several.rows, alone.rows, check_exact=True)
    assert several.summary == alone.summary


def test_results_may_be_written_again(masks):
    assert run_ensemble.main(arguments(masks)) == run_ensemble.main(arguments(masks, first_last="keep")) == 0
    assert json.loads((masks / "out" / "metrics.json").read_text())["options"]["first_last"] == "keep"


@pytest.mark.parametrize("place", ["pred", "pred/plain", "pred/new/results", "gt"])
def test_results_are_never_written_among_masks(masks, capsys, place):
    assert run_ensemble.main(arguments(masks, out=masks / place)) == 2
    assert "where nothing is ever written; give another out=DIR" in capsys.readouterr().err
    assert not (masks / "pred" / "new").exists()


def test_results_are_never_written_into_the_folder_of_a_run(masks, capsys):
    """The folder of a run contains a metrics.json too."""
    (masks / "out").mkdir()
    (masks / "out" / "metrics.json").write_text('{"recipe": "stage2"}')
    assert run_ensemble.main(arguments(masks)) == 2
    assert "not the folder of an earlier evaluation" in capsys.readouterr().err
    assert (masks / "out" / "metrics.json").read_text() == '{"recipe": "stage2"}'


def test_nothing_is_written_when_something_is_wrong(masks, capsys):
    (masks / "pred" / "plain" / "00003.png").unlink()
    assert run_ensemble.main(arguments(masks)) == 2
    err = capsys.readouterr().err
    assert f"{masks / 'pred' / 'plain'}: 1 of 10 frames are missing: 00003.png" in err  # of those that count
    assert not (masks / "out").exists()


def test_missing_arguments_are_named(capsys):
    assert run_ensemble.main(["evaluate", "gt=nowhere"]) == 2
    err = capsys.readouterr().err
    assert "`pred` must be given" in err and "`protocol` must be given" in err and "davis2017_unsup" in err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"protocol": "davis"},
            "no protocol is called 'davis', did you mean `ref_davis17`? Available: a2d_sentences, davis2017_semi",
        ),
        ({"gt": "nowhere"}, "nowhere: no such file or folder, given as `gt`"),
        ({"pred": "nowhere.zip"}, "nowhere.zip: no such file or folder, given as `pred`"),
        ({"workers": "many"}, "`workers` is 'many', expected a whole number"),
        ({"viod": "ignore"}, "unknown key `viod`, did you mean `void`?"),
        ({"empty_empty": "0.5"}, "`empty_empty` is 0.5"),
    ],
)
def test_wrong_arguments_are_named(masks, capsys, wrong, message):
    assert run_ensemble.main(arguments(masks, **wrong)) == 2
    assert message in capsys.readouterr().err


def test_an_argument_without_a_key(capsys):
    assert run_ensemble.main(["evaluate", "some/folder"]) == 2
    assert "argument 'some/folder': expected key=value: evaluate gt=DIR" in capsys.readouterr().err


def test_list_names_the_protocols(capsys):
    assert run_ensemble.main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("davis2017_semi", "davis2017_unsup", "ref_davis17", "ref_youtube_vos", "mevis"):
        assert f"\n  {name} " in out


def test_many_rows_are_not_printed():
    rows = pd.DataFrame({"video": ["v"] * 100, "J-Mean": [0.5] * 100})
    text = evaluate.table(evaluate.Result(rows, {"J-Mean": 0.5}, tuple(f"note {i}" for i in range(30))))
    assert len(text.splitlines()) < 20 and "and 20 more notes in metrics.json" in text


def test_nan_is_null_in_json(masks):
    request = evaluate.parse(arguments(masks)[1:])
    evaluate.write(request, evaluate.Result(pd.DataFrame({"J": [0.5]}), {"J-Decay": float("nan")}))
    assert json.loads((masks / "out" / "metrics.json").read_text())["summary"] == {"J-Decay": None}


# ---------------------------------------------------------------------------------------------- folders and zips


@pytest.mark.parametrize("root", ["", "Annotations/", "results/", "my_results/Annotations/", "valid/Annotations/"])
def test_a_zip_may_have_any_root_folder(masks, root):
    expected = Davis2017SemiProtocol().evaluate(masks / "gt", masks / "pred", 1)
    found = Davis2017SemiProtocol().evaluate(masks / "gt", zipped(masks / "pred", root), 1)
    pd.testing.assert_frame_equal(found.rows, expected.rows, check_exact=True)


def test_stray_files_are_ignored_with_a_note(masks):
    """Files of file managers are ignored without a note."""
    expected = Davis2017SemiProtocol().evaluate(masks / "gt", masks / "pred", 1)
    junk = [".DS_Store", "__MACOSX/._plain", "__MACOSX/plain/._00000.png", "plain/.DS_Store", "plain/Thumbs.db"]
    found = Davis2017SemiProtocol().evaluate(masks / "gt", zipped(masks / "pred", extra=junk), 1)
    assert found.notes == () and found.rows.equals(expected.rows)
    for name in ("results.csv", "global_results-val.csv", "plain/notes.txt"):
        (masks / "pred" / name).write_text("stray")
    found = Davis2017SemiProtocol().evaluate(masks / "gt", masks / "pred", 1)
    assert found.notes == ("ignored: 2 files beside the videos of pred: global_results-val.csv, results.csv",)
    assert found.rows.equals(expected.rows)


def test_masks_in_two_places(masks):
    shutil.copytree(masks / "pred", masks / "both" / "Annotations")
    shutil.copytree(masks / "pred", masks / "both" / "valid")
    with pytest.raises(InputError, match=r"in several places: .*Annotations/ and .*valid/"):
        Davis2017SemiProtocol().evaluate(masks / "gt", masks / "both", 1)


def test_a_file_that_is_not_a_zip(masks):
    (masks / "masks.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match=r"masks.zip: cannot be read as a zip"):
        Davis2017SemiProtocol().evaluate(masks / "gt", masks / "masks.zip", 1)


def test_a_mask_twice_in_a_zip(masks):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zipped(masks / "pred", extra=["plain/00000.png"])
    with pytest.raises(InputError, match=r"plain/00000.png: twice in the zip"):
        Davis2017SemiProtocol().evaluate(masks / "gt", path, 1)


def test_the_ground_truth_may_be_a_zip_and_a_davis_root(masks, tmp_path):
    expected = Davis2017SemiProtocol().evaluate(masks / "gt", masks / "pred", 1)
    root = davis_root(tmp_path / "davis", ["odd", "plain"])
    assert Davis2017SemiProtocol().evaluate(root, masks / "pred", 1).rows.equals(expected.rows)
    assert Davis2017SemiProtocol().evaluate(zipped(masks / "gt"), masks / "pred", 1).summary == expected.summary


def test_a_ground_truth_without_masks(masks):
    (masks / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no video with PNG annotations, given as `gt`"):
        Davis2017SemiProtocol().evaluate(masks / "empty", masks / "pred", 1)


def test_unsupervised_from_the_command_line(masks, capsys):
    write(masks / "proposals", proposals, ["plain", "odd"])
    more = {"pred": masks / "proposals", "protocol": "davis2017_unsup", "videos": "plain", "workers": 1}
    assert run_ensemble.main(arguments(masks, **more)) == 0
    assert "proposal" in capsys.readouterr().out
    assert json.loads((masks / "out/metrics.json").read_text())["rows"] == 2
