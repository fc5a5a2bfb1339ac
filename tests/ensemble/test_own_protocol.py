"""The protocol of docs/evaluation.md in a file of the user: any ground truth, options, and its error messages."""

import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.tiny import T, make_tiny
from PIL import Image

import run_ensemble
from rvos_ensemble.adapters.core.component import find, make
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.commands.evaluate import GROUP
from rvos_ensemble.ensemble.metrics import protocols

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
PIXELS = re.search(r"^```python\n(# pixels\.py\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def own(tmp_path):
    """A folder with `mine/pixels.py`, `gt` and `pred`: two expressions of a video, three of another."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pixels.py").write_text(PIXELS)
    random = np.random.default_rng(0)
    for side in ("gt", "pred"):
        for unit in ("a/0", "a/1", "b/0", "b/1", "b/2"):
            for t in range(4):
                mask = random.random((9, 13)) < (0.3 if t else 0)
                file = tmp_path / side / unit / f"{t:05d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(file)
    return tmp_path


def evaluate(folder, *arguments):
    given = [f"protocol={folder / 'mine' / 'pixels.py'}", f"gt={folder / 'gt'}", f"pred={folder / 'pred'}"]
    return run_ensemble.main(["evaluate", *given, f"out={folder / 'out'}", *arguments])


def masks(folder, unit):
    return [np.array(Image.open(file)) > 0 for file in sorted((folder / unit).iterdir())]


@pytest.mark.parametrize("workers", [1, 2])
def test_ten_lines_are_a_protocol(own, capsys, workers):
    """Neither this process nor its workers can import the file by name."""
    assert evaluate(own, f"workers={workers}") == 0
    rows = pd.read_csv(own / "out" / "metrics.csv", dtype={"expression": str})
    assert list(rows) == ["video", "expression", "frames", "accuracy", "detected"]
    assert [f"{r.video}/{r.expression}" for r in rows.itertuples()] == ["a/0", "a/1", "b/0", "b/1", "b/2"]
    for row in rows.itertuples():
        unit = f"{row.video}/{row.expression}"
        pairs = zip(masks(own / "pred", unit), masks(own / "gt", unit), strict=True)
        assert row.accuracy == pytest.approx(np.mean([np.mean(p == g) for p, g in pairs]), abs=1e-12)
        assert (row.detected, row.frames) == (1, 4)
    summary = json.loads((own / "out" / "metrics.json").read_text())["summary"]
    assert summary == {"accuracy": pytest.approx(rows["accuracy"].mean()), "detected": 1.0}
    assert f"{100 * rows['accuracy'].mean():.2f}" in capsys.readouterr().out


def test_the_ground_truth_may_be_a_data_set(own, tmp_path):
    """`ref_youtube_vos` reads the label maps and the objects of the expressions."""
    tiny = make_tiny(tmp_path)
    pred = tiny.root / "predictions" / "soc"
    assert evaluate(own, "dataset=ref_youtube_vos", "split=valid", f"gt={tiny.root}", f"pred={pred}") == 0
    rows = pd.read_csv(own / "out" / "metrics.csv")
    assert len(rows) == 9 and (rows["frames"] == T).all()
    assert (abs(rows["accuracy"] - 0.97) < 0.01).all(), "the predictions are the truth with 3 % noise"


def test_predictions_may_be_a_zip(own):
    assert evaluate(own) == 0
    expected = (own / "out" / "metrics.csv").read_bytes()
    with zipfile.ZipFile(own / "submission.zip", "w") as archive:
        for file in sorted((own / "pred").rglob("*.png")):
            archive.write(file, f"Annotations/{file.relative_to(own / 'pred')}")
    assert evaluate(own, f"pred={own / 'submission.zip'}") == 0
    assert (own / "out" / "metrics.csv").read_bytes() == expected


def test_options_of_its_own(own):
    """With or without those of `MaskProtocol`."""
    text = PIXELS.replace("    def score", '    defaults = {DEFAULTS"least": 0.5}\n\n    def score')
    text = text.replace("return {", 'return {"least": self.settings.least, ')
    for defaults in ("", "**rv.MaskProtocol.defaults, "):
        (own / "mine" / "pixels.py").write_text(text.replace("DEFAULTS", defaults))
        assert evaluate(own, "least=0.25") == 0
        assert json.loads((own / "out" / "metrics.json").read_text())["summary"]["least"] == 0.25


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("return {'accuracy': prediction[99, 0]}", "pixels.py, line 9: IndexError: index 99 is out of bounds"),
        ("return 0.5", "protocol pixels: `score` returned 0.5, expected {measure: number}"),
        ("return {}", "protocol pixels: `score` returned {}, expected {measure: number}"),
        ("return {'iou': 'high'}", "`score` returned {'iou': 'high'}, expected {measure: number}"),
        ("return {'accuracy' if truth.any() else 'empty': 1.0}", "returned different measures for different frames"),
    ],
)
def test_an_error_in_score_is_one_sentence(own, capsys, line, message):
    text = PIXELS.replace("detected = float(prediction.any() == truth.any())", line)
    (own / "mine" / "pixels.py").write_text(text)
    assert evaluate(own) == 2
    assert message in capsys.readouterr().err and not (own / "out").exists()


def test_frames_with_nan_do_not_count(own):
    line = "return {'recall': (prediction & truth).sum() / truth.sum() if truth.any() else float('nan')}"
    (own / "mine" / "pixels.py").write_text(PIXELS.replace("detected = float(prediction.any() == truth.any())", line))
    assert evaluate(own) == 0
    rows = pd.read_csv(own / "out" / "metrics.csv")
    pairs = list(zip(masks(own / "pred", "a/0"), masks(own / "gt", "a/0"), strict=True))
    assert not pairs[0][1].any()
    assert rows["recall"][0] == pytest.approx(np.mean([(p & g).sum() / g.sum() for p, g in pairs[1:]]))


def test_all_missing_masks_are_reported_together(own, capsys):
    os.remove(own / "pred" / "a" / "0" / "00002.png")
    os.remove(own / "pred" / "b" / "2" / "00000.png")
    assert evaluate(own) == 2
    err = capsys.readouterr().err
    assert f"{own / 'pred' / 'a' / '0'}: 1 of 4 frames are missing: 00002.png" in err
    assert f"{own / 'pred' / 'b' / '2'}: 1 of 4 frames are missing: 00000.png" in err


def test_sizes_and_values_are_checked(own, capsys):
    Image.fromarray(np.zeros((9, 14), np.uint8)).save(own / "pred" / "a" / "0" / "00001.png")
    Image.fromarray(np.full((9, 13), 77, np.uint8)).save(own / "pred" / "b" / "0" / "00001.png")
    assert evaluate(own, "workers=1") == 2
    err = capsys.readouterr().err
    assert "00001.png: 9x14 (HxW), expected the ground truth's 9x13" in err
    assert "00001.png: values 77, expected a mask of 0/255 or 0/1" in err


def test_a_ground_truth_that_needs_a_data_set(own, tmp_path, capsys):
    tiny = make_tiny(tmp_path)
    assert evaluate(own, f"gt={tiny.root / 'valid' / 'Annotations'}") == 2
    assert "no masks VIDEO/EXPRESSION/FRAME.png, given as `gt`" in capsys.readouterr().err
    assert evaluate(own, f"gt={tiny.root}", "dataset=ref_youtube") == 2
    assert "no dataset is called 'ref_youtube'" in capsys.readouterr().err


def test_a_protocol_may_also_compute_everything_itself(own):
    """As the built-in ones do: `evaluate` from paths to a `Result`."""
    path = own / "mine" / "count.py"
    path.write_text(
        "import pandas as pd\n"
        "from rvos_ensemble.ensemble.metrics.protocols import Protocol, Result\n"
        "class Count(Protocol):\n"
        "    '''Counts files.'''\n"
        "    def evaluate(self, gt, pred, workers=0):\n"
        "        count = len(list(pred.rglob('*.png')))\n"
        "        return Result(pd.DataFrame({'files': [count]}), {'files': count})\n"
    )
    protocol = make(find(str(path), protocols.Protocol, protocols, GROUP), {})
    assert protocol.evaluate(own / "gt", own / "pred").summary == {"files": 20}
    path.write_text(path.read_text().replace("(Protocol)", ""))
    with pytest.raises(InputError, match=r"count\.py: expected one class that derives from Protocol"):
        find(str(path), protocols.Protocol, protocols, GROUP)
