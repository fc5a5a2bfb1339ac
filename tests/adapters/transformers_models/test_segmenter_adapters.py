"""mask2former, oneformer and eomt: masks equal those of processor and network, and become candidates."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from helpers import tiny_detectors
from helpers.low_precision import autocast_alone
from helpers.tiny_detectors import changed, frame
from transformers import CLIPTokenizer
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.oneformer.image_processing_pil_oneformer import OneFormerImageProcessorPil

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.prediction import Objects, check_prediction
from rvos_ensemble.ensemble.fusion import tracklets
from rvos_ensemble.ensemble.recipe.components import make_component

KINDS = ("mask2former", "oneformer", "eomt")
SIZE = (46, 70)
T = 9


class Images:
    size = SIZE

    def read(self, t):
        return frame(*SIZE, seed=t)

    def fingerprint(self):
        return ""

    def problems(self):
        return []


CLIP = Clip("v", tuple(f"{t:05d}" for t in range(T)), (Expression("v", "0", "a dog"),), Images())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: tiny_detectors.write(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def adapter(kind, folder, **settings):
    values = {"adapter": kind, "weights": str(folder), "threshold": 0.0, "k": 2, "min_area": 0, **settings}
    return make_component("adapter", values, "source x")


@pytest.mark.parametrize("kind", KINDS)
def test_masks_in_bfloat16_are_those_of_autocast(kind, folders):
    with autocast_alone():
        plain = adapter(kind, folders[kind], precision="bf16").predict(CLIP)
    found = adapter(kind, folders[kind], precision="bf16").predict(CLIP)  # with weights that are converted once
    assert found.keys() == plain.keys() and found
    for name, sequence in found.items():
        assert sequence.scores.tolist() == plain[name].scores.tolist()
        assert all(np.array_equal(sequence.mask(t), plain[name].mask(t)) for t in range(T))


def reference(kind, folder, image):
    """(score, label, mask) of a frame, from the processor's inputs, the network, and the processor's own rating."""
    network = tiny_detectors.network(kind)
    values = tiny_detectors.PROCESSORS[kind]
    if kind == "oneformer":
        inputs = OneFormerImageProcessorPil(**values)(image, ["instance"], return_tensors="pt")
        tokens = CLIPTokenizer.from_pretrained(folder)(
            "the task is instance", padding="max_length", max_length=77, return_tensors="pt"
        )
        out = network(inputs["pixel_values"], task_inputs=tokens["input_ids"] * tokens["attention_mask"])
    else:
        processor = {"mask2former": Mask2FormerImageProcessorPil, "eomt": EomtImageProcessorPil}[kind](**values)
        inputs = processor(image, return_tensors="pt")
        out = network(inputs["pixel_values"])
    if kind == "eomt":
        result = processor.post_process_instance_segmentation(out, [SIZE], threshold=0)[0]
        return [(s["score"], s["label_id"], None) for s in result["segments_info"]]
    rate = Mask2FormerImageProcessorPil().post_process_instance_segmentation  # OneFormer's own paper rates so, too
    result = rate(out, threshold=0, target_sizes=[SIZE], return_binary_maps=True)[0]
    masks = result["segmentation"].bool().numpy()
    return [(s["score"], s["label_id"], masks[i]) for i, s in enumerate(result["segments_info"])]


@pytest.mark.parametrize("kind", KINDS)
def test_objects_equal_those_of_processor_and_network(kind, folders):
    own = {} if kind == "eomt" else {"upsample": "nearest"}
    source = adapter(kind, folders[kind], **own)
    objects = check_prediction(source.predict(CLIP), CLIP, "x")
    assert isinstance(objects, Objects) and {int(name.split(".")[0]) for name in objects} == {2, 6}
    for t in (2, 6):
        expected = reference(kind, folders[kind], frame(*SIZE, seed=t))
        mine = [objects[f"{t}.{i}"] for i in range(sum(name.startswith(f"{t}.") for name in objects))]
        assert [s.scores[t] for s in mine] == sorted([s.scores[t] for s in mine], reverse=True)
        best = max(expected)[0]
        assert mine[0].scores[t] == pytest.approx(best, abs=1e-5)
        for sequence in mine:
            found = [e for e in expected if abs(e[0] - sequence.scores[t]) < 1e-5]
            labels = [tiny_detectors.CLASSES[label] for _, label, _ in found]
            if found:  # the processor of Mask2Former may list a stronger query for two classes instead of a weak one
                assert sequence.notes["label"] in labels
                assert kind == "eomt" or any(np.array_equal(sequence.mask(t), mask) for _, _, mask in found)
            assert sequence.notes["key_frame"] == t and not sequence.mask(t - 1).any()


@pytest.mark.parametrize("kind", KINDS)
def test_settings_choose_frames_and_instances(kind, folders):
    every = adapter(kind, folders[kind], k="all").predict(CLIP)
    assert {int(name.split(".")[0]) for name in every} == set(range(T))
    few = adapter(kind, folders[kind], k=1, most=2, labels="dog").predict(CLIP)
    assert set(few) == {"4.0", "4.1"} and {s.notes["label"] for s in few.values()} == {"dog"}
    assert adapter(kind, folders[kind], threshold=1.0).predict(CLIP) == {}


def test_candidates_of_several_segmenters_are_pooled_with_their_labels(folders):
    sources = {kind: adapter(kind, folders[kind], k=2, most=3).predict(CLIP) for kind in KINDS}
    frames = tracklets.key_frames(sources, T, 2)
    assert frames == [2, 6]  # of the same rule as the adapters'
    pooled = tracklets.candidates(sources, frames, 0.0, 20)
    assert len(pooled) == sum(map(len, sources.values()))
    assert {name.split("/")[0] for name in pooled} == set(KINDS)
    assert all(s.notes["label"] in tiny_detectors.CLASSES.values() for s in pooled.values())


def test_traits_are_true_and_adapters_are_pickled_as_settings(folders):
    source = adapter("eomt", folders["eomt"])
    traits, objects = source.traits(CLIP), source.predict(CLIP)
    assert traits.objects and traits.scores and traits.key_frame and traits.kind == "binary"
    assert all(s.kind == "binary" and s.scores is not None for s in objects.values())
    other = pickle.loads(pickle.dumps(source))
    assert "model" not in vars(other)
    assert {k: s.scores.tolist() for k, s in other.predict(CLIP).items()} == {
        k: s.scores.tolist() for k, s in objects.items()
    }


def test_fingerprints_follow_every_file(folders, tmp_path):
    folder = shutil.copytree(folders["oneformer"], tmp_path / "copy")
    first = adapter("oneformer", folder).fingerprint(CLIP)
    assert first == adapter("oneformer", folders["oneformer"]).fingerprint(CLIP)
    changed(folder, "preprocessor_config.json", image_std=[0.3, 0.3, 0.3])
    second = adapter("oneformer", folder).fingerprint(CLIP)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    assert len({first, second, adapter("oneformer", folder).fingerprint(CLIP)}) == 3


def test_all_problems_of_a_folder_are_reported_together_before_a_run(folders, tmp_path):
    folder = shutil.copytree(folders["oneformer"], tmp_path / "copy")
    (folder / "preprocessor_config.json").unlink()
    (folder / "vocab.json").unlink()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    problems = adapter("oneformer", folder, labels=["dogs", "cat"]).check([CLIP])
    text = "\n".join(problems)
    assert len(problems) == 4
    for words in ("has no preprocessor_config.json", "has no tokenizer", "cut short", "did you mean `dog`"):
        assert words in text


def test_a_folder_of_another_network_names_it(folders):
    problems = adapter("mask2former", folders["eomt"]).check([CLIP])
    assert problems == [f"{folders['eomt']}/config.json: describes a network of the kind 'eomt', expected mask2former"]
    assert adapter("eomt", folders["eomt"]).check([CLIP]) == []


def test_eomt_takes_images_of_one_size(folders, tmp_path):
    folder = shutil.copytree(folders["eomt"], tmp_path / "copy")
    size = {"shortest_edge": 96, "longest_edge": 96}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size, "do_pad": True}))
    assert "the network beside it takes (64, 64) only" in "".join(adapter("eomt", folder).check([CLIP]))


def test_masks_that_are_not_numbers_are_an_error(folders):
    source = adapter("eomt", folders["eomt"])
    with torch.no_grad():
        next(source.model.network.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        source.predict(CLIP)
