"""The stages that train the small networks from scratch: commands and cards, their order, and after a failure."""

import shlex
from pathlib import Path

import pytest

from benchmarks import train_nano
from benchmarks.train_nano import STAGES, TrainingStage, needed
from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.ensemble.commands import train

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(ROOT.glob("*/weights/*.safetensors"))


def test_all_shipped_weights_have_a_stage():
    real = {path.stem for path in SHIPPED if path.stem.endswith("_real")}
    assert {path.stem for path in SHIPPED} - real == {name for name in STAGES if "nano" in name}
    assert real and real <= set(STAGES)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_cards_show_the_commands_that_made_the_weights(path):
    card = path.with_suffix(".md").read_text()
    assert [name for name in needed([path.stem]) if f"`{STAGES[name].command()}`" not in card] == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_stages_make_the_networks_that_are_shipped(path):
    request = train.parse([word for word in STAGES[path.stem].arguments.split() if "REAL/" not in word])
    module = request.trainer
    settings = merge_settings({**loop.DEFAULTS, **module.DEFAULTS}, request.overrides, path.stem)
    if "validate_clips" in settings:
        settings["validate_clips"] = 0
    made = train.make_task(request, {k: settings[k] for k in module.DEFAULTS}, None)
    state = made.checkpoint(made.network.state_dict())
    shapes = {k: tuple(v.shape) for k, v in state.get("state_dict", state.get("model", state)).items()}
    held = {k: tuple(v.shape) for k, v in read_weights(str(path)).items()}
    assert {k: shapes.get(k) for k in held} == held


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_trainings_that_exist(name):
    request = train.parse(shlex.split(STAGES[name].command())[3:])
    settings = merge_settings({**loop.DEFAULTS, **request.trainer.DEFAULTS}, request.overrides, name)
    assert {*STAGES[name].after} <= {k for k, v in settings.items() if str(v).endswith("/weights.pth")}
    assert "seed=" in STAGES[name].arguments or settings["seed"] == 0


def test_earlier_stages_come_first():
    order = needed(["mutr_nano", "soc_nano", "uninext_nano"])
    assert order[:5] == ["pretrained_resnet", "soc_frames", "soc_clips", "mutr_first", "mutr_nano"]
    assert order[5:8] == ["soc_video", "soc_first", "soc_nano"] and order[-2:] == ["uninext_first", "uninext_nano"]
    assert len(set(order)) == len(order) == 12


@pytest.fixture
def stages(monkeypatch):
    few = "steps=1 batch=1 validate_clips=1"
    made = {
        "pretrained": TrainingStage("backbone=resnet_nano steps=1 batch=1"),
        "soc_nano": TrainingStage(f"segmenter=soc frames=1 expressions=1 {few}", {"pretrained": "pretrained"}),
        "wrong": TrainingStage("backbone=resnet_nano stepps=1"),
        "after_it": TrainingStage(f"segmenter=soc {few}", {"pretrained": "wrong"}),
    }
    monkeypatch.setattr(train_nano, "STAGES", made)


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["train_nano", *map(str, arguments)])
    train_nano.main()


@pytest.mark.slow
def test_stages_run_one_after_the_other_and_once(stages, monkeypatch, tmp_path, capsys):
    run(monkeypatch, tmp_path, "soc_nano", "--at-once", 2)
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "pretrained",
        "pretrained",
        *["soc_nano"] * 2,
    ]
    assert "backbone.0.body.conv1.weight" in read_weights(tmp_path / "soc_nano.safetensors")
    card = (tmp_path / "soc_nano.md").read_text()
    assert [name for name in ("pretrained", "soc_nano") if f"`{train_nano.STAGES[name].command()}`: " not in card] == []
    assert "Shape " in card and "J&F " in card and "Time | 0 + 0 = 0 minutes" in card
    before = (tmp_path / "soc_nano" / "last.pth").stat().st_mtime_ns
    run(monkeypatch, tmp_path, "soc_nano")
    assert (tmp_path / "soc_nano" / "last.pth").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_stage_that_fails_stops_those_that_need_it(stages, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"wrong failed \(exit code 2\), see .*wrong\.log"):
        run(monkeypatch, tmp_path, "after_it", "pretrained", "--at-once", 1)
    assert (tmp_path / "pretrained" / "weights.pth").is_file() and not (tmp_path / "after_it").exists()
    assert "did you mean `steps`" in (tmp_path / "wrong.log").read_text()
