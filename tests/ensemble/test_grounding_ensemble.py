"""The ensemble of five grounding networks with different encoders: five trainings, one recipe; and real pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_encoders import image_folder, text_folder
from PIL import Image

import run_ensemble
from benchmarks.grounding import Trained
from rvos_ensemble.adapters.core.clip import Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding.variants import VARIANTS
from rvos_ensemble.adapters.training.grounding.task import TrackletClips
from rvos_ensemble.ensemble.steps.ground import Ground
from rvos_ensemble.ensemble.steps.parts.grounder import Grounder

# text encoder, image backbone, further settings
FIVE = (
    ("bert", "resnet", "text_lr=0.1"),
    ("deberta-v2", "swin", "backbone_lr=0"),
    ("bart", "resnet_nano", "text_lr=0"),
    ("roberta", "dinov2", "text_lr=0 backbone_lr=0"),
    ("minilm", "mobilenetv2", "seed=1"),
)
TINY = "variant=grounding_nano size=[48,80] frames=3 looks=2 sentences=3 steps=1 batch=1 device=cpu"
RECIPE = """# The grounded choice of five networks.
data: {{dataset: shapes, root: {root}, clips: 1, frames: 8, size: [64, 96]}}
sources: {{proposals: {{adapter: simulated_proposals}}}}
propagators: {{flow: {{}}}}
steps:
  candidates: {{op: candidates, inputs: proposals, k: 2}}
  tracks: {{op: propagate, input: candidates, with: flow, key_frame: given}}
  tracklets: {{op: tracklets, input: tracks, scores_from: candidates, keep: 4}}
  ensemble: {{op: ground, input: tracklets, weights: {weights}}}
output: ensemble
engine: {{workers: 1}}
"""


def folder_or_name(root, kind):
    """The setting `image_backbone` for a kind: the name of one of ours, or a folder."""
    return kind if kind in ("resnet_nano", "mobilenetv2") else image_folder(root / kind, kind)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The checkpoints of five trainings by the command line."""
    root = tmp_path_factory.mktemp("five")
    made = []
    for i, (words, images, further) in enumerate(FIVE):
        encoders = [
            f"text_encoder={text_folder(root / words, words)}",
            f"image_backbone={folder_or_name(root, images)}",
        ]
        settings = [*TINY.split(), *encoders, *further.split(), f"out={root / str(i)}", "held_out=0"]
        assert run_ensemble.main(["train", "grounding", *settings]) == 0
        made.append(str(root / str(i) / "weights.pth"))
    return made


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    return Shapes(root=str(root), clips=1, frames=8, size=[64, 96]).clips()[0]


def boxes(clip, count=3):
    """Objects that are boxes."""
    masks = np.zeros((count, len(clip), *clip.size), bool)
    for i in range(count):
        masks[i, :, 10 * i : 10 * i + 25, 20 * i : 20 * i + 30] = True
    return Objects({f"o/{i}": MaskSequence.binary(masks[i], np.ones(len(clip))) for i in range(count)})


def test_five_networks_with_their_own_encoders_are_averaged(five, clip):
    objects = boxes(clip)
    grounders = [Grounder([path], device="cpu") for path in five]
    alone = [grounder.probabilities(clip, objects) for grounder in grounders]
    every = Grounder(five[:1], device="cpu")
    every.members = [grounder.members[0] for grounder in grounders]  # opening files five more times takes seconds
    together = every.probabilities(clip, objects)
    assert np.allclose(together, np.mean(alone, 0), atol=1e-6) and np.allclose(together.sum(2), 1, atol=1e-5)
    assert len({round(float(p[0, 0, 0]), 4) for p in alone}) == 5
    assert len({grounder.fingerprint for grounder in grounders}) == 5


