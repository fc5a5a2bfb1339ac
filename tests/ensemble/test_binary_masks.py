"""`evaluate` on masks of one object: 0/255 and 0/1 are distinguished, and neither scores 0 without a message."""

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import FRAMES, make_tiny, save
from PIL import Image

import run_ensemble

SEMI, UNSUP = "protocol=davis2017_semi", "protocol=davis2017_unsup"


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """The folders `one` and `full`: the same five masks as 0/1 and as 0/255."""
    root = tmp_path_factory.mktemp("masks")
    for name, value in {"one": 1, "full": 255}.items():
        for t in range(5):
            mask = np.zeros((40, 60), np.uint8)
            mask[5:20, 5 + t : 30 + t] = value
            save(mask, root / name / "v" / f"{t:05d}.png")
    return root


def evaluate(root, gt, pred, *options) -> int:
    return run_ensemble.main(["evaluate", f"gt={root / gt}", f"pred={root / pred}", f"out={root}/out", *options])


def j_mean(root) -> float:
    return pd.read_csv(root / "out" / "metrics.csv")["J-Mean"].mean()


@pytest.mark.parametrize("options", [[SEMI], [SEMI, "unknown_ids=ignore"], [SEMI, "gaps=count"], [UNSUP]])
def test_a_binary_ground_truth_is_recognised(masks, options, capsys):
    assert evaluate(masks, "full", "one", *options) == 2
    told = capsys.readouterr().err
    assert "full/v/00000.png: the ground truth looks binary (0/255)" in told and "void=object" in told
    assert "nothing" not in told


@pytest.mark.parametrize("pair", [("one", "full"), ("full", "one")])
@pytest.mark.parametrize("ignore", [[], ["unknown_ids=ignore"]])
def test_masks_of_different_values_are_refused(masks, pair, ignore, capsys):
    """They were compared as two objects, and with unknown_ids=ignore scored zero."""
    assert evaluate(masks, *pair, SEMI, "void=object", *ignore) == 2
    told = capsys.readouterr().err
    ours, theirs = ("0/255", "0/1") if pair[1] == "full" else ("0/1", "0/255")
    assert f"a mask of {ours}, but the ground truth is one of {theirs}" in told and "assignment=hungarian" in told


@pytest.mark.parametrize("pair", [("one", "full"), ("full", "one"), ("full", "full")])
@pytest.mark.parametrize("options", [[SEMI, "assignment=hungarian"], [UNSUP]])
def test_what_the_messages_advise_scores_them(masks, pair, options):
    assert evaluate(masks, *pair, *options, "void=object") == 0
    assert j_mean(masks) == 1


def test_numbers_that_are_no_masks_are_still_refused(masks, tmp_path, capsys):
    for t in range(5):
        labels = np.array(Image.open(masks / "full" / "v" / f"{t:05d}.png"))
        labels[-5:] = 100
        save(labels, tmp_path / "many" / "v" / f"{t:05d}.png")
    assert (
        run_ensemble.main(
            [
                "evaluate",
                f"gt={masks / 'full'}",
                f"pred={tmp_path / 'many'}",
                f"out={tmp_path}/out",
                UNSUP,
                "void=object",
            ]
        )
        == 2
    )
    assert "proposal 255, expected numbers up to 20" in capsys.readouterr().err


def test_void_alone_in_one_frame_is_not_binary(masks, tmp_path, capsys):
    """A ground truth with an object has void pixels as ever."""
    for t in range(5):
        labels = np.array(Image.open(masks / "one" / "v" / f"{t:05d}.png"))
        if t == 2:
            labels[labels == 1] = 255
        save(labels, tmp_path / "void" / "v" / f"{t:05d}.png")
    assert evaluate(tmp_path, "void", masks / "one", SEMI) == 0


def test_masks_of_expressions_may_be_either(tmp_path):
    tiny = make_tiny(tmp_path, clips=("a",))
    scores = []
    for value in (255, 1):
        for e in "012":
            for frame in FRAMES:
                file = tiny.mask_file("soc", "a", e, frame)
                save((np.array(Image.open(file)) > 0).astype(np.uint8) * np.uint8(value), file)
        assert evaluate(tmp_path, "data", "data/predictions/soc", "protocol=ref_youtube_vos") == 0
        scores.append(j_mean(tmp_path))
    assert scores[0] == scores[1] > 0.5
