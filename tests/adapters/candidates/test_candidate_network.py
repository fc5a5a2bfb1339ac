"""The candidate network: its encoder against that of transformers, its masks and their selection against naive ones."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MobileNetV2Config, MobileNetV2Model

from rvos_ensemble.adapters.networks.backbones.mobilenetv2 import MobileNetV2
from rvos_ensemble.adapters.networks.candidates import selection
from rvos_ensemble.adapters.networks.candidates.network import MULTIPLE, CandidateNetwork, Cells, Trunk
from rvos_ensemble.adapters.networks.layers import FrozenBatchNorm2d

MILLION = 1_000_000


def randomise(network, seed=0):
    """Random statistics of the frozen norms, so that forgetting one changes the result."""
    rng = torch.Generator().manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, FrozenBatchNorm2d):
            for buffer in norm.buffers():
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=rng))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return randomise(CandidateNetwork(16, 64))


@pytest.fixture(scope="module")
def cells(network):
    torch.manual_seed(1)
    return network(torch.randn(2, 3, 64, 96))


def test_the_trunk_equals_the_mobilenet_of_transformers():
    torch.manual_seed(0)
    ours = randomise(Trunk())
    config = MobileNetV2Config(tf_padding=False, layer_norm_eps=1e-5, output_stride=32)
    theirs = MobileNetV2Model(config, add_pooling_layer=False).eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    values = [*ours.state_dict().values()]
    last = {k: torch.zeros_like(v) for k, v in state.items() if k.startswith("conv_1x1.")}  # ours has no such layer
    assert len(state) == len(values) + len(last)
    theirs.load_state_dict({**dict(zip(state, values, strict=False)), **last}, strict=False)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        hidden = theirs(image, output_hidden_states=True).hidden_states
    found = ours(image)
    assert [tuple(x.shape[1:]) for x in found] == [(24, 16, 24), (32, 8, 12), (96, 4, 6), (320, 2, 3)]
    for x, index in zip(found, (1, 4, 11, 15), strict=True):  # the last blocks of these stages
        assert torch.allclose(x, hidden[index], rtol=1e-3, atol=1e-4 * hidden[index].abs().max())


def test_the_dilated_encoder_has_the_same_first_maps():
    dilated, trunk = randomise(MobileNetV2()), Trunk().eval()
    trunk.load_state_dict({k: v for k, v in dilated.state_dict().items() if not k.startswith("features.18.")})
    image = torch.randn(1, 3, 64, 64)
    for a, b in zip(dilated(image)[:3], trunk(image)[:3], strict=True):
        assert torch.equal(a, b)


def test_size_of_the_network():
    network = CandidateNetwork()
    weights = network.state_dict().values()
    assert sum(v.numel() for v in weights) < 3 * MILLION
    assert sum(2 * v.numel() for v in weights) < 6 * MILLION  # bytes as fp16


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(32, 1000))
def test_input_sizes_are_the_closest_multiples(height, width, short_side):
    h, w = SIZES.input_size((height, width), short_side)
    for n, side in ((h, height), (w, width)):
        wanted = side * short_side / min(height, width)
        assert n % MULTIPLE == 0 and n > 0 and (abs(n - wanted) <= MULTIPLE / 2 + 1e-6 or n == MULTIPLE)


SIZES = CandidateNetwork(16)


@pytest.mark.parametrize("size", [(32, 32), (64, 160), (224, 96)])
def test_shapes_of_the_cells(network, size):
    h, w = (n // 16 for n in size)
    found = network(torch.zeros(2, 3, *size))
    assert found.objectness.shape == found.quality.shape == (2, h, w)
    assert found.kernels.shape == (2, 169, h, w) and found.features.shape == (2, 8, 4 * h, 4 * w)


def test_folded_norms_give_the_same_cells(network, cells):
    folded = CandidateNetwork(16, 64)
    folded.load_state_dict(network.state_dict())
    folded.requires_grad_(False).fold()
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in folded.modules())
    torch.manual_seed(1)  # the image of `cells`
    for a, b in zip(cells, folded(torch.randn(2, 3, 64, 96)), strict=True):
        assert torch.allclose(a, b, atol=1e-4 * b.abs().max())


def test_masks_are_small_networks_of_each_pixel(network, cells):
    """The mask of cell (2, 4) of frame 1, a pixel at a time: three layers from features and distance to the cell."""
    row, column = 2, 4
    found = network.masks(cells, 1, torch.tensor([row, 0]), torch.tensor([column, 5]))[0]
    assert found.shape == (16, 24)
    p = cells.kernels[1, :, row, column].double()
    first, second, third = p[:80].view(8, 10), p[80:144].view(8, 8), p[144:152]
    biases = p[152:160], p[160:168], p[168]
    for y, x in itertools.product(range(0, 16, 3), range(0, 24, 3)):
        # in pixels of the masks the cell covers 4 * row .. 4 * row + 3; 16 of them are 1
        distance = torch.tensor([4 * column + 1.5 - x, 4 * row + 1.5 - y]).double() / 16
        value = torch.cat([cells.features[1, :, y, x].double(), distance])
        value = (first @ value + biases[0]).relu()
        value = (second @ value + biases[1]).relu()
        assert float(found[y, x]) == pytest.approx(float(third @ value + biases[2]), abs=1e-4)


# Selection ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
@settings(max_examples=30)
def test_matrix_nms_is_its_definition(seed, count):
    rng = np.random.default_rng(seed)
    masks = rng.random((count, 3, 4)) < rng.uniform(0.2, 0.9, (count, 1, 1))
    scores = np.sort(rng.random(count))[::-1].copy()
    found = selection.matrix_nms(torch.from_numpy(masks), torch.from_numpy(scores))

    def iou(i, j):
        return (masks[i] & masks[j]).sum() / max(1, (masks[i] | masks[j]).sum())

    for j in range(count):
        factors = [1.0]
        for i in range(j):
            own = max((iou(k, i) for k in range(i)), default=0.0)
            factors.append(float(np.exp(-2 * (iou(i, j) ** 2 - own**2))))
        assert float(found[j]) == pytest.approx(scores[j] * min(factors), rel=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=30)
def test_peaks_are_maxima_of_their_neighbourhood(seed, h, w):
    values = np.random.default_rng(seed).integers(1, 6, (h, w)).astype(np.float32)
    found = selection.peaks(torch.from_numpy(values)).numpy()
    for y, x in np.ndindex(h, w):
        near = values[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        assert found[y, x] == (values[y, x] if values[y, x] == near.max() else 0)


class Fixed:
    """A network whose masks are known: cell (0, x) has the x-th mask."""

    def __init__(self, logits):
        self.logits = logits

    def masks(self, cells, frame, rows, columns):
        assert (rows == 0).all()
        return self.logits[columns]


def test_selection_keeps_the_best_of_each_object():
    def logit(p):
        return torch.logit(torch.tensor(p))

    a, b = torch.full((4, 8), -9.0), torch.full((4, 8), -9.0)
    a[:, :4], b[:, 6:] = 9.0, logit(0.8)
    empty = torch.full((4, 8), -9.0)
    # columns 0, 2 and 4 are peaks of the objectness; 2 is a duplicate of 0, and column 6 has an empty mask
    objectness = logit([[0.9, 0.1, 0.8, 0.1, 0.6, 0.1, 0.95]])[None]
    quality = logit([[0.5, 0.99, 0.5, 0.99, 0.5, 0.99, 0.99]])[None]
    cells = Cells(objectness, quality, None, torch.zeros(1, 8, 4, 8))
    network = Fixed(torch.stack([a, a, a, a, b, b, empty]))
    found = selection.select(network, cells, 0, most=10)
    expected = [0.9 * 0.5, 0.6 * 0.5 * 0.8, 0.8 * 0.5 * np.exp(-2)]
    assert found.scores.tolist() == pytest.approx(expected, rel=1e-3)
    assert torch.equal(found.logits, torch.stack([a, b, a]))
    assert len(selection.select(network, cells, 0, most=2).scores) == 2
    assert len(selection.select(network, cells, 0, most=10, threshold=0.1).scores) == 2
    assert torch.equal(selection.select(network, cells, 0, 10, min_area=0.3).logits, torch.stack([a, a]))
    for threshold in (0.46, 0.9):  # above all scores, and above those of all cells
        assert selection.select(network, cells, 0, 10, threshold=threshold).logits.shape == (0, 4, 8)
