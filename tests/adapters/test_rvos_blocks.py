"""The blocks of the RVOS networks against naive references."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.backbones.swin import SwinBlock, partition
from rvos_ensemble.adapters.networks.deformable import DeformableAttention, sample
from rvos_ensemble.adapters.networks.dynamic_masks import Kernels, dynamic_masks, parameters_per_query
from rvos_ensemble.adapters.networks.interface import in_steps
from rvos_ensemble.adapters.networks.layers import Attention
from rvos_ensemble.adapters.networks.rvos.temporal import Temporal, window_masks


def close(a, b, tolerance=1e-5):
    """Whether they differ by less than a share of the largest value."""
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max()


def naive_sample(value, place, weight, sizes):
    """Sums of bilinear samples, one at a time."""
    b, n, heads, levels, points = weight.shape
    found = torch.zeros(b, n, heads, value.shape[-1], dtype=torch.float64)
    starts = np.cumsum([0, *(h * w for h, w in sizes)])
    for i, q, m, l, p in np.ndindex(b, n, heads, levels, points):
        h, w = sizes[l]
        x, y = (place[i, q, m, l, p].double() - 0.5).tolist()
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < h and 0 <= column < w:
                    share = (1 - abs(x - column)) * (1 - abs(y - row)) * weight[i, q, m, l, p].double()
                    found[i, q, m] += share * value[i, starts[l] + row * w + column, m].double()
    return found.flatten(2)


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3),
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.0, 1.0, 100.0]),
)
def test_samples_are_bilinear_and_zero_outside(sizes, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(2, sum(h * w for h, w in sizes), 2, 3, generator=generator)
    scale = torch.tensor([(w, h) for h, w in sizes]).view(-1, 1, 2)
    place = (torch.rand(2, 4, 2, len(sizes), 2, 2, generator=generator) * (1 + spread) - spread / 2) * scale
    weight = torch.rand(2, 4, 2, len(sizes), 2, generator=generator)
    expected = naive_sample(value, place, weight, sizes)
    assert torch.allclose(sample(value, place, weight, sizes).double(), expected, atol=1e-5)


@pytest.mark.parametrize("x", [-1.0, -0.5, 0.0, 0.5, 3.5, 4.0, 4.5, 5.0])
def test_samples_at_the_border(x):
    value, weight = torch.arange(1.0, 21.0).view(1, 20, 1, 1), torch.ones(1, 1, 1, 1, 1)
    place = torch.tensor([x, x]).view(1, 1, 1, 1, 1, 2)
    assert torch.allclose(sample(value, place, weight, [(5, 4)]).double(), naive_sample(value, place, weight, [(5, 4)]))


def test_what_overflowed_stays_visible():
    value, weight = torch.ones(1, 4, 1, 1), torch.tensor([1.0, torch.nan]).view(1, 2, 1, 1, 1)
    place = torch.tensor([torch.inf, torch.nan]).view(1, 2, 1, 1, 1, 1).expand(-1, -1, -1, -1, -1, 2)
    found = sample(value, place, weight, [(2, 2)])[0, :, 0]
    assert found[0] == 0 and found[1].isnan()


@torch.no_grad()
def test_deformable_attention_by_points_and_by_boxes():
    torch.manual_seed(0)
    layer, sizes = DeformableAttention(16, levels=2, heads=4, points=2), [(3, 5), (2, 2)]
    query, tokens = torch.randn(2, 3, 16), torch.randn(2, 19, 16)
    box, padding = torch.rand(2, 3, 4), torch.rand(2, 19) > 0.7
    offset = layer.sampling_offsets(query).view(2, 3, 4, 2, 2, 2)
    weight = layer.attention_weights(query).view(2, 3, 4, 4).softmax(-1).view(2, 3, 4, 2, 2)
    value = layer.value_proj(tokens).masked_fill(padding[..., None], 0).view(2, 19, 4, 4)
    scale = torch.tensor([[5.0, 3.0], [2.0, 2.0]]).view(2, 1, 2)
    centre, extent = box[:, :, None, None, None, :2], box[:, :, None, None, None, 2:]
    places = {2: (centre + offset / scale) * scale, 4: (centre + offset / 2 * extent / 2) * scale}
    for numbers, place in places.items():
        expected = layer.output_proj(naive_sample(value, place, weight, sizes).float())
        found = layer(query, box[..., :numbers], tokens, sizes, padding)
        assert torch.allclose(found, expected, atol=1e-5)
        per_level = box[:, :, None, :numbers].expand(-1, -1, 2, -1)
        assert torch.allclose(layer(query, per_level, tokens, sizes, padding), found)


@torch.no_grad()
def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = Attention(32, 4), nn.MultiheadAttention(32, 4, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    padding = torch.arange(7) >= torch.tensor([4, 7])[:, None]
    expected = theirs(query, key, value, key_padding_mask=padding)[0]
    assert torch.allclose(ours(query, key, value, ~padding[:, None, None]), expected, atol=1e-6)
    assert torch.allclose(ours(query, key[:1], value[:1])[0], theirs(query[:1], key[:1], value[:1])[0][0], atol=1e-6)


@pytest.mark.parametrize("offset_first", [False, True])
@torch.no_grad()
def test_dynamic_masks_are_three_convolutions(offset_first):
    torch.manual_seed(0)
    channels, stride = 6, 4
    features, centre = torch.randn(2, channels, 5, 7), torch.rand(2, 3, 2) * 20
    parameters = torch.randn(2, 3, parameters_per_query(channels))
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    kernels = Kernels.split(parameters, channels, offset_first)
    y, x = torch.meshgrid(torch.arange(5) * stride + 2, torch.arange(7) * stride + 2, indexing="ij")
    for b in range(2):
        for k in range(3):
            offset = centre[b, k].view(2, 1, 1) - torch.stack([x, y])
            pixels = conv(features[b : b + 1])
            parts = [offset[None], pixels] if offset_first else [pixels, offset[None]]
            p = parameters[b, k]
            first = (channels + 2) * 8
            found = F.conv2d(torch.cat(parts, 1), p[:first].view(8, -1, 1, 1), p[first + 72 : first + 80])
            found = F.conv2d(found.relu(), p[first : first + 64].view(8, 8, 1, 1), p[first + 80 : first + 88])
            found = F.conv2d(found.relu(), p[first + 64 : first + 72].view(1, 8, 1, 1), p[first + 88 :])[0, 0]
            close(dynamic_masks(conv(features), kernels, centre, stride)[b, k], found)
            close(dynamic_masks(features, kernels, centre, stride, conv)[b, k], found)


def naive_windows(block, x, size, window, shift):
    """A Swin block that compares every two tokens: attention only where the shifted grid puts both in one window and
    they were neighbours before; padding takes part as zeros."""
    d, h, w = (-(-length // extent) * extent for length, extent in zip(size, window, strict=True))
    y = F.pad(block.norm1(x).view(*size, -1), (0, 0, 0, w - size[2], 0, h - size[1], 0, d - size[0])).flatten(0, 2)
    cells = torch.cartesian_prod(torch.arange(d), torch.arange(h), torch.arange(w))
    moved = torch.stack([(cells[:, i] - shift[i]) % n for i, n in enumerate((d, h, w))], 1)
    windows = moved // torch.tensor(window)
    wrapped = torch.stack([cells[:, i] < shift[i] for i in range(3)], 1)  # went to the far side
    together = (windows[:, None] == windows).all(-1) & (wrapped[:, None] == wrapped).all(-1)
    place = moved % torch.tensor(window)
    index = (place * torch.tensor([window[1] * window[2], window[2], 1])).sum(1)
    bias = block.attn.bias(math.prod(window))[0][:, index[:, None], index]  # [heads, N, N]
    q, k, v = block.attn.qkv(y).unflatten(1, (3, block.attn.heads, -1)).permute(1, 2, 0, 3)
    logits = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + bias
    y = logits.masked_fill(~together, -torch.inf).softmax(-1) @ v
    y = block.attn.proj(y.transpose(0, 1).flatten(1)).view(d, h, w, -1)[: size[0], : size[1], : size[2]]
    x = x + y.flatten(0, 2)
    return x + block.mlp(block.norm2(x))


@pytest.mark.parametrize("size", [(4, 6, 9), (3, 7, 7), (5, 8, 4)])
@pytest.mark.parametrize("shift", [(0, 0, 0), (1, 1, 2), (0, 1, 2)])
@torch.no_grad()
def test_windows_are_those_of_a_naive_grid(size, shift):
    torch.manual_seed(0)
    window = (2, 3, 4)
    block = SwinBlock(8, 2, window, shifted=True)
    nn.init.normal_(block.attn.relative_position_bias_table)
    x = torch.randn(math.prod(size), 8)
    for step in (1000, 30):  # all windows at once, one at a time
        found = F.pad(x[None], (0, 0, 0, 1))
        block.run(found, size, window, shift, step)
        assert torch.allclose(found[0, :-1], naive_windows(block, x, size, window, shift), atol=1e-5)


def test_every_token_is_in_one_window():
    for shift in ((0, 0, 0), (4, 3, 3)):
        groups = partition((9, 15, 20), (8, 7, 7), shift, torch.device("cpu"))
        cells = torch.cat([group.cells.flatten() for group in groups])
        assert sorted(cells[cells < 2700].tolist()) == list(range(2700)) and len(cells) == 16 * 21 * 21
        assert len(groups) == (8 if shift[0] else 1)
        assert all(group.padded == bool((group.cells == 2700).any()) for group in groups)


@torch.no_grad()
def test_queries_of_a_clip_do_not_see_padding_frames():
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3, 32)
    for learned_start, window in ((True, 4), (False, None)):
        network = Temporal(3, window, learned_start, channels=32).eval()
        start = None if learned_start else torch.randn(2, 32)
        found = network(x, start)
        assert found.shape == (2, 3, 32)
        one = network(x[1:], None if learned_start else start[1:])
        assert torch.allclose(found[1:], one, atol=1e-5)
    straight, shifted = (m == 0 for m in window_masks(6, 4, torch.device("cpu")))
    frame = torch.arange(8)
    for seen, order in ((straight, frame), (shifted, frame.roll(2))):
        for i, rows in enumerate(order.view(2, 4)):
            for a, row in enumerate(rows.tolist()):
                looks_at = {c for b, c in enumerate(rows.tolist()) if seen[i, a, b]}
                neighbours = {c for c in rows.tolist() if c < 6 and (row < 6) == (c < 6)}
                if row < 6:
                    assert looks_at == {c for c in neighbours if abs(c - row) < 4}


@given(rows=st.integers(1, 7), step=st.one_of(st.none(), st.integers(1, 8)))
def test_steps_put_rows_together_again(rows, step):
    x = torch.arange(rows)
    double, negative = in_steps(lambda a, b: (a * 2, -b), step, x, x)
    assert double.tolist() == (x * 2).tolist() and negative.tolist() == (-x).tolist()
