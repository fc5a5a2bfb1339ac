"""UNINEXT on frames whose sizes are no multiples of 32, which ConvNeXt pads: the masks of the official code.

`benchmarks/official_uninext_golden.py` writes the golden file.
"""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.fanin import fill
from helpers.odd_frames import BACKBONE, SIZES_OF_FRAMES, SMALL, frame, words
from torch import nn

from rvos_ensemble.adapters.inference.preprocess import MEAN_255, STD_255
from rvos_ensemble.adapters.networks.backbones.convnext import Detectron2ConvNeXt
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.layers import sine_map, sine_wave
from rvos_ensemble.adapters.networks.uninext.layout import Layout
from rvos_ensemble.adapters.networks.uninext.uninext import Uninext

GOLDEN = Path(__file__).with_name("golden") / "uninext_odd_sizes.npz"


@pytest.fixture(scope="module")
def network():
    language = nn.Module()
    language.config = SimpleNamespace(hidden_size=768)
    return fill(Uninext(Detectron2ConvNeXt(**BACKBONE), language, **asdict(SMALL)))


@pytest.fixture
def in_float64():
    """Tensors of no stated dtype are float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("size", SIZES_OF_FRAMES, ids="{0[0]}x{0[1]}".format)
def test_masks_are_the_official_ones(network, size):
    golden, name = np.load(GOLDEN), "{}x{}".format(*size)
    pixels = torch.from_numpy(((frame(size) - MEAN_255) / STD_255).astype(np.float32)).permute(2, 0, 1)
    states = torch.from_numpy(words())
    answer = network.answer(network.encode(pixels[None]), Text(states, torch.zeros(states.shape[:2], dtype=torch.bool)))
    assert answer.query.item() == golden[f"best_{name}"]
    np.testing.assert_allclose(answer.query_scores[0, 0], golden[f"scores_{name}"], rtol=0, atol=2e-6)
    mask = golden[f"mask_{name}"]
    assert answer.logits.shape[2:] == mask.shape
    assert float(np.abs(answer.logits[0, 0].numpy() - mask).max()) <= 1e-5 * np.abs(mask).max()


def layout_with_padding():
    """A map of 28 x 44 cells, of which 25 x 42 are a frame."""
    mask = torch.zeros(28, 44, dtype=torch.bool)
    mask[:25, :42] = True
    return Layout.of([mask], 256)


def test_cells_of_the_padding_have_the_official_positions():
    """In a row or column of padding the official code divides -0.5 by 1e-6: 2 pi times that is -3,141,592.75 in
    float32, a number that float32 resolves to 0.25 only. Its sine is that of the rounded number."""
    position, outside = layout_with_padding().position.unflatten(0, (28, 44)), -3141592.75
    period = (10000 ** (2 * (np.arange(128) // 2) / 128)).astype(np.float32)
    angle = (np.float32(outside) / period).astype(np.float64)
    wave = np.where(np.arange(128) % 2, np.cos(angle), np.sin(angle))
    np.testing.assert_allclose(position[0, 43, :128], wave, atol=1e-6)  # rows, in a column of padding
    np.testing.assert_allclose(position[27, 0, 128:], wave, atol=1e-6)  # columns, in a row of padding


def test_positions_are_computed_in_float32_whatever_the_default_dtype(in_float64):
    wide = layout_with_padding()
    waves = sine_wave(torch.tensor([-3141592.75], dtype=torch.float32), 8), sine_map((3, 5), 16, torch.device("cpu"))
    torch.set_default_dtype(torch.float32)
    single = layout_with_padding()
    for name in ("share", "position", "centre", "box"):
        assert getattr(wide, name).dtype == torch.float32
        assert torch.equal(getattr(wide, name), getattr(single, name))
    assert torch.equal(waves[0], sine_wave(torch.tensor([-3141592.75]), 8))
    assert torch.equal(waves[1], sine_map((3, 5), 16, torch.device("cpu")))
