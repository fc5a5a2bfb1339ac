"""The extra `[open]`: the network against naive convolutions, names of classes, nouns, crops, the encoder, faults."""

import json
import zipfile

import numpy as np
import pytest
import torch
from helpers.tiny_tokenizers import SENTENCES, bert_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from tokenizers import BertWordPieceTokenizer
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.image_classes import extra
from rvos_ensemble.adapters.inference.image_classes.classifier import Classifier, crop
from rvos_ensemble.adapters.inference.image_classes.encoder import WordEncoder
from rvos_ensemble.adapters.inference.image_classes.names import (
    ANIMALS,
    PEOPLE_SIGNS,
    by_name,
    groups,
    members,
    names,
)
from rvos_ensemble.adapters.inference.image_classes.nouns import read_noun
from rvos_ensemble.adapters.networks.backbones.efficientnet_lite import EfficientNetLite0, SameConv2d

installed = pytest.mark.skipif(not extra.is_installed(), reason=extra.INSTALL)
named = pytest.mark.skipif(not names(), reason=f"no names of the image classes: {extra.INSTALL}")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([3, 5]), st.sampled_from([1, 2]))
def test_same_padding_is_that_of_tensorflow(h, w, kernel, stride):
    """Output pixel i sees the input from i * stride - before on, where before is half of the padding, rounded down."""
    conv = SameConv2d(1, 1, kernel, stride, bias=False)
    x = torch.arange(h * w, dtype=torch.float32).view(1, 1, h, w) + 1
    found = conv(x)
    assert found.shape[2:] == (-(-h // stride), -(-w // stride))
    before = [max((-(-n // stride) - 1) * stride + kernel - n, 0) // 2 for n in (h, w)]
    wide = F.pad(x, (kernel, kernel, kernel, kernel))  # more than enough zeros on all sides
    for i, j in np.ndindex(*found.shape[2:]):
        y, z = kernel + i * stride - before[0], kernel + j * stride - before[1]
        expected = (wide[0, 0, y : y + kernel, z : z + kernel] * conv.weight[0, 0]).sum()
        assert found[0, 0, i, j].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-3)


def test_sizes_of_the_network():
    network = EfficientNetLite0(classes=7).eval()
    assert sum(p.numel() for p in EfficientNetLite0().parameters()) == 4_652_008  # as the authors state: 4.7 million
    assert network(torch.zeros(2, 3, 64, 96)).shape == (2, 7)


@installed
def test_the_official_weights_fit_and_probabilities_sum_to_one():
    classify = Classifier(extra.required(extra.CLASSIFIER))
    pictures = [np.full((224, 224, 3), v, np.uint8) for v in (0, 127, 255)]
    probabilities = classify(pictures)
    assert probabilities.shape == (3, 1000) and probabilities.sum(1) == pytest.approx(np.ones(3), abs=1e-4)
    assert classify([]).shape == (0, 1000)
    assert classify(pictures[:1]) == pytest.approx(probabilities[:1], abs=1e-5)


def test_a_damaged_classifier_is_refused(tmp_path):
    torch.save({"_fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not the official weights"):
        Classifier(tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"broken\.pth"):
        Classifier(tmp_path / "broken.pth")


@named
def test_names_and_groups_agree():
    assert len(names()) == 1000
    for noun, name in [
        ("dog", "golden retriever"),
        ("bird", "goldfinch"),
        ("cat", "siamese cat"),
        ("bear", "polar bear"),
    ]:
        assert groups()[noun][names().index(name)] == 1
    for noun, name in [("dog", "grey wolf"), ("cat", "lion"), ("car", "mountain bike"), ("bear", "teddy bear")]:
        assert name in names() and groups()[noun][names().index(name)] == 0
    assert all(weights.sum() >= 1 for weights in groups().values())
    assert names()[397] == "pufferfish" and names()[398] == "abacus"  # the last animal, and the first thing
    assert not members(PEOPLE_SIGNS)[:398].any() and members(ANIMALS).sum() == 398


@named
@pytest.mark.parametrize(
    ("noun", "phrase", "name"),
    [
        ("black swan", "black swan", "black swan"),
        ("swan", "swan", "black swan"),
        ("retriever", "retriever", "golden retriever"),
        ("big umbrella", "umbrella", "umbrella"),
        ("sedan", "sedan", "station wagon"),
    ],
)
def test_nouns_by_name(noun, phrase, name):
    found, weights = by_name(noun)
    assert found == phrase and weights[names().index(name)] == 1


@named
def test_nouns_by_similarity_need_a_similar_class():
    cosines = np.zeros(1000)
    cosines[names().index("banjo")] = 0.7
    noun = read_noun("ukulele", False, lambda word: cosines)
    assert "similar to banjo (0.70)" in noun.meaning
    assert noun.fit(np.eye(1000)[names().index("banjo")]) == 1 and noun.fit(np.eye(1000)[0]) == 0
    assert read_noun("ukulele", False, lambda word: cosines * 0.8) is None  # 0.56: unrelated
    assert read_noun("ukulele", False, None) is None
    cosines[:] = 0
    cosines[names().index("tree frog")] = 0.9
    assert read_noun("tree", False, lambda word: cosines) is None  # a modifier, another thing


@named
def test_people_are_read_by_clothes_and_similar_animals_count_a_little():
    one = np.eye(1000)
    assert read_noun("man", True, None).fit(one[names().index("jeans")]) == 1
    assert read_noun("man", True, None).fit(one[0]) == 0
    goat = read_noun("goat", False, None)
    assert goat.fit(one[names().index("alpine ibex")]) == 1
    assert 0 < goat.fit(one[names().index("golden retriever")]) < 1 and goat.fit(one[names().index("minivan")]) == 0


def test_crops_show_the_object_at_one_size():
    frame = np.zeros((100, 400, 3), np.uint8)
    frame[40:60, 300:320] = 200
    mask = frame[..., 0] > 0
    whole = crop(frame, mask, margin=0.0)
    assert whole.shape == (224, 224, 3) and whole[112, 112].tolist() == [200] * 3 and (whole > 150).mean() > 0.9
    edge = crop(frame, np.roll(mask, 80, 1), margin=0.5)  # half of the square lies outside the frame
    assert edge[112, -1].tolist() == [127] * 3
    hidden = crop(frame + 50, mask, background=0.0, margin=0.5)
    assert hidden[5, 5].tolist() == [127] * 3 and hidden[112, 112, 0] == 250
    large = crop(np.zeros((2000, 3000, 3), np.uint8), np.ones((2000, 3000), bool))
    assert large.shape == (224, 224, 3)


@pytest.fixture
def encoder_file(tmp_path):
    """A tiny encoder in the layout of the package, and its network."""
    folder = bert_folder(tmp_path / "tokens")
    tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    torch.manual_seed(0)
    network = BertModel(config).eval()
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("config.json", json.dumps(config.to_dict()))
        archive.writestr("tokenizer.json", tokenizer._tokenizer.to_str())
        positions = {"embeddings.position_ids": torch.arange(512)[None]}  # which older files have
        archive.writestr("model.safetensors", save({**network.state_dict(), **positions}))
    return tmp_path / "model.zip", network, tokenizer


def test_the_encoder_is_the_mean_of_tokens(encoder_file):
    """In one batch, against sentences one at a time, without padding."""
    path, network, tokenizer = encoder_file
    found = WordEncoder(path)(SENTENCES)
    for sentence, vector in zip(SENTENCES, found, strict=True):
        ids = torch.tensor([tokenizer.encode(sentence).ids])
        with torch.no_grad():
            mean = network(input_ids=ids).last_hidden_state[0].mean(0)
        assert vector == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors", "all"])
def test_a_damaged_encoder_is_refused(encoder_file, tmp_path, missing):
    with zipfile.ZipFile(encoder_file[0]) as old, zipfile.ZipFile(tmp_path / "bad.zip", "w") as new:
        for name in old.namelist():
            if name != missing:
                new.writestr(name, old.read(name))
    if missing == "all":
        (tmp_path / "bad.zip").write_bytes(b"not a zip")
    with pytest.raises(InputError, match=r"bad\.zip: not the encoder"):
        WordEncoder(tmp_path / "bad.zip")


def test_packages_are_found_without_being_imported(tmp_path, monkeypatch):
    package = tmp_path / "all_minilm_l6_v2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    assert extra.path_of(extra.ENCODER) is None  # incomplete: no model.zip
    (package / "model.zip").write_bytes(b"")
    assert extra.path_of(extra.ENCODER) == package / "model.zip"
    with pytest.raises(InputError, match="rvos-ensemble\\[open\\]"):
        extra.required(("no_such_package_xyz", "file"))
