"""Frames as inputs: equal to those of the image processors of transformers (their Pillow versions)."""

import json

import numpy as np
import pytest
import torch
from helpers.tiny_detectors import frame
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.oneformer.image_processing_pil_oneformer import OneFormerImageProcessorPil

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.transformers_models.inputs.images import HALF, IMAGENET, read_rule, square

SIDES = st.integers(8, 150)
STD = {"image_std": [0.2, 0.3, 0.25], "image_mean": [0.4, 0.5, 0.6]}
CASES = {  # {name: (processor, its settings, arguments of read_rule)}
    "mask2former": (
        Mask2FormerImageProcessorPil,
        {"size": {"shortest_edge": 60, "longest_edge": 90}},
        {"divides": True},
    ),
    "divisor": (
        Mask2FormerImageProcessorPil,
        {"size": {"shortest_edge": 50, "longest_edge": 77}, "size_divisor": 8, **STD},
        {"divides": True},
    ),
    "max_size": (Mask2FormerImageProcessorPil, {"size": 40, "max_size": 70}, {"divides": True}),
    "exact": (Mask2FormerImageProcessorPil, {"size": {"height": 40, "width": 70}, "resample": 3}, {"divides": True}),
    "oneformer": (OneFormerImageProcessorPil, {"size": {"shortest_edge": 60, "longest_edge": 90}}, {}),
    "eomt": (
        EomtImageProcessorPil,
        {"size": {"shortest_edge": 64, "longest_edge": 64}, "do_pad": True},
        {"pads": True},
    ),
    "eomt_square": (EomtImageProcessorPil, {"size": {"height": 64, "width": 64}}, {"pads": True}),
    "grounding_dino": (GroundingDinoImageProcessorPil, {"size": {"shortest_edge": 60, "longest_edge": 90}, **STD}, {}),
}


def write(folder, values, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("name", CASES)
def test_pixels_equal_those_of_the_processor(name, tmp_path_factory):
    processor, values, arguments = CASES[name]
    rule, _ = read_rule(write(tmp_path_factory.mktemp("rule"), values), **arguments)
    theirs = processor(**values)

    @settings(max_examples=25, deadline=None)
    @given(SIDES, SIDES)
    def equal(height, width):
        image = frame(height, width, seed=height)
        given = {"task_inputs": ["instance"]} if name == "oneformer" else {}
        expected = theirs(image, return_tensors="pt", input_data_format="channels_last", **given)["pixel_values"]
        found = rule.pixels(image)
        assert found.shape == expected.shape and found.dtype == torch.float32
        assert (found - expected).abs().max() <= 2e-6

    equal()


def test_settings_may_be_those_of_a_whole_processor(tmp_path):
    values = {"image_processor": {"size": {"height": 20, "width": 30}}, "tokenizer": {}}
    rule, file = read_rule(write(tmp_path, values, "processor_config.json"))
    assert rule.pixels(frame()).shape == (1, 3, 20, 30) and file.name == "processor_config.json"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"do_split_image": True}, "semantic segmentation"),
        ({"do_resize": False}, "`do_resize` is false"),
        ({"size": {"longest_edge": 5}}, "expected shortest_edge"),
        ({"size": {"shortest_edge": 10**9, "longest_edge": 5}}, "whole number of pixels"),
        ({"size": {"shortest_edge": "a"}}, "whole number of pixels"),
        ({"size": None}, "expected shortest_edge"),
        ({"resample": 77}, "filter of Pillow"),
        ({"resample": [2]}, "filter of Pillow"),
        ({"image_std": [0, 1, 1]}, "three numbers"),
        ({"image_mean": "red"}, "three numbers"),
        ({"rescale_factor": -1}, "1 / 255"),
        ([1], "holds a list"),
    ],
)
def test_impossible_settings_are_named(values, words, tmp_path):
    with pytest.raises(InputError) as error:
        read_rule(write(tmp_path, values))
    assert words in str(error.value) and "preprocessor_config.json" in str(error.value)


def test_networks_that_take_squares_need_padding(tmp_path):
    values = {"size": {"shortest_edge": 64, "longest_edge": 64}, "do_pad": False}
    with pytest.raises(InputError, match="squares only"):
        read_rule(write(tmp_path, values), pads=True)


def test_a_folder_without_settings_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"has no preprocessor_config\.json"):
        read_rule(tmp_path)


@pytest.mark.parametrize(("mean", "std"), [IMAGENET, HALF])
def test_square_is_a_resize_of_bytes(mean, std):
    """torch resizes uint8 with rounding; the reference rounds a resize in float64 of its own."""
    image = frame(40, 64)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    exact = torch.nn.functional.interpolate(x, (24, 24), mode="bilinear", antialias=True)
    levels = square(image, 24, mean, std) * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    assert (levels * 255 - exact).abs().max() <= 1.01  # rounded twice, once per axis
    assert (levels * 255 - (levels * 255).round()).abs().max() < 1e-4
    assert not np.shares_memory(image, levels.numpy())
