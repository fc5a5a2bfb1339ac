"""Backbones of MUTR and UNINEXT against naive references: windows, relative positions, and one another."""

import pytest
import torch
from helpers.fanin import fill
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.backbones.convmae import ConvMAE
from rvos_ensemble.adapters.networks.backbones.convnext import ConvNeXt, Detectron2ConvNeXt
from rvos_ensemble.adapters.networks.backbones.detectron2_resnet import Detectron2ResNet
from rvos_ensemble.adapters.networks.backbones.mobilenetv2 import ConvNormReLU
from rvos_ensemble.adapters.networks.backbones.resnet import ResNet
from rvos_ensemble.adapters.networks.backbones.vit import (
    WINDOW,
    ViT,
    ViTAttention,
    ViTBlock,
    from_windows,
    relative,
    resize_positions,
    to_windows,
)
from rvos_ensemble.adapters.networks.layers import fold_batch_norm


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.integers(1, 30), st.integers(1, 30), st.integers(1, 15))
@settings(max_examples=30, deadline=None)
def test_windows_hold_what_lies_in_them(b, h, w, side):
    x = noise(b, h, w, 2)
    windows = to_windows(x, side)
    columns = -(-w // side)
    per_frame = -(-h // side) * columns
    assert windows.shape == (b * per_frame, side, side, 2)
    for n, window in enumerate(windows):
        i, j = divmod(n % per_frame, columns)
        part = x[n // per_frame, i * side : (i + 1) * side, j * side : (j + 1) * side]
        whole = torch.zeros(side, side, 2)
        whole[: part.shape[0], : part.shape[1]] = part
        assert torch.equal(window, whole)
    assert torch.equal(from_windows(windows, (h, w)), x)


def test_relative_positions_are_looked_up_by_offset():
    table = noise(9, 4)
    found = relative(table, 5)
    assert all(torch.equal(found[i, j], table[i - j + 4]) for i in range(5) for j in range(5))


def test_relative_positions_of_another_size_are_resized_linearly():
    table = torch.linspace(-8, 8, 17)[:, None]  # the offset itself: resizing keeps it a straight line
    found = relative(table, 5)
    step = 17 / 9
    offsets = torch.arange(5)[:, None] - torch.arange(5)
    inner = offsets.abs() <= 3  # the ends are clamped by half a step
    assert torch.allclose(found[..., 0][inner], step * offsets[inner].float(), atol=1e-5)


def test_positions_keep_their_values_at_their_own_size():
    table = noise(1, 9, 4)
    assert torch.equal(resize_positions(table, (3, 3)), table.view(1, 3, 3, 4))
    assert resize_positions(table, (2, 5)).shape == (1, 2, 5, 4)


@pytest.mark.parametrize("size", [(4, 4), (3, 6)])
def test_attention_equals_attention_with_its_map_written_out(size):
    (h, w), heads = size, 2
    attention = fill(ViTAttention(8, heads, side=4))
    x = noise(2, h, w, 8)
    rows, columns = relative(attention.rel_pos_h, h), relative(attention.rel_pos_w, w)
    with torch.no_grad():
        q, k, v = attention.qkv(x).flatten(1, 2).chunk(3, -1)
        out = torch.zeros(2, h * w, 8)
        for head in range(heads):
            part = slice(4 * head, 4 * head + 4)
            score = q[..., part] @ k[..., part].transpose(1, 2) / 2  # sqrt(4)
            for i in range(h * w):
                for j in range(h * w):
                    bias = rows[i // w, j // w] + columns[i % w, j % w]
                    score[:, i, j] += q[:, i, part] @ bias
            out[..., part] = score.softmax(-1) @ v[..., part]
        expected = attention.proj(out).view(2, h, w, 8)
        assert torch.allclose(attention(x), expected, atol=1e-5)


def test_a_windowed_block_sees_one_window_at_a_time():
    block = fill(ViTBlock(8, 2, side=4, windowed=True))
    x = noise(1, WINDOW, 2 * WINDOW, 8)
    y = x.clone()
    y[:, :, WINDOW:] += 1
    with torch.no_grad():
        a, b = block(x), block(y)
        assert torch.equal(a[:, :, :WINDOW], b[:, :, :WINDOW])
        assert not torch.allclose(a[:, :, WINDOW:], b[:, :, WINDOW:])
        whole = fill(ViTBlock(8, 2, side=WINDOW, windowed=False))  # same weights: a window of its own is all there is
        assert torch.allclose(a[:, :, :WINDOW], whole(x[:, :, :WINDOW]), atol=1e-6)


def test_vit_gives_maps_at_strides_8_16_32():
    vit = fill(ViT(16, depth=2, heads=2, windowed=(0,)))
    with torch.no_grad():
        maps = vit(noise(2, 3, 64, 96))
    assert [tuple(x.shape) for x in maps] == [(2, 8, 8, 12), (2, 16, 4, 6), (2, 16, 2, 3)]
    assert torch.equal(maps[2], F.max_pool2d(maps[1], 2))


def test_convmae_gives_maps_at_strides_4_8_16_32_of_any_size():
    net = fill(ConvMAE(max_size=64, channels=(8, 12, 16), depths=(1, 1, 2), heads=2, windowed=(0,)))
    assert net.blocks3[0].attn.rel_pos_h.shape == (2 * WINDOW - 1, 8)
    assert net.blocks3[1].attn.rel_pos_h.shape == (2 * 4 - 1, 8)
    with torch.no_grad():
        maps = net(noise(1, 3, 75, 131))
    assert [tuple(x.shape) for x in maps] == [(1, 8, 18, 32), (1, 12, 9, 16), (1, 16, 4, 8), (1, 16, 2, 4)]


def test_published_convmae_has_tables_of_79_rows():
    with torch.device("meta"):
        net = ConvMAE()
    assert [len(b.attn.rel_pos_w) for b in net.blocks3] == [27, 79, 27, 27, 79, 27, 27, 79, 27, 27, 79]


def test_both_namings_of_convnext_are_the_same_network():
    sizes = (8, 12, 16, 20), (1, 1, 2, 1)
    ours, theirs = fill(ConvNeXt(*sizes)), Detectron2ConvNeXt(*sizes).eval()
    state = ours.state_dict()
    names = {"dwconv": "conv_dw", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2"}
    renamed = {}
    for key in theirs.state_dict():
        if key.startswith("norm"):  # timm has none
            renamed[key] = torch.full((1, sizes[0][int(key[4])]), float(".weight.weight" in key))
            continue
        name = key.replace("downsample_layers.0.", "stem.")
        for level in range(4):
            name = name.replace(f"downsample_layers.{level}.", f"stages.{level}.downsample.")
            name = name.replace(f"stages.{level}.", f"stages.{level}.blocks.") if key.startswith("stages.") else name
        for d2, timm in names.items():
            name = name.replace(d2, timm)
        one_row = key.endswith((".weight.weight", ".bias.weight", "gamma.weight"))
        renamed[key] = state[name.removesuffix(".weight")][None] if one_row else state[name]
    theirs.load_state_dict(renamed)
    frames = noise(2, 3, 96, 64)
    with torch.no_grad():
        a, b = ours(frames), theirs(frames)
    for x, y in zip(a[1:], b, strict=True):
        normed = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], eps=1e-6).permute(0, 3, 1, 2)
        assert torch.allclose(y, normed, atol=1e-5)


def test_both_namings_of_resnet_are_the_same_network():
    ours, theirs = ResNet((1, 2, 1, 1)), fill(Detectron2ResNet((1, 2, 1, 1)))
    for module in theirs.modules():  # statistics worth folding
        if hasattr(module, "running_mean"):
            c = len(module.running_mean)
            module.running_mean += 0.1 * noise(c, seed=c)
            module.running_var += noise(c, seed=c + 1).abs()
            module.weight *= 1.1
            module.bias += 0.1 * noise(c, seed=c + 2)
    state = {}
    for key, value in theirs.state_dict().items():
        name = key.removeprefix("stem.")
        for level in range(2, 6):
            name = name.replace(f"res{level}.", f"layer{level - 1}.")
        name = name.replace("shortcut.norm.", "downsample.1.").replace("shortcut.weight", "downsample.0.weight")
        for n in (1, 2, 3):
            name = name.replace(f"conv{n}.norm.", f"bn{n}.")
        state[name] = value
    ours.load_state_dict(state)
    frames = noise(2, 3, 67, 90)
    with torch.no_grad():
        for x, y in zip(ours.eval()(frames)[1:], theirs(frames), strict=True):
            assert torch.allclose(x, y, atol=1e-4 * float(x.abs().max()))


def test_untrained_norms_of_detectron2_change_nothing():
    conv = Detectron2ResNet((1, 1, 1, 1)).stem.conv1
    x = noise(1, 3, 32, 32)
    with torch.no_grad():
        plain = F.conv2d(x, conv.weight, None, 2, 3)
        assert torch.allclose(conv(x), plain, atol=1e-6 * float(plain.abs().max()) + 1e-7)


@pytest.mark.parametrize("geometry", [(8, 24, 1), (3, 16, 3, 2), (24, 24, 3, 1, 2, 24)])
def test_convolution_and_relu_in_one_kernel_are_those_in_two(geometry):
    block = ConvNormReLU(*geometry)
    block[1].weight.copy_(4 + noise(geometry[1]))
    block[1].bias.copy_(noise(geometry[1], seed=1))
    x = 4 * noise(2, geometry[0], 13, 18).contiguous(memory_format=torch.channels_last)
    before = block(x)
    fold_batch_norm(block)
    block.to(memory_format=torch.channels_last)
    with torch.no_grad():
        one = block(x)  # in one kernel where oneDNN is available
    two = block(x)  # gradients are needed, so in two
    assert torch.allclose(one, two, atol=1e-5) and torch.allclose(one, before, atol=1e-4)
    assert 0 < (one == 0).float().mean() < 1 and one.max() == 6
    with torch.no_grad():
        assert block.double()(x.double()).dtype == torch.float64  # a type that oneDNN does not compute in
