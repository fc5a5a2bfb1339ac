"""`python -m benchmarks.gpu` on the CPU in tiny sizes, so that no silly reason makes it fail when a GPU is there."""

import json
import sys

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import engines, segmenting, sharing, tracking, training
from benchmarks.gpu.machine import Machine
from benchmarks.gpu.rows import Rows, table
from benchmarks.gpu.sections import SECTIONS, command, supervise
from rvos_ensemble.propagators.networks.variants import VARIANTS

CPU = Machine("cpu", rehearse=True)


@pytest.mark.parametrize(
    "work",
    [
        lambda rows: tracking.aot(rows, CPU),
        lambda rows: tracking.others(rows, CPU),
        lambda rows: segmenting.models(rows, CPU),
        lambda rows: training.steps(rows, CPU, ("aot", "judge")),
        lambda rows: (engines.compiled(rows, CPU), engines.official(rows, CPU, None)),
    ],
    ids=["aot", "others", "models", "training", "engines"],
)
def test_a_section_on_the_cpu(work):
    rows = Rows()
    work(rows)
    assert rows.rows and not [row for row in rows.rows if "failed" in row], table(rows.rows)


def test_masks_are_split_when_memory_is_short():
    rows = Rows()
    sharing.memory(rows, CPU)
    assert rows.rows[0]["sequences together"] == "3" and rows.rows[0]["IoU with all at once"] == 1


def test_every_variant_is_measured():
    assert {*tracking.TRAINED, *tracking.PUBLISHED} == set(VARIANTS)


def test_other_masks_are_a_failure(monkeypatch):
    monkeypatch.setattr(tracking, "mean_iou", lambda *_: 0.4)
    monkeypatch.setattr(tracking, "speeds", lambda *_: {})
    rows = Rows()
    tracking.show(rows, CPU, "aot_nano")
    assert [row["failed"] for row in rows.rows] == ["IoU with the CPU below 0.99"]


def test_a_section_that_fails_or_hangs_costs_its_own_rows_only(tmp_path, capsys):
    codes = {
        "aot": "rows.add('x', speed=1.5); time.sleep(60)",
        "models": "rows.add('y', failed='other masks')",
        "others": "import os; os.abort()",
        "memory": "rows.add('z', note='fine')",
        "training": "pass",
    }

    def start(name, file):
        head = "import time; from pathlib import Path; from benchmarks.gpu.rows import Rows"
        return [sys.executable, "-c", f"{head}\nrows = Rows(Path({str(file)!r}))\n{codes[name]}"]

    results = supervise([*codes], tmp_path, start, left=100, budget=6)
    assert results["aot"]["rows"] == [{"case": "x", "speed": 1.5}] and results["aot"]["failed"] == ["stopped after 6 s"]
    assert results["models"]["failed"] == ["y: other masks"] and "exit code -6" in results["others"]["failed"][0]
    assert results["memory"]["failed"] == [] and results["training"]["failed"] == ["it measured nothing"]
    page = gpu.page({"gpu": "H200"}, results)
    assert "| x | 1.5 |" in page and "- stopped after 6 s" in page and page.count("###") == 5
    late = supervise(["memory"], tmp_path, start, left=0)
    assert late["memory"]["failed"] == ["not started: no time was left"]


def test_the_budgets_fit_into_the_lease():
    assert sum(section.budget for section in SECTIONS.values()) < 500 and gpu.SECONDS < 480
    words = command(True, None)("aot", "file")
    assert words[1:] == ["-m", "benchmarks.gpu", "--section", "aot", "--rows", "file", "--rehearse"]


def test_without_a_gpu_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path)]) == 2 and "--rehearse" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_command(tmp_path):
    assert gpu.main(["--out", str(tmp_path), "--rehearse"]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert set(found) == set(SECTIONS) and all(section["rows"] for section in found.values())
