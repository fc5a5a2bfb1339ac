"""Text encoders and image backbones of transformers in grounding networks: features equal to plain forward passes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.tiny_encoders import IMAGE, TEXT, image_folder, text_folder
from helpers.tiny_tokenizers import SENTENCES
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, ConvNextBackbone, Dinov2Backbone, ResNetBackbone, SwinBackbone

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.pretrained_encoders import read_image_backbone, read_text_encoder
from rvos_ensemble.adapters.inference.tokenization import stored_tokenizer, tokenize
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding.description import KEY, Description, read_description
from rvos_ensemble.adapters.networks.grounding.variants import JUDGES
from rvos_ensemble.adapters.networks.pretrained.image_backbone import stride_of
from rvos_ensemble.adapters.training import grounding as training
from rvos_ensemble.adapters.training.grounding import initial_network

OPEN_WORDS = [*SENTENCES, "An élan, far-away; running!", "a"]  # words that no training has seen
TINY = {"variant": "grounding_nano", "size": [48, 80], "held_out": 0, "looks": 2, "frames": 4, "sentences": 3}
BACKBONES = {"resnet": ResNetBackbone, "swin": SwinBackbone, "convnext": ConvNextBackbone, "dinov2": Dinov2Backbone}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """kind -> its folder, made once."""
    root, made = tmp_path_factory.mktemp("encoders"), {}

    def make(kind):
        if kind not in made:
            made[kind] = (text_folder if kind in TEXT else image_folder)(root / kind, kind)
        return made[kind]

    return make


@pytest.fixture(scope="module")
def state(folders):
    """The weights of a network with two encoders of transformers."""
    return task(folders, "minilm", "resnet").network.state_dict()


def task(folders, words=None, images=None, **changes):
    settings = {**defaults_of(training.DEFAULTS), **TINY, **changes}
    settings |= {"text_encoder": words and str(folders(words)), "image_backbone": images and str(folders(images))}
    return training.GroundingTask(settings)


# ------------------------------------------------------------------------------------------------------------ features
@pytest.mark.parametrize("kind", TEXT)
def test_words_are_encoded_as_transformers_does(folders, kind):
    folder = folders(kind)
    encoder, network = read_text_encoder(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = AutoModel.from_pretrained(folder).eval()
    plain = plain.get_encoder() if kind == "bart" else plain
    batch = tokenizer(OPEN_WORDS, padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)  # zeros for one sentence
    with torch.no_grad():
        expected = plain(**batch).last_hidden_state
    rows = tokenize(stored_tokenizer(encoder.tokenizer, "x"), encoder.language, OPEN_WORDS)
    valid = batch["attention_mask"].bool()
    assert rows == [ids[v].tolist() for ids, v in zip(batch["input_ids"], valid, strict=True)]
    found = text.encode(network, encoder.language, rows)
    assert torch.equal(~found.padding, valid)
    assert torch.allclose(found.states[valid], expected[valid], atol=1e-5)
    assert expected[valid].std() > 0.1
    assert encoder.sizes == (plain.config.vocab_size, 16)
    assert {k: v.shape for k, v in encoder.network().state_dict().items()} == {
        k: v.shape for k, v in network.state_dict().items()
    }


@pytest.mark.parametrize("kind", IMAGE)
@pytest.mark.parametrize("processor", [None, ([0.5, 0.4, 0.3], [0.2, 0.3, 0.5])])
def test_frames_are_encoded_as_transformers_does(folders, tmp_path, kind, processor):
    folder = folders(kind)
    if processor:
        folder = image_folder(tmp_path, kind)
        mean, std = processor
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
    backbone, network = read_image_backbone(str(folder))
    assert backbone.stride == network.stride == (14 if kind == "dinov2" else 32)
    height, width = 3 * backbone.stride, 4 * backbone.stride
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    mean, std = processor or ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    pixels = torch.from_numpy(((image / 255 - mean) / std).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = BACKBONES[kind].from_pretrained(folder).eval()(pixels).feature_maps[-1]
        found = network(preprocess.shrink(image, (height, width), "torchvision")[None])[-1]
    assert found.shape == (1, *network.channels, 3, 4) and torch.allclose(found, expected, atol=1e-4)
    assert expected.std() > 0.1


@pytest.mark.parametrize("kind", IMAGE)
def test_frames_of_any_size_have_a_cell_for_each_stride(folders, kind):
    backbone, network = read_image_backbone(str(folders(kind)))
    frames = torch.randn(2, 3, 50, 75)
    size = [-(-n // backbone.stride) for n in (50, 75)]
    with torch.no_grad():
        whole = F.interpolate(frames, size=[n * backbone.stride for n in size], mode="bilinear", align_corners=False)
        found, expected = network(frames)[-1], network(whole)[-1]
    assert torch.equal(found, expected) and list(found.shape[2:]) == size


class OneSize(torch.nn.Module):
    """A backbone whose maps are wrong in one way."""

    channels = [4]

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def forward(self, frames):
        if self.fault == "raises" and frames.shape[2] != 224:
            raise ValueError("input size must be 224")
        width = 5 if self.fault == "width" else 4
        size = (14, 14) if self.fault == "fixed" else [n // 16 for n in frames.shape[2:]]
        return SimpleNamespace(feature_maps=[torch.zeros(1, width, *size)])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", "images of any size.*must be 224"),
        ("width", "a map of 4 channels"),
        ("fixed", "every 16 x 16 pixels"),
    ],
)
def test_backbones_of_one_size_or_another_width_are_refused(fault, message):
    assert stride_of(OneSize(None), "x") == 16
    with pytest.raises(InputError, match=message):
        stride_of(OneSize(fault), "x")


# ---------------------------------------------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize(
    ("words", "images"), [("deberta-v2", "swin"), ("bart", None), (None, "resnet"), ("minilm", "dinov2")]
)
def test_a_checkpoint_describes_its_encoders(folders, tmp_path, words, images):
    made = task(folders, words, images)
    state = made.network.state_dict()
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    checkpoint = open_checkpoint(tmp_path / "w.pth", "grounding")
    assert checkpoint.variant == made.variant and checkpoint.variant.short_side == 48
    sample = made.training_clips[0]
    with torch.no_grad():
        expected = made.logits(made.network.eval(), vars(sample))
        assert torch.equal(made.logits(checkpoint.network(), vars(sample)), expected)
    small = checkpoint.export(tmp_path / "w.safetensors")
    assert b'"model_type": "' in small.read_bytes(), "JSON that anybody can read"
    small = open_checkpoint(small, "grounding")
    assert small.variant == made.variant
    with torch.no_grad():
        assert torch.allclose(made.logits(small.network(), vars(sample)), expected, atol=0.1)
    del state["head.layers.1.bias"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(InputError, match="weights are missing: head"):
        open_checkpoint(tmp_path / "part.pth", "grounding")


def test_a_judge_describes_its_encoders(folders, tmp_path):
    settings = {"variant": "judge_nano", "size": [48, 80], "text_encoder": str(folders("bert"))}
    settings = {**defaults_of(initial_network.SETTINGS), **settings, "seed": 0, "dropout": 0.0}
    variant, _, network = initial_network.make(settings, JUDGES, "train judge")
    state = {f"matcher.{k}": v for k, v in network.state_dict().items()}
    torch.save({**state, "scale": torch.ones(()), "bias": torch.zeros(())}, tmp_path / "j.pth")
    assert open_checkpoint(tmp_path / "j.pth", "judge").variant == variant


def test_mobilenetv2_is_a_backbone_of_ours(folders, tmp_path):
    settings = {**defaults_of(training.DEFAULTS), **TINY, "image_backbone": "mobilenetv2"}
    made = training.GroundingTask(settings)
    torch.save(made.network.state_dict(), tmp_path / "m.pth")
    checkpoint = open_checkpoint(tmp_path / "m.pth", "grounding")
    assert checkpoint.variant == made.variant and made.variant.visual == "mobilenetv2"
    assert made.network.map_size((48, 81)) == (3, 6)
    assert made.network.visual(torch.zeros(1, 3, 48, 81))[-1].shape == (1, 1280, 3, 6)


def description(folders):
    text_encoder, _ = read_text_encoder(str(folders("bert")))
    image_backbone, _ = read_image_backbone(str(folders("resnet")))
    return Description(48, text_encoder, image_backbone)


def test_a_description_is_what_it_was(folders):
    made = description(folders)
    assert read_description(made.tensor(), "x") == made
    assert {"short_side", "text", "image"} == json.loads(bytes(made.tensor().tolist())).keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.clear(), "expected an object with short_side, text, image"),
        (lambda d: d.update(short_side=-1), "short_side is -1, expected a whole number"),
        (lambda d: d["text"].update(tokenizer=5), "tokenizer is not a text"),
        (lambda d: d["text"].update(padding=1 << 40), "padding is"),
        (lambda d: d["text"]["config"].update(model_type="timm_wrapper2"), "does not have as a text encoder"),
        (lambda d: d["text"]["config"].update(num_hidden_layers=10**9), "expected a number of at most 1000"),
        (lambda d: d["text"]["config"].update(hidden_size=10**12), "`hidden_size` is"),
        (lambda d: d["text"]["config"].update(hidden_size="wide"), "not the configuration of a network"),
        (lambda d: d["text"]["config"].update(hidden_size=20), "has shape"),
        (lambda d: d["image"]["config"].update(model_type="timm_backbone"), "does not have as an image backbone"),
        (lambda d: d["image"].update(std=[1, 0, 1]), "expected positive numbers"),
        (lambda d: d["image"].update(mean=[1]), "expected three numbers"),
        (lambda d: d["image"].update(stride=0), "stride is 0"),
        (lambda d: d.update(text=None), "neither describes its text encoder nor has a BERT"),
    ],
)
def test_a_wrong_description_is_refused(state, tmp_path, change, message):
    content = json.loads(bytes(state[KEY].tolist()))
    if message.startswith("neither"):
        state = {k: v for k, v in state.items() if "token_type_embeddings" not in k}
    change(content)
    torch.save({**state, KEY: torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=message):
        open_checkpoint(tmp_path / "w.pth", "grounding")


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3), torch.zeros(2, 2, dtype=torch.uint8), torch.tensor([123], dtype=torch.uint8)]
)
def test_a_description_that_is_no_json_is_refused(state, tmp_path, wrong):
    torch.save({**state, KEY: wrong}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"expected bytes of JSON|not a json file"):
        open_checkpoint(tmp_path / "w.pth", "grounding")


def test_code_that_a_configuration_names_is_not_run(tmp_path):
    """A hub's code, kernels and modules: their names are dropped before transformers reads the configuration."""
    folder = text_folder(tmp_path, "bert")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"},
        "attn_implementation": "evil/kernel",
    }
    config |= {"_attn_implementation": "evil/kernel", "_attn_implementation_internal": "evil/kernel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('run')")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["evil.T", None]}, "tokenizer_class": "T"})
    )
    try:
        encoder, network = read_text_encoder(str(folder))
    except InputError as error:
        assert "its tokenizer cannot be read" in str(error)
        (folder / "tokenizer_config.json").unlink()
        encoder, network = read_text_encoder(str(folder))
    assert "evil" not in encoder.config and network.config._attn_implementation in ("sdpa", "eager")


