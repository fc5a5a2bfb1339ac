"""Mask quality: small masks with known values, invariances, and the record in the results of key-frame rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence, quantise
from rvos_ensemble.adapters.core.overlap import iou
from rvos_ensemble.propagators.core.key_frames import choose
from rvos_ensemble.propagators.core.mask_quality import agreement, centred, soft_stability, temporal_stability


def moving(boxes, size=(40, 60)):
    """One block per frame, (y, x, height, width); None for an empty mask."""
    masks = np.zeros((len(boxes), *size), bool)
    for mask, box in zip(masks, boxes, strict=True):
        if box:
            y, x, h, w = box
            mask[y : y + h, x : x + w] = True
    return MaskSequence.binary(masks)


def test_a_moving_object_of_one_shape_is_stable():
    straight = moving([(5, 5 + 7 * t, 10, 12) for t in range(5)])
    assert temporal_stability(straight).tolist() == [1.0] * 5
    assert agreement([straight]).max() < 0.5  # the overlap does not compensate the motion


def test_a_mask_that_changes_its_shape_is_not():
    masks = moving([(10, 10, 10, 10), (10, 12, 10, 10), (10, 14, 20, 20), (10, 16, 10, 10), (10, 18, 10, 10)])
    stability = temporal_stability(masks)
    assert stability[2] == pytest.approx(0.25) and stability[1] == stability[3] == pytest.approx((1 + 0.25) / 2)
    assert stability[0] == stability[4] == 1


def test_a_stable_but_small_mask_and_an_empty_one_count_little():
    masks = moving([(5, 5, 10, 10)] * 4 + [(5, 5, 5, 10)] * 3 + [None])
    assert temporal_stability(masks).tolist() == pytest.approx([1, 1, 1, 0.75, 0.375, 0.5, 0.25, 0])
    assert temporal_stability(moving([None] * 3)).tolist() == [0, 0, 0]
    assert temporal_stability(moving([(5, 5, 10, 10)])).tolist() == [0]  # nothing to compare with


@settings(max_examples=30, deadline=None)
@given(st.integers(-8, 8), st.integers(-8, 8), st.integers(0, 10**6))
def test_moving_a_mask_back_and_forth(dy, dx, seed):
    blob = np.random.default_rng(seed).random((14, 14)) < 0.5
    blob[0, 0] = True
    a, b = np.zeros((2, 40, 40), bool)
    a[13:27, 13:27] = blob
    b[13 + dy : 27 + dy, 13 + dx : 27 + dx] = blob
    assert iou(centred(b, a), a) == 1 == iou(centred(a, b), b)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_soft_stability_is_segment_anythings(seed):
    p = np.random.default_rng(seed).random((3, 9, 7))
    p = p[(np.abs(p[:, None] - [[[0.4]], [[0.6]]]) > 0.003).all(1).all((1, 2))]  # no value at which rounding decides
    expected = [(x > 0.6).sum() / max((x > 0.4).sum(), 1) for x in p]
    if len(p):
        assert soft_stability(MaskSequence.prob(quantise(p))).tolist() == pytest.approx(expected)


def test_soft_stability_prefers_sharp_outlines():
    x = np.linspace(-1, 1, 50)
    disc = 1 - np.hypot(*np.meshgrid(x, x)) * 2
    masks = MaskSequence.prob(quantise(np.stack([1 / (1 + np.exp(-disc * k)) for k in (1, 4, 30)])))
    stability = soft_stability(masks)
    assert stability[0] < stability[1] < stability[2] < 1 and stability[2] > 0.95
    assert soft_stability(MaskSequence.prob(np.zeros((2, 4, 4), np.uint8))).tolist() == [0, 0]


def test_rules_record_which_quality_decided():
    soft = MaskSequence.prob(np.stack([np.uint8([[255, 120]]), np.uint8([[255, 0]])]))
    key = choose({"rule": "argmax", "without_scores": "soft"}, soft)
    assert (key.frames, key.rule) == ((1,), "soft") and "has no scores" in key.note
    shapes = moving([(10, 10, 10, 10), (10, 10, 12, 12), (10, 12, 12, 12), (10, 14, 12, 12), (1, 1, 30, 30)])
    key = choose({"rule": "argmax", "without_scores": "temporal"}, shapes)
    assert (key.frames, key.rule) == ((2,), "temporal")
    assert choose("temporal", shapes).frames == (2,)
    # the product over models: the second is empty at frame 2
    other = moving([(10, 10, 10, 10), (10, 10, 10, 10), None, (10, 14, 12, 12), (10, 14, 12, 12)])
    assert choose("temporal", shapes, {"a": shapes, "b": other}).frames != (2,)


def test_binary_masks_have_no_soft_stability():
    binary = moving([(10, 10, 10, 10)] * 3)
    with pytest.raises(InputError, match=r"has no probabilities.*choose another rule"):
        choose("soft", binary)
    assert choose({"rule": "soft", "without_scores": "agreement"}, binary).rule == "agreement"
