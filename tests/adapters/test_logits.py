"""Small logits become the official masks: torch's own interpolation as the oracle."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rvos_ensemble.adapters.core.masks import MaskSequence, quantise
from rvos_ensemble.adapters.inference.logits import LogitMasks, grow, probability
from rvos_ensemble.ensemble.engine.storage.store import decode, encode

SIZES = [
    ((24, 41), (96, 160)),
    ((23, 40), (91, 157)),
    ((90, 160), (720, 1280)),
    ((30, 54), (35, 61)),
    ((25, 25), (7, 9)),
]


def smooth(shape, seed=0):
    """Logits as networks give them: blobs with soft edges."""
    x = torch.randn(1, shape[0], 1 + shape[1] // 6, 1 + shape[2] // 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(x, size=shape[1:], mode="bicubic")[0].numpy() * 6


@pytest.mark.parametrize(("small", "size"), SIZES)
def test_bilinear_is_that_of_referformer_mutr_and_soc(small, size):
    logits = smooth((3, *small))
    official = F.interpolate(torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False)[0]
    for dtype, least in ((np.float32, 1.0), (np.float16, 0.999)):
        masks = LogitMasks(logits.astype(dtype), size)
        sequence = MaskSequence.prob(masks)
        for t in range(3):
            theirs = (official[t].sigmoid() > 0.5).numpy()
            ours = sequence.mask(t)
            assert 0.1 < theirs.mean() < 0.9
            assert (ours & theirs).sum() / (ours | theirs).sum() >= least
            assert np.abs(masks[t].astype(int) - quantise(official[t].sigmoid().numpy())).max() <= 1


@pytest.mark.parametrize(
    ("small", "inside", "size"),
    [((30, 54), (120, 213), (91, 157)), ((32, 56), (120, 213), (720, 1280)), ((16, 16), (61, 50), (100, 333))],
)
def test_x4_nearest_is_that_of_uninext(small, inside, size):
    logits = torch.from_numpy(smooth((2, *small)))
    x = F.interpolate(logits[None], size=(4 * small[0], 4 * small[1]), mode="bilinear", align_corners=False).sigmoid()
    official = F.interpolate(x[:, :, : inside[0], : inside[1]], size=size, mode="nearest")[0].numpy()
    masks = MaskSequence.prob(LogitMasks(logits.numpy(), size, "x4_nearest", inside))
    for t in range(2):
        assert (masks.mask(t) == (official[t] > 0.5)).all()
        assert np.abs(masks.masks[t].astype(int) - quantise(official[t])).max() <= 1


def test_the_sign_decides_at_the_threshold():
    x = np.float32([[-1e30, -90, -1e-3, -0.0, 0.0, 1e-6, 90, 1e30]])
    assert (probability(x.copy()) > 127).tolist() == [[False] * 5 + [True] * 3]


@pytest.mark.parametrize("rule", ["bilinear", "x4_nearest"])
def test_the_store_keeps_them_small(rule):
    logits = smooth((4, 45, 80)).astype(np.float16)
    masks = LogitMasks(logits, (719, 1279), rule, (178, 318) if rule == "x4_nearest" else None)
    data = encode({"0": MaskSequence.prob(masks, [0.1] * 4), "1": MaskSequence.prob(masks)})
    assert len(data) < 1.1 * logits.nbytes + 2000
    back = decode(data)
    assert back["0"].masks is back["1"].masks and back["0"].size == (719, 1279)
    assert all((back["0"].masks[t] == masks[t]).all() for t in range(4))
    with pytest.raises(IndexError):
        back["0"].masks[4]


def test_growing_reads_its_input_only():
    x = np.ones((2, 2), np.float32)
    LogitMasks(x[None], (2, 2))[0]
    grow(x, (4, 4))
    assert (x == 1).all()