# -------------------------------------------------------------------------------------------------------------- folders
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "vocab.txt").unlink(), "no tokenizer there, expected tokenizer.json or vocab.txt"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08" + bytes(40)), "its weights cannot be loaded as bert"),
        (lambda f: (f / "config.json").write_text("{}"), "has no `model_type`"),
        (lambda f: (f / "config.json").write_text('{"model_type": "resnet"}'), "so it is not a text encoder"),
        (lambda f: (f / "tokenizer.json").write_text("{]"), "its tokenizer cannot be read"),
        (lambda f: (f / "vocab.txt").open("a").write("further\nwords\n"), "a tokenizer with numbers up to"),
        (lambda f: _edit(f, num_hidden_layers=3), r"weights of bert are missing: encoder\.layer\.2"),
        (lambda f: _edit(f, hidden_size=20), "its weights cannot be loaded as bert"),
    ],
)
def test_a_wrong_text_encoder_is_refused(tmp_path, change, message):
    folder = text_folder(tmp_path, "minilm")
    change(folder)
    with pytest.raises(InputError, match=message):
        read_text_encoder(str(folder))


def _edit(folder, **changes):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | changes))


def test_the_tokenizer_may_be_in_a_folder_of_its_own(folders, tmp_path):
    folder = text_folder(tmp_path / "a", "minilm")
    expected, _ = read_text_encoder(str(folder))
    (tmp_path / "b").mkdir()
    (folder / "vocab.txt").rename(tmp_path / "b" / "vocab.txt")
    assert read_text_encoder(str(folder), str(tmp_path / "b"))[0] == expected