def test_checkpoints_need_neither_the_folders_nor_a_tokenizer(five, clip, tmp_path):
    """They are opened by their own content, in any folder, and say what they are."""
    copy = tmp_path / "alone.pth"
    copy.write_bytes(Path(five[1]).read_bytes())
    grounder = Grounder([str(copy)], device="cpu")
    words = replace(clip, expressions=(Expression(clip.name, "0", "a zebra, 中文 and ½"),))
    assert grounder.members[0].files == [copy] and grounder.word_problems(words, "alone.pth", "") == []
    assert "text encoder deberta-v2" in open_checkpoint(copy).describe()


def test_a_tokenizer_is_for_networks_that_need_one(five, clip, tmp_path):
    with pytest.raises(InputError, match="each checkpoint holds its own; remove `tokenizer`"):
        Ground("g", input="o", weights=five[:2], tokenizer=str(text.BERT.small))
    mixed = Grounder([five[0], "grounding_nano"], str(text.BERT.small), device="cpu")
    assert mixed.probabilities(clip, boxes(clip)).shape[0] == len(clip.expressions)
    torch.save(VARIANTS["grounding_nano"].network().state_dict() | {"description": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="expected bytes of JSON"):
        Grounder([str(tmp_path / "x.pth")])


def test_a_recipe_with_the_ensemble_of_five(five, tmp_path):
    (tmp_path / "five.yaml").write_text(RECIPE.format(root=tmp_path / "shapes", weights=json.dumps(five)))
    arguments = [f"recipe={tmp_path / 'five.yaml'}", f"out={tmp_path / 'out'}"]
    assert run_ensemble.main(arguments) == 0
    assert "ensemble" in json.loads((tmp_path / "out" / "metrics.json").read_text())["steps"]
    assert list((tmp_path / "out" / "Annotations").rglob("*.png"))


def real_folder(shared, root):
    """A few frames of two real clips with their sentences; the truth has 255 for the object, here it is object 1."""
    source = shared / "data" / "ref_davis_mini"
    for video in ("dog", "libby"):
        for kind in ("JPEGImages", "Annotations"):
            (root / "train" / kind / video).mkdir(parents=True)
        for frame in sorted((source / "valid" / "JPEGImages" / video).glob("*.jpg"))[::10]:
            (root / "train" / "JPEGImages" / video / frame.name).symlink_to(frame)
            name = f"{video}/{frame.stem}.png"
            mask = np.asarray(Image.open(source / "valid" / "Annotations" / name)) > 0
            Image.fromarray(mask.astype(np.uint8)).save(root / "train" / "Annotations" / name)
    meta = json.loads((source / "meta_expressions" / "valid" / "meta_expressions.json").read_text())
    meta["videos"] = {video: meta["videos"][video] for video in ("dog", "libby")}
    (root / "meta_expressions" / "train").mkdir(parents=True)
    (root / "meta_expressions" / "train" / "meta_expressions.json").write_text(json.dumps(meta))
    return root / "train"


def test_training_on_real_pictures_with_open_words(shared, tmp_path, capsys):
    data = real_folder(shared, tmp_path / "data")
    words = text_folder(tmp_path / "words", "minilm")
    settings = [*TINY.replace("steps=1", "steps=2").split(), f"data={data}", f"out={tmp_path / 'out'}"]
    assert run_ensemble.main(["train", "grounding", *settings, f"text_encoder={words}"]) == 0
    variant = open_checkpoint(tmp_path / "out" / "weights.pth", "grounding").variant
    assert variant.language.name == "bert" and variant.visual == "narrow" and variant.short_side == 48
    assert run_ensemble.main(["train", "grounding", *settings[:-1], f"out={tmp_path / 'small'}"]) == 2
    assert "words that the tokenizer does not know" in capsys.readouterr().err


def test_the_benchmark_asks_networks_with_any_encoders(five):
    task = Trained(str(five[0]), 1)
    task.held_out = TrackletClips(task, 0, "test")
    found = task.validate(task.network)
    assert 0 <= found["Accuracy"] <= 1 and 0 < found["Chance"] < 1
    assert task.variant.text_encoder is not None and task.held_out[0].images.shape[2] == task.variant.short_side
