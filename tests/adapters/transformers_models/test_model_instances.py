"""Instances of queries: equal to the post-processing of transformers, and what is chosen of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

from rvos_ensemble.adapters.inference.preprocess import input_size
from rvos_ensemble.adapters.inference.transformers_models.outputs.instances import Choice, keep, of_eomt, of_mask2former

SIZE = (37, 61)


def queries(seed, count=6, classes=3, sharp=3.0):
    """Class and mask logits of random blobs."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharp * torch.randn(count, classes + 1, generator=generator)
    rough = 4 * torch.randn(1, count, 4, 5, generator=generator) - 1
    return logits, torch.nn.functional.interpolate(rough, size=(12, 20), mode="bicubic")[0]


def theirs(processor, logits, masks, threshold, **arguments):
    """(score, label, mask) of the instances of a processor, best first; of equal masks the best class alone."""
    outputs = SimpleNamespace(class_queries_logits=logits[None], masks_queries_logits=masks[None])
    result = processor.post_process_instance_segmentation(
        outputs, threshold=threshold, target_sizes=[SIZE], **arguments
    )[0]
    found = {}
    for i, info in enumerate(result["segments_info"]):
        mask = result["segmentation"][i].numpy() > 0 if arguments else None
        key = i if mask is None else mask.tobytes()
        if key not in found or found[key][0] < info["score"]:
            found[key] = (info["score"], info["label_id"], mask)
    return sorted(found.values(), key=lambda entry: -entry[0]), result["segmentation"]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.6]))
def test_mask2former_equals_its_processor(seed, threshold):
    logits, masks = queries(seed)
    expected, _ = theirs(Mask2FormerImageProcessorPil(), logits, masks, threshold, return_binary_maps=True)
    best = [e for e in expected if e[0] > 0]
    found = of_mask2former(logits, masks, SIZE, Choice(threshold), "nearest")
    # the processor lists as many pairs of query and class as there are queries, so that weak queries may be missing
    assert len(found) >= len(best) and (threshold < 0.5 or len(found) == len(best))
    for (score, label, mask), own in zip(best, found, strict=False):
        if own.label == label:
            assert own.score == pytest.approx(score, abs=2e-6) and np.array_equal(own.mask, mask)
    if threshold >= 0.5:
        assert [e[1] for e in best] == [i.label for i in found]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.4, 0.8]))
def test_eomt_equals_its_processor(seed, threshold):
    logits, masks = queries(seed)
    side = {"shortest_edge": 64, "longest_edge": 64}
    expected, drawn = theirs(EomtImageProcessorPil(size=side), logits, masks, threshold)
    inside = input_size(SIZE, 64, 64, "transformers")
    found = of_eomt(logits, masks, (64, 64), inside, SIZE, Choice(threshold))
    assert [round(i.score, 6) for i in found] == pytest.approx([e[0] for e in expected], abs=2e-6)
    assert sorted(i.label for i in found) == sorted(e[1] for e in expected)
    covered = np.logical_or.reduce([i.mask for i in found]) if found else np.zeros(SIZE, bool)
    assert np.array_equal(
        covered, drawn.numpy() >= 0
    )  # the processor returns one map, in which later masks hide others


def test_bilinear_masks_are_those_of_the_logits_at_full_size():
    logits, masks = queries(3)
    large = torch.nn.functional.interpolate(masks[None].double(), SIZE, mode="bilinear", align_corners=False)[0]
    found = of_mask2former(logits, masks, SIZE, Choice())
    rough = of_mask2former(logits, masks, SIZE, Choice(), "nearest")
    assert [i.score for i in found] == [i.score for i in rough]
    for instance in found:
        differences = [np.count_nonzero(instance.mask != (m.numpy() > 0)) for m in large]
        assert min(differences) <= 1  # float32 against float64
    assert any(not np.array_equal(a.mask, b.mask) for a, b in zip(found, rough, strict=True))


def test_labels_limit_the_classes():
    logits, masks = queries(5)
    every, only = (of_mask2former(logits, masks, SIZE, Choice(labels=labels)) for labels in (None, [1]))
    assert {i.label for i in every} > {1} and {i.label for i in only} == {1}
    probabilities = logits.softmax(-1)[:, 1]
    assert max(i.score for i in only) <= probabilities.max()


def test_the_best_large_enough_masks_are_kept():
    small, large, empty = np.zeros((3, 10, 10), bool)
    small[0, 0], large[:5] = True, True
    entries = [(0.9, 0, empty), (0.8, 1, small), (0.7, 2, large), (0.6, 3, large)]
    assert [i.label for i in keep(iter(entries), Choice(most=2))] == [1, 2]
    assert [i.label for i in keep(iter(entries), Choice(min_area=0.02))] == [2, 3]
    assert keep(iter([]), Choice()) == []