def test_the_folder_may_be_a_repository_in_the_cache_of_the_hub(folders, tmp_path):
    repository = tmp_path / "models--org--bert"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "abc").symlink_to(folders("bert"))
    expected, _ = read_text_encoder(str(folders("bert")))
    assert read_text_encoder(str(repository))[0] == expected


def test_every_problem_of_the_settings_is_named(folders, tmp_path):
    settings = {"text_encoder": str(folders("resnet")), "image_backbone": str(tmp_path / "nowhere")}
    settings |= {"text_weights": "bert.pth"}
    with pytest.raises(InputError) as error:
        training.GroundingTask({**defaults_of(training.DEFAULTS), **TINY, **settings})
    message = str(error.value)
    assert "remove text_weights" in message and "no such folder, and none of narrow, mobilenetv2" in message
    assert "so it is not a text encoder" in message
    with pytest.raises(InputError, match="does not have as an image backbone"):
        task(folders, None, "bert")


# ------------------------------------------------------------------------------------------------------------- training
def changed_by_training(made):
    """The parts of a network of which a weight or statistic changes in two steps."""
    network = made.network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = torch.optim.Adam(made.groups(1e-2, 0.0))
    for i in range(2):
        batch = made.collate([made.training_clips[i]])
        sum(made.losses(batch, i).values()).backward()
        optimizer.step()
    return {k.partition(".")[0] for k, v in network.state_dict().items() if not torch.equal(v, before[k])}


