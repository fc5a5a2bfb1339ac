"""Masks at one bit per pixel: read from files, kept, voted on and reduced, as the same masks of bytes would be."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.adapters.files import Files, remembered
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.fusion.bits import count_ones, pack
from rvos_ensemble.ensemble.fusion.packed_votes import packed_vote
from rvos_ensemble.ensemble.report.page.reduced_masks import reduced_mask, shrink

SIZES = st.tuples(st.integers(1, 20), st.integers(1, 40))


@st.composite
def votes(draw):
    """Masks of one size, their weights, and a number of votes that they can reach."""
    size, count = draw(SIZES), draw(st.integers(1, 9))
    masks = [draw(arrays(bool, size)) for _ in range(count)]
    weights = draw(st.lists(st.integers(0, 70), min_size=count, max_size=count).filter(any))
    return masks, weights, draw(st.integers(1, sum(weights)))


@given(votes())
def test_packed_votes_are_those_of_bytes(case):
    masks, weights, needed = case
    counts = fusion.vote_map(masks, weights)
    mask, mean = packed_vote([pack(m) for m in masks], weights, needed)
    np.testing.assert_array_equal(mask, pack(counts >= needed))
    assert mean == fusion.mean_inside(counts, counts >= needed)


@given(arrays(bool, SIZES))
def test_ones_are_counted(mask):
    assert count_ones(pack(mask)) == mask.sum()


def sequence(mask: np.ndarray) -> MaskSequence:
    """The mask as the only frame."""
    return MaskSequence.binary(mask[None])


@given(
    arrays(bool, st.tuples(st.integers(2, 60), st.integers(2, 60)), elements=st.booleans()),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_reduced_masks_are_those_of_the_whole_image(mask, size):
    size = min(size[0], mask.shape[0]), min(size[1], mask.shape[1])
    whole = mask.astype(np.float32)
    if all(full % 2 == 0 and full >= 2 * small for full, small in zip(mask.shape, size, strict=True)):
        whole = whole.reshape(mask.shape[0] // 2, 2, mask.shape[1] // 2, 2).mean((1, 3))  # halved first
    share = shrink(whole, size)
    decided = abs(share - 0.5) > 0.003  # the other pixels are halved, and rounding decides
    np.testing.assert_array_equal(reduced_mask(sequence(mask), 0, size)[decided], share[decided] > 0.5)


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """A clip without pictures, whose masks are in `masks/v/0`."""
    folder = tmp_path / "masks/v/0"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for t in range(3):
        mask = np.zeros((21, 37), bool)
        mask[4 * t : 4 * t + 6, 5:29] = random.random((6, 24)) > 0.3
        (folder / f"{t}.png").write_bytes(png.encode(mask if t else mask & False))
    frames = tuple(map(str, range(3)))
    return Clip("v", frames, (Expression("v", "0", "a box"),), NoPictures("x", known=(21, 37)))


def test_files_decode_a_mask_once(clip, tmp_path, monkeypatch):
    masks = Files(path=str(tmp_path / "masks")).predict(clip)["0"]
    copy = pickle.loads(pickle.dumps(masks))
    first = [masks.packed(t) for t in range(3)]
    for t in range(3):
        expected = png.read(tmp_path / f"masks/v/0/{t}.png").values == 255
        np.testing.assert_array_equal(first[t], pack(expected))
        np.testing.assert_array_equal(copy.mask(t), expected)
    monkeypatch.setattr(png, "decode", lambda *_: pytest.fail("decoded twice"))
    assert all((masks.packed(t) == first[t]).all() and (pack(masks.mask(t)) == first[t]).all() for t in range(3))
    with pytest.raises(IndexError):
        masks.mask(3)


def test_masks_that_do_not_fit_are_decoded_again(monkeypatch):
    monkeypatch.setattr(remembered, "ROOM", remembered._room.used + 2 * (remembered.PIECE + 8))
    mask, reads = np.ones((8, 8), bool), []
    lazy = LazyMasks((4, 8, 8), np.dtype(bool), lambda t: reads.append(t) or mask)
    masks = remembered.remember(MaskSequence(lazy))
    used = remembered._room.used
    for _ in range(2):
        assert all(masks.mask(t).all() for t in range(4))
    assert reads == [0, 1, 2, 3, 2, 3]
    del masks
    assert remembered._room.used == used, "the room is free again"
