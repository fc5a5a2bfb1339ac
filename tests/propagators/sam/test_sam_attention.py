"""Attention in blocks, rotary encodings, and memories of unequal size against definitions written out."""

import numpy as np
import pytest
import torch
from helpers.sam_models import quick_sam
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.sam2_video.modeling_sam2_video import apply_rotary_pos_emb_2d, get_1d_sine_pe

from rvos_ensemble.propagators.inference.sam import attention as module
from rvos_ensemble.propagators.inference.sam.attention import attention
from rvos_ensemble.propagators.inference.sam.memory.cross_attention import sine_encoding
from rvos_ensemble.propagators.inference.sam.memory.perceiver import perceive
from rvos_ensemble.propagators.inference.sam.rotation import rotated, rotation


def defined(q, k, v):
    """Attention of one head in float64."""
    logits = q.astype(np.float64) @ k.astype(np.float64).T / np.sqrt(q.shape[-1])
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True) @ v.astype(np.float64)


@settings(max_examples=25)
@given(
    n=st.integers(1, 40), m=st.integers(1, 90), heads=st.integers(1, 2), scale=st.sampled_from([0.1, 3.0, 100.0]),
    block=st.sampled_from([1, 7, 16, 1024]),
)  # fmt: skip
def test_blocks_give_the_attention_that_is_defined(n, m, heads, scale, block):
    rng = np.random.default_rng(n * 100 + m)
    q, k = (rng.normal(0, scale, (2, heads, count, 8)).astype(np.float32) for count in (n, m))
    v = rng.normal(size=(2, heads, m, 3)).astype(np.float32)
    kept, module.BLOCK = module.BLOCK, block
    try:
        own = attention(*map(torch.from_numpy, (q, k, v))).numpy()
    finally:
        module.BLOCK = kept
    for b in range(2):
        for h in range(heads):
            assert np.allclose(own[b, h], defined(q[b, h], k[b, h], v[b, h]), atol=2e-5 * max(1, scale))


def test_rotations_equal_transformers():
    network = quick_sam("sam2")
    memory, x = network.memory_attention, torch.randn(2, 1, 64, 128)
    cos, sin = memory.rotary_emb(x, memory.position_ids)
    expected, _ = apply_rotary_pos_emb_2d(x, x, cos, sin)
    assert torch.allclose(rotated(x, rotation(memory.rotary_emb, memory.position_ids)), expected, atol=1e-6)


def test_sine_encodings_equal_transformers():
    x = torch.tensor([0.0, 0.2, 1.0, 7.5])
    assert torch.allclose(sine_encoding(x, 32), get_1d_sine_pe(x, 32), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_perceiver_runs_in_a_batch(batch):
    network = quick_sam("edgetam")
    x, positions = torch.randn(batch, 64, 8, 8), torch.randn(1, 64, 8, 8)
    expected = torch.cat([network.spatial_perceiver(row[None], positions)[0] for row in x])
    assert torch.allclose(perceive(network.spatial_perceiver, x, positions), expected, atol=1e-5)
