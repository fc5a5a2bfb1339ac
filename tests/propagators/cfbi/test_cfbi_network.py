"""The networks CFBI and CFBI+ against the official code, and their fast parts against naive ones.

`golden.npz` was made by the official code (commit 91fc6a3 of 2023-01-18, in double precision) with the weights, frames
and masks of `helpers/seeded_cfbi.py`: logits and probabilities of the fourth frame, and a hash of all names and shapes
of its checkpoints with ResNet-101.
"""

import hashlib
from functools import cache
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from helpers.seeded_cfbi import block_video, weights_of
from hypothesis import strategies as st
from torch.nn import functional as F

from rvos_ensemble.propagators.inference.aot.object_banks import probabilities
from rvos_ensemble.propagators.inference.aot.tta import Augmentation
from rvos_ensemble.propagators.inference.families.cfbi import CFBIFamily
from rvos_ensemble.propagators.networks.cfbi.matching import (
    FAR,
    LocalMatcher,
    nearest_reference,
    reference_columns,
    squashed,
)
from rvos_ensemble.propagators.networks.cfbi.mixture import Mixture
from rvos_ensemble.propagators.networks.cfbi.network import CFBINetwork
from rvos_ensemble.propagators.networks.cfbi.references import References
from rvos_ensemble.propagators.networks.cfbi.resampling import conv_of_upsampled
from rvos_ensemble.propagators.networks.cfbi.sizes import CFBISizes

GOLDEN = Path(__file__).with_name("golden.npz")
# frame size, input size, reference frames, whether the previous frame has the object, minimum of pixels
CASES = {
    "one": ((75, 109), (81, 113), (0,), True, 0),
    "two": ((75, 109), (81, 113), (0, 1), False, 0),
    "even": ((65, 81), (65, 81), (0, 2), True, 0),
    "small": ((75, 109), (81, 113), (0,), True, 40),
}


@pytest.fixture(scope="module", params=["cfbip", "cfbi"])
def seeded(request):
    """(name, network, function from sizes to the features of a frame): published widths with a short ResNet."""
    weights = weights_of(request.param)
    with torch.device("meta"):
        network = CFBINetwork(CFBIFamily().variant(weights, Path("seeded")))
    network.load_state_dict(weights, strict=True, assign=True)
    network.fold()

    @cache
    def features(size, input_size, t):
        with torch.no_grad():
            return network.encode(Augmentation(input_size).apply(block_video(size)[0][t][..., ::-1]))

    return request.param, network, features


@pytest.mark.parametrize("case", CASES)
def test_golden_numbers_of_the_official_code(seeded, case):
    name, network, features = seeded
    size, input_size, keys, present, least = CASES[case]
    golden = np.load(GOLDEN)
    if f"{name}_{case}_logits" not in golden:
        pytest.skip("CFBI has no minimum of pixels in the official code")
    masks = block_video(size)[1]
    if least:  # one reference: background thinned out, object not
        masks[0] = False
        masks[0, 20:30, 30:44] = True
    frames = {t: features(size, input_size, t) for t in {*keys, 2, 3}}

    def small(mask):
        mask = torch.from_numpy(mask)[None, None].float()
        return [F.interpolate(mask, size=s, mode="nearest")[0, 0] > 0 for s in frames[3].sizes]

    references = References(network.sizes.levels, None, least)
    for t in keys:
        references.add(frames[t].embeddings, small(masks[t]))
    with torch.no_grad():
        matchers = network.matchers(frames[3], frames[2])
        previous = [m[None] for m in small(masks[2] & present)]
        logits = network.segment(frames[3], frames[2], matchers, previous, [references])
    p = probabilities(logits, size, align_corners=True)[0, 1, ::3, ::3].numpy()
    assert np.abs(logits.numpy() - golden[f"{name}_{case}_logits"]).max() < 1e-4
    assert np.abs(p - golden[f"{name}_{case}_p"]).max() < 1e-4


