"""The command `train` with a family in a file outside the package: one file with a tiny network and its training."""

import json

import pytest
import torch

from run_ensemble import main
from rvos_ensemble.adapters.core.own_code import import_file

FAMILY = '''
"""A network that predicts whether a pixel belongs to any object, from its colour."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.core.settings import whole
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.samples.rendered import RenderedClips

DEFAULTS = {"data": "shapes", "hidden": whole(4, least=1), "steps": 6, "seed": 0}


class Colours(Family):
    kind = "segmenter"
    training = "my_family.py"  # the file itself

    def recognises(self, weights):
        return "colour.0.weight" in weights

    def build(self, weights, variant):
        return network(len(weights["colour.0.weight"]))


def network(hidden):
    return nn.ModuleDict({"colour": nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 1))})


class Task(TrainingTask):
    def __init__(self, settings, score):
        torch.manual_seed(settings["seed"])
        self.network, self.score = network(settings["hidden"]), score
        self.clips = RenderedClips(settings["seed"], 1, (48, 80))

    def samples(self):
        return self.clips

    def collate(self, samples):
        images = torch.from_numpy(np.stack([s.images[0] for s in samples])).float() / 255
        return {"images": images, "objects": torch.from_numpy(np.stack([s.ids[0] > 0 for s in samples])).float()}

    def losses(self, batch, step):
        logits = self.network["colour"](batch["images"])[..., 0]
        return {"entropy": F.binary_cross_entropy_with_logits(logits, batch["objects"])}

    def validate(self, network):
        batch = self.collate([self.clips[10**6]])
        mask = network["colour"](batch["images"])[..., 0] > 0
        return {"J&F": self.score(mask.numpy(), batch["objects"].bool().numpy())}


def make_task(name, settings, score):
    return Task(settings, score)
'''


@pytest.fixture
def family(tmp_path):
    path = tmp_path / "my_family.py"
    path.write_text(FAMILY)
    return path


def test_a_family_outside_the_package_is_trained_resumed_and_recognised(family, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["train", f"segmenter={family}", "hidden=5", "batch=2", "lr=1e-2", f"out={out}"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "training my_family (0.00 M parameters) on shapes" in captured.err and "J&F 0." in captured.out
    assert (out / "card.md").read_text().startswith("# my_family\n")
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [6]
    before = (out / "last.pth").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (out / "last.pth").stat().st_mtime_ns == before, "the run is complete"
    assert main([*arguments, "hidden=6"]) == 2
    assert "a run with hidden=5 (now 6)" in capsys.readouterr().err

    own = import_file(str(family), "family")[0].Colours()
    checkpoint = own.open(out / "weights.pth")
    assert checkpoint.parameters == 5 * 4 + 6
    assert torch.equal(checkpoint.network()["colour"][0].weight, checkpoint.weights["colour.0.weight"])


def test_settings_of_a_family_outside_the_package_are_checked(family, capsys):
    assert main(["train", f"segmenter={family}", "hiden=5"]) == 2
    assert "train segmenter=my_family: unknown key `hiden`, did you mean `hidden`?" in capsys.readouterr().err
    assert main(["train", f"segmenter={family}", "hidden=0"]) == 2
    assert "`hidden` is 0, expected a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "segmenter"', 'kind = "propagator"', "my_family.py: a family of kind 'propagator'; use `train propag"),
        ("def make_task(", "def task(", "my_family.py: no `make_task`; see docs/training.md"),
        ('training = "my_family.py"', "", "my_family: this network cannot be trained, its family names no `training`"),
        ("return Task(settings, score)", "return 1", "my_family.py: `make_task` returned 1, expected a TrainingTask"),
        ("return Task(settings, score)", "return 1 / 0", "line 56: ZeroDivisionError: division by zero; raised by its"),
        ('"data": "shapes"', '"data": {1}', "the default of setting `data` is {1}, expected"),
    ],
)
def test_what_is_wrong_with_a_family_is_named(family, capsys, old, new, message):
    assert old in FAMILY
    family.write_text(FAMILY.replace(old, new))
    assert main(["train", f"segmenter={family}"]) == 2
    assert message in capsys.readouterr().err


def test_the_command_lists_what_can_be_trained(capsys):
    assert main(["train"]) == 2
    message = capsys.readouterr().err
    for choice in ("propagator=aot|deaot", "segmenter=mutr|referformer|soc|uninext|urvos", "backbone=", "; grounding"):
        assert choice in message
    assert main(["train", "segmenter=aot"]) == 2
    assert "train: no segmenter 'aot'. Expected one of mutr, referformer" in capsys.readouterr().err
