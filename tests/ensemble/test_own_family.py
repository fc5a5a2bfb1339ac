"""Network families from a file outside the package: `weights` verifies and exports their files, adapters run them."""

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny import H, W, make_tiny
from safetensors.torch import load_file

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.registry import GROUP
from rvos_ensemble.ensemble.commands.families import families, find_family
from rvos_ensemble.ensemble.recipe.components import make_component

ROOT = Path(run_ensemble.__file__).parent
SIMPLE = '''
"""Brightness as a network: an adapter and its family in one file."""

from functools import cached_property

import numpy as np
import torch
from torch import nn

from rvos_ensemble.adapters import Adapter, MaskSequence
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.inference.logits import LogitMasks


class Network(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 4, 4)
        self.head = nn.Conv2d(channels, 1, 1)
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5), persistent=False)

    def forward(self, x):  # [T, 3, H, W] to [T, H / 4, W / 4]
        return self.head(self.stem(x - self.mean))[:, 0]


class Bright(Family):
    """Bright pixels."""

    def recognises(self, weights):
        return "stem.weight" in weights and "head.weight" in weights

    def build(self, weights, variant):
        return Network(len(weights["stem.weight"]))


class BrightAdapter(Adapter):
    """Bright pixels, by a network."""

    defaults = {"weights": "???"}
    family = Bright

    @cached_property
    def network(self):
        return self.family().open(self.settings.weights).network()

    @torch.no_grad()
    def predict(self, clip):
        frames = torch.stack([torch.from_numpy(clip.read(t)).movedim(2, 0) / 255 for t in range(len(clip))])
        logits = self.network(frames).numpy()
        scores = [float(x.max()) for x in logits]
        return {e.id: MaskSequence.prob(LogitMasks(logits, clip.size), scores) for e in clip.expressions}
'''

SEGMENTER = '''
"""A network with a text encoder, run by NetworkAdapter."""

import torch
from torch import nn

from rvos_ensemble.adapters.inference.network_adapter import DEFAULTS, LONG_SIDE, SHORT_SIDE, WINDOWED, NetworkAdapter
from rvos_ensemble.adapters.inference.checkpoints.segmenter_family import SegmenterFamily
from rvos_ensemble.adapters.networks.interface import Answer, Network


class Dots(Network):
    """The dot product of every pixel with the sentence; one query."""

    def __init__(self, backbone, text_encoder):
        super().__init__()
        self.backbone = nn.Conv2d(3, text_encoder.config.hidden_size, 4, 4)
        self.text_encoder = text_encoder

    def encode(self, frames, frames_per_step=None):
        return self.backbone(frames)  # [T, C, h4, w4]

    def answer(self, features, text, frames_per_step=None, masks_for="selected", query=None):
        logits = torch.einsum("tchw,ec->ethw", features, text.sentence)
        e, t = logits.shape[:2]
        scores = logits.flatten(2).amax(2).sigmoid()
        boxes = logits.new_zeros(e, t, 4)
        return Answer(scores.mean(1, keepdim=True), torch.zeros(e, dtype=torch.long), boxes, scores, logits)


class DotsFamily(SegmenterFamily):
    """Dots, with one backbone."""

    network_class = Dots
    backbones = {"patch_nano": {"weight": (32, 3, 4, 4)}}
    backbone_prefix = "backbone."

    def recognises(self, weights):
        return set(weights) > {"backbone.weight", "backbone.bias"}


class DotsAdapter(NetworkAdapter):
    """Dots."""

    family = DotsFamily
    defaults = {**DEFAULTS, **WINDOWED, "short_side": SHORT_SIDE, "long_side": LONG_SIDE}
    score = "the largest logit of the frame"
'''


@pytest.fixture
def tiny(tmp_path):
    return make_tiny(tmp_path, ("a",))


@pytest.fixture
def bright(tmp_path):
    """The file of the family, and one with its weights."""
    (tmp_path / "own").mkdir()
    file, weights = tmp_path / "own" / "bright.py", tmp_path / "own" / "bright.pth"
    file.write_text(SIMPLE)
    torch.manual_seed(0)
    shapes = {"stem.weight": (8, 3, 4, 4), "stem.bias": (8,), "head.weight": (1, 8, 1, 1), "head.bias": (1,)}
    torch.save({"state_dict": {k: torch.randn(shape) for k, shape in shapes.items()}}, weights)
    return file, weights


def test_weights_verifies_and_exports_a_file_of_ones_own(bright, tmp_path, capsys):
    file, weights = bright
    assert run_ensemble.main(["weights", "verify", str(weights), f"family={file}"]) == 0
    assert capsys.readouterr().out == f"{weights}: bright (adapter `bright`), 0.0 million parameters, fits\n"
    small = tmp_path / "small.safetensors"
    assert run_ensemble.main(["weights", "export", str(weights), str(small), f"family={file}"]) == 0
    assert {v.dtype for v in load_file(small).values()} == {torch.float16}
    network, exported = (find_family(str(file)).open(path).network() for path in (weights, small))
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert torch.equal(network.mean, torch.full((3, 1, 1), 0.5)), "buffers that no file holds come from the constructor"
    assert torch.allclose(network.head.weight, exported.head.weight, atol=1e-3)