@pytest.mark.parametrize(("words", "images"), [("distilbert", "resnet"), ("roberta", "convnext")])
def test_encoders_are_trained_or_frozen(folders, words, images):
    rates = {"text_lr": 0.0, "backbone_lr": 0.0}
    parts = {"visual_proj", "text_proj", "modality", "path", "encoder", "head"}
    frozen = task(folders, words, images, dropout=0.3, **rates)
    assert changed_by_training(frozen) == parts
    assert not frozen.network.visual.training and not frozen.network.text_encoder.training
    trained = task(folders, words, images, text_lr=0.5, backbone_lr=0.1)
    statistics = {k: v.clone() for k, v in trained.network.state_dict().items() if "running" in k}
    assert changed_by_training(trained) == parts | {"visual", "text_encoder"}
    assert all(torch.equal(v, trained.network.state_dict()[k]) for k, v in statistics.items())
    assert {g["lr"] for g in trained.groups(1.0, 0.0)} == {1.0, 0.5, 0.1}


@pytest.mark.parametrize("kind", ["bart", "distilbert", "bert", "deberta-v2"])
def test_dropout_is_that_of_the_settings(folders, kind):
    made = task(folders, kind, dropout=0.0)
    sample = vars(made.training_clips[0])
    network = made.network.train()
    one, two = (network.words(sample["rows"], made.variant.language).states for _ in range(2))
    assert torch.equal(one, two)
    initial_network.set_dropout(network, 0.5)
    assert not torch.equal(one, network.words(sample["rows"], made.variant.language).states)