@pytest.mark.parametrize("name", ["cfbip", "cfbi"])
def test_names_and_shapes_are_those_of_the_official_checkpoints(name):
    with torch.device("meta"):
        network = CFBINetwork(CFBISizes() if name == "cfbip" else CFBISizes(False, embedding=100, prehead=64))
    state = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    if name == "cfbi":  # the official class registers these layers twice
        twice = {0: "seperate_conv", 1: "bn1", 3: "embedding_conv", 4: "bn2"}
        state |= {
            f"semantic_embedding.{n}.{part}": state[f"{layer}.{part}"]
            for n, layer in twice.items()
            for part in ("weight", "bias")
        }
    lines = sorted(f"{k} {shape}" for k, shape in state.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == np.load(GOLDEN)[f"{name}_names"].item()


def naive_local(current, previous, mask, radii, stride):
    """The official definition, pixel by pixel: [2, windows, h, w], background first, largest window first."""
    (_, h, w), result = current.shape, []
    for member in (~mask, mask):
        for r in (radii[-1], *radii[:-1]):
            best = torch.full((h, w), FAR)
            for y in range(h):
                for x in range(w):
                    for v in range(y - r, y + r + 1, stride):
                        for u in range(x - r, x + r + 1, stride):
                            if 0 <= v < h and 0 <= u < w and member[v, u]:
                                d = (current[:, y, x] - previous[:, v, u]).square().sum()
                                best[y, x] = min(best[y, x], d)
            result.append(best)
    return torch.stack(result).view(2, len(radii), h, w)


@hypothesis.settings(max_examples=8)
@hypothesis.given(
    st.integers(1, 7),
    st.sampled_from([1, 3, 6, 34]),
    st.sampled_from([((1, 2), 1), ((2, 4), 2), ((1, 3, 4), 1)]),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.integers(0, 99),
)
def test_local_matching_is_that_of_a_naive_loop(h, w, windows, share, seed):
    radii, stride = windows
    if w > 6:
        h, radii, stride = 1, (2,), 2  # longer than a tile
    g = torch.Generator().manual_seed(seed)
    current, previous = torch.rand(2, 3, h, w, generator=g)
    mask = torch.rand(h, w, generator=g) < share
    ours = LocalMatcher(current, previous, radii, stride).nearest(mask)
    naive = naive_local(current, previous, mask, radii, stride)
    assert torch.allclose(squashed(ours, torch.zeros(())), squashed(naive, torch.zeros(())), atol=2e-6)


def test_the_nearest_reference_is_that_of_all_distances(monkeypatch):
    monkeypatch.setattr("rvos_ensemble.propagators.networks.cfbi.matching.BLOCK", 1)  # many blocks
    g = torch.Generator().manual_seed(0)
    x, r = torch.rand(5, 14, 11, generator=g), torch.rand(5, 9, 8, generator=g)
    mask = torch.rand(9, 8, generator=g) < 0.3
    distances = (x.flatten(1).t()[:, None] - r[:, mask].t()[None]).square().sum(2)
    ours = nearest_reference(x, reference_columns(r, mask))
    assert torch.allclose(ours.flatten(), distances.amin(1), atol=1e-6)
    assert (nearest_reference(x, reference_columns(r, mask & False)) == FAR).all()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sizes", [((4, 5), (13, 17)), ((1, 2), (4, 7)), ((3, 3), (3, 3))])
def test_the_convolution_of_an_upsampled_map(mode, sizes):
    g = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 3, *sizes[0], generator=g), torch.randn(4, 3, 3, 3, generator=g)
    large = F.interpolate(x, size=sizes[1], mode=mode, align_corners=True)
    expected = F.conv2d(large, weight, padding=1)
    assert torch.allclose(conv_of_upsampled(x, weight, sizes[1], mode), expected, atol=1e-5)


@pytest.mark.parametrize("maps_first", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_a_mixture_is_the_map_that_it_stands_for(maps_first, own):
    g = torch.Generator().manual_seed(0)
    maps, pair = torch.randn(6, 3, 5, 7, generator=g), torch.randn(8, 5, 7, generator=g)
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)  # the first object is empty, the last one is everywhere
    masks[1, 1:3, 2:6], masks[1, 2, 3], masks[2] = True, False, True
    objects = torch.stack([~masks, masks], 1).flatten(0, 1)[:, None].float()
    now, before = (x.expand(6, -1, -1, -1) for x in pair.chunk(2))
    parts = [now, before * objects, before * (1 - objects)]
    parts = [maps, *parts] if maps_first else [*parts, maps]
    mixture = Mixture(maps, pair, masks, maps_first)
    if own:
        parts.insert(0, torch.randn(6, 2, 5, 7, generator=g))
        mixture = mixture.behind(parts[0])
    dense = torch.cat(parts, 1)
    weight = torch.randn(6, 4, dense.shape[1], generator=g)
    assert torch.allclose(mixture.energy(), dense.square().sum((2, 3)), atol=1e-4)
    assert torch.allclose(mixture.pointwise(weight).flatten(2), weight @ dense.flatten(2), atol=1e-4)