def test_the_example_of_the_documentation_works(bright, capsys, monkeypatch):
    file, weights = bright
    example = re.search(r"```python\n(# my_family.py\n.*?)```", (ROOT / "docs" / "models.md").read_text(), re.DOTALL)[1]
    (file.parent / "my_family.py").write_text(example)
    (file.parent / "my_network.py").write_text(SIMPLE.partition("class Bright(")[0] + "MyNetwork = Network\n")
    monkeypatch.syspath_prepend(str(file.parent))
    assert run_ensemble.main(["weights", "verify", str(weights), f"family={file.parent / 'my_family.py'}"]) == 0
    assert "my_family (adapter `my_family`)" in capsys.readouterr().out


def test_an_adapter_runs_it(bright, tiny, capsys):
    file, weights = bright
    tiny.recipe.write_text(
        f"data: {{dataset: ref_youtube_vos, root: {tiny.root}, split: valid}}\n"
        f"sources: {{bright: {{adapter: {file}, weights: {weights}}}}}\n"
        "output: bright\nengine: {workers: 1}\n"
    )
    assert run_ensemble.main([*tiny.arguments, "report=false"]) == 0, capsys.readouterr().err
    assert len(list((tiny.out / "Annotations" / "a").glob("*/*.png"))) == 15


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("head.bias"), "recognised as bright, but weights are missing: head.bias"),
        (lambda w: w.update({"head.bias": torch.zeros(2)}), r"head.bias has shape \(2,\), expected \(1,\)"),
        (
            lambda w: w.pop("stem.weight"),
            r"holds other weights \(stem.bias, head.weight.*expected a checkpoint of bright",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(bright, change, words, tmp_path):
    file, path = bright
    weights = torch.load(path)["state_dict"]
    change(weights)
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(InputError, match=words):
        find_family(str(file)).open(tmp_path / "w.pth")


def test_without_its_family_the_command_says_how_to_name_it(bright, capsys):
    _, weights = bright
    assert run_ensemble.main(["weights", "verify", str(weights)]) == 2
    printed = capsys.readouterr().err
    assert "holds other weights (stem.weight" in printed and "or name its `family=FILE.py`" in printed
    assert run_ensemble.main(["weights", "verify", str(weights), "family=brigt"]) == 2
    printed = capsys.readouterr().err
    assert "no family is called 'brigt'" in printed and "There are: " in printed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('return "stem.weight" in weights', 'return weights["steem.weight"]', "line 30: KeyError"),
        ("Network(len(", "Netwrok(len(", "line 33: NameError"),
        ("class Bright(Family)", "class Bright", "expected one class that derives from Family, found none"),
    ],
)
def test_errors_in_its_code_are_named(bright, capsys, old, new, words):
    file, weights = bright
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    assert run_ensemble.main(["weights", "verify", str(weights), f"family={file}"]) == 2
    printed = capsys.readouterr().err
    assert words in printed and str(file) in printed


def test_an_entry_point_brings_one(bright, capsys, monkeypatch, tmp_path):
    file, weights = bright
    monkeypatch.syspath_prepend(str(file.parent))
    points = {"shiny": EntryPoint("shiny", "bright:Bright", GROUP), "gone": EntryPoint("gone", "no_such:X", GROUP)}
    monkeypatch.setattr(
        "rvos_ensemble.adapters.core.component.entry_points",
        lambda group: list(points.values()) if group == GROUP else [],
    )
    assert "shiny" in families() and "gone" not in families(), "a broken package does not hide the others"
    assert run_ensemble.main(["weights", "verify", str(weights)]) == 0
    assert "0.0 million parameters, fits" in capsys.readouterr().out


def test_a_network_adapter_runs_a_family_of_ones_own(tiny, tmp_path):
    from rvos_ensemble.adapters.inference.tokenization import load_tokenizer
    from rvos_ensemble.adapters.networks import text

    file, weights = tmp_path / "dots.py", tmp_path / "dots.pth"
    file.write_text(SEGMENTER)
    words = load_tokenizer(text.ROBERTA, str(text.ROBERTA.small)).get_vocab_size()
    torch.manual_seed(0)
    encoder = text.roberta(words, layers=1, hidden=32)
    state = {f"text_encoder.{k}": v for k, v in encoder.state_dict().items()}
    state |= {"backbone.weight": torch.randn(32, 3, 4, 4), "backbone.bias": torch.randn(32)}
    torch.save(state, weights)
    data = {"dataset": "ref_youtube_vos", "root": str(tiny.root), "split": "valid"}
    (clip,) = make_component("dataset", data, "data").clips()
    adapter = make_component("adapter", {"adapter": str(file), "weights": str(weights), "device": "cpu"}, "source dots")
    assert adapter.segmenter.checkpoint.backbone == "patch_nano"
    prediction = adapter.predict(clip)
    for sequence in prediction.values():
        assert sequence.mask(0).shape == (H, W) and sequence.notes["model"] == "dots patch_nano"
        assert len(sequence.scores) == len(clip) and np.isfinite(sequence.scores).all()
    other = make_component("adapter", {"adapter": str(file), "weights": "soc_nano", "device": "cpu"}, "source dots")
    assert "holds weights of soc, expected dots; use `adapter: soc` for it" in " ".join(other.check([clip]))
