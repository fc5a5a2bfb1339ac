"""Folders of networks of transformers: what is loaded equals what was written; wrong folders say what is wrong."""

import json
import pickle
import shutil

import pytest
import torch
import transformers
from helpers import tiny_detectors, tiny_sam
from helpers.tiny_detectors import changed
from safetensors.torch import load_file, save_file

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.pretrained import Architecture, open_pretrained
from rvos_ensemble.adapters.inference.transformers_models.architectures import (
    CONCEPTS,
    DETECTORS,
    PROMPTED,
    SEGMENTERS,
)

EOMT = [SEGMENTERS["eomt"]]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return tiny_detectors.write(tmp_path_factory.mktemp("eomt"), "eomt")


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "eomt")


def failure(path, architectures=EOMT):
    with pytest.raises(InputError) as error:
        open_pretrained(path, architectures).network()
    return str(error.value)


def rewrite(folder, change):
    """Writes the weights of a folder again after a change."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("kind", ["mask2former", "oneformer", "eomt", "grounding-dino", "mm-grounding-dino", "sam3"])
def test_weights_are_those_that_were_written(kind, tmp_path):
    network = tiny_detectors.network(kind)
    network.save_pretrained(tmp_path)
    found = open_pretrained(tmp_path, [*SEGMENTERS.values(), *DETECTORS, CONCEPTS])
    loaded = found.network()
    assert type(loaded) is type(network) and not loaded.training
    expected = network.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(v, expected[k]) for k, v in loaded.state_dict().items())


@pytest.mark.parametrize("kind", ["sam2", "sam3"])
def test_networks_for_boxes_are_read_from_those_for_videos(kind, tmp_path):
    video = tiny_sam.tiny_sam(kind)
    loaded = open_pretrained(tiny_sam.write_folder(tmp_path / kind, video), PROMPTED).network()
    video = video.state_dict()
    assert all(torch.equal(v, video[k]) for k, v in loaded.state_dict().items())


def test_detector_and_tracker_of_one_sam3(tmp_path):
    """facebook/sam3 is a sam3_video, whose detector and tracker share an image encoder."""
    whole = tiny_detectors.sam3_video()
    whole.save_pretrained(tmp_path)
    loaded = open_pretrained(tmp_path, [CONCEPTS]).network()
    expected = whole.detector_model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(v, expected[k]) for k, v in loaded.state_dict().items())


def test_snapshots_of_the_cache(tmp_path):
    network = tiny_detectors.network("eomt")
    root = tiny_sam.write_snapshot(tmp_path, network, "tue-mps/coco_instance_eomt_large_640")
    found = open_pretrained(root, EOMT)
    assert found.folder == root / "snapshots" / ("0" * 40)
    assert found.fingerprint() == open_pretrained(found.folder, EOMT).fingerprint()
    found.network()


def test_half_precision_and_foreign_code_are_read_as_plain_weights(folder):
    rewrite(folder, lambda w: w.update({k: v.half() for k, v in w.items() if v.is_floating_point()}))
    changed(
        folder, auto_map={"AutoModel": "evil.Model"}, _attn_implementation="kernels-community/evil", dtype="float16"
    )
    network = open_pretrained(folder, EOMT).network()
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network.config._attn_implementation in ("eager", "sdpa")


def test_labels_and_bases_of_frequencies_are_no_sizes(folder):
    labels = {0: "cat", 20_000: "baseball player"}
    changed(folder, id2label=labels, label2id={name: n for n, name in labels.items()}, rope_theta=1e9)
    assert open_pretrained(folder, EOMT).config.rope_theta == 1e9


def test_weights_of_another_version_do_no_harm(folder):
    rewrite(folder, lambda w: w.update({"relative_position_index": torch.zeros(3)}))
    open_pretrained(folder, EOMT).network()


def test_wrong_folders(folder, tmp_path):
    assert "no such folder" in failure(tmp_path / "none")
    assert "a file, expected the folder" in failure(folder / "config.json")
    (tmp_path / "empty").mkdir()
    assert "has no config.json" in failure(tmp_path / "empty")
    assert "has no model.safetensors" in failure(tmp_path / "empty")


def test_weights_that_are_missing_or_of_another_shape_are_reported_together(folder):
    def damage(weights):
        first, second, *_ = sorted(weights)
        del weights[first]
        weights[second] = torch.zeros(3)

    rewrite(folder, damage)
    text = failure(folder)
    assert "1 weights are missing" in text and "has shape (3,)" in text


def test_a_file_that_is_cut_short(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "cut short or damaged" in failure(folder)


def test_pickles_are_not_read(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    assert "a pickle, which is not loaded" in failure(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "bert"}, "describes a network of the kind 'bert', expected eomt"),
        ({"model_type": None}, "has no `model_type`"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ({"backbone_config": {"model_type": "timm_backbone"}}, "package timm"),
        ({"hidden_size": 10**12}, "expected a number of at most"),
        ({"hidden_size": "wide"}, "describes no EomtForUniversalSegmentation"),
        ({"hidden_size": 33}, "no network is of its sizes"),
        ({"num_queries": 9}, "the config belongs to other weights"),
    ],
)
def test_wrong_configs(changes, words, folder):
    changed(folder, **changes)
    assert words in failure(folder) and "config" in failure(folder)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "null", '{"model_type": 3}', '{"model_type": "eomt", "a": ' + "[" * 50]
)
def test_configs_that_are_none(content, folder):
    (folder / "config.json").write_text(content)
    assert "config.json" in failure(folder)


def test_part_of_a_larger_network_that_is_missing(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "sam3_video"}))
    assert "a sam3_video without `detector_config`" in failure(folder, [CONCEPTS])


def test_names_of_architectures_exist():
    for architecture in (*SEGMENTERS.values(), *DETECTORS, CONCEPTS, *PROMPTED):
        assert isinstance(architecture, Architecture) and hasattr(transformers, architecture.name)
