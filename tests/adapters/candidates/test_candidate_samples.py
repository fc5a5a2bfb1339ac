"""Training samples of the candidate network: cutouts, collages, and what the cells should predict."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.training.candidates import cutouts
from rvos_ensemble.adapters.training.candidates.samples import CandidateFrames
from rvos_ensemble.adapters.training.candidates.targets import IGNORED, NOTHING, joined, owners, targets_of
from rvos_ensemble.adapters.training.candidates.task import DEFAULTS
from rvos_ensemble.adapters.training.samples.sample import ENDLESS, VOID, Sample

SEEDS = st.integers(0, 2**32 - 1)


def scene(seed=0, size=(96, 160)) -> Sample:
    """Noise with a large and a tiny object, and a strip of void."""
    ids = np.zeros(size, np.uint8)
    ids[20:60, 30:70], ids[70:75, 100:110], ids[:4] = 1, 2, VOID
    return Sample(np.random.default_rng(seed).integers(0, 256, (1, *size, 3), dtype=np.uint8), ids[None])


def plain(colour, mask) -> cutouts.Cutout:
    return cutouts.Cutout(np.full((*mask.shape, 3), colour, np.uint8), mask.astype(np.uint8) * 255)


def test_cutouts_are_the_objects_that_are_large_enough():
    (found,) = cutouts.cutouts(scene())
    assert (found.image == scene().images[0, 20:60, 30:70]).all() and (found.cover == 255).all()


@given(SEEDS)
@settings(max_examples=20)
def test_patches_are_background(seed):
    ids = scene().ids
    where = np.stack([*np.mgrid[:96, :160], np.zeros((96, 160))], -1).astype(np.uint8)  # each pixel shows its place
    found = cutouts.patch(Sample(where[None], ids), np.random.default_rng(seed))
    if found is not None:
        y, x, _ = np.moveaxis(found.image[found.cover > 0], -1, 0)
        assert len(y) >= cutouts.LEAST_PIXELS and (ids[0, y, x] == 0).all()


@given(SEEDS, st.lists(st.booleans(), min_size=1, max_size=4))
@settings(max_examples=30)
def test_pasted_objects_lie_over_the_frame(seed, objects):
    rng = np.random.default_rng(seed)
    sample, disc = scene(), np.hypot(*np.mgrid[-20:21, -20:21]) < 20
    before = sample.images.copy(), sample.ids.copy()
    found = cutouts.paste(sample, [plain(200, disc)] * len(objects), objects, rng)
    assert (sample.images == before[0]).all() and (sample.ids == before[1]).all()
    assert found.images.shape == sample.images.shape and found.images.dtype == found.ids.dtype == np.uint8
    changed = (found.images != sample.images).any(-1)
    assert (changed | (found.ids == sample.ids) | (found.ids == VOID)).all()  # an id changes where something lies
    known = set(np.unique(found.ids).tolist()) - {0, VOID}
    assert known <= {1, 2, *range(3, 3 + sum(objects))}
    if not any(objects):
        assert not (found.ids > 2)[found.ids != VOID].any()


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize(("rows", "expected"), [(28, 1), (32, VOID)])
def test_an_object_that_is_hidden_is_void(rows, expected, counts, monkeypatch):
    """Object 1 has 40 rows, of which a pasted one hides 70 or 80 %; object 2 is not hidden, but tiny."""
    cover = np.zeros((96, 160), np.float32)
    cover[: 20 + rows] = 1
    monkeypatch.setattr(cutouts, "_placed", lambda *arguments: (np.full((96, 160, 3), 7, np.float32), cover))
    found = cutouts.paste(scene(), [plain(0, np.ones((2, 2)))], [counts], np.random.default_rng(0))
    assert (found.ids[0, : 20 + rows] == (3 if counts else 0)).all() and (found.images[0, : 20 + rows] == 7).all()
    assert (found.ids[0, 20 + rows : 60, 30:70] == expected).all()
    assert (found.ids[0, 70:75, 100:110] == 2).all() and not (found.ids == 2)[0, :70].any()
    monkeypatch.setattr(cutouts, "LEAST_SHARE", 51 / (96 * 160))
    found = cutouts.paste(scene(), [plain(0, np.ones((2, 2)))], [counts], np.random.default_rng(0))
    assert (found.ids[0, 70:75, 100:110] == VOID).all()


def made(**changes) -> CandidateFrames:
    class Fixed:
        def __len__(self):
            return ENDLESS

        def __getitem__(self, i):
            return scene(i)

    values = {**defaults_of(DEFAULTS), "size": [64, 96], "shapes": 0.5, **changes}
    return CandidateFrames(values, Fixed(), Fixed(), Fixed())


def test_samples_depend_on_the_seed_and_their_index_alone():
    first, again, other = (made(seed=seed) for seed in (0, 0, 1))
    first[5]
    for i in range(4):
        a, b, c = (frames[i] for frames in (first, again, other))
        assert a.images.shape == (1, 64, 96, 3) and a.ids.shape == (1, 64, 96)
        assert (a.images == b.images).all() and (a.ids == b.ids).all() and (a.images != c.images).any()


@pytest.mark.parametrize("plain", [0, 1])
def test_frames_without_pasted_objects_keep_their_own(plain):
    frames = made(plain=plain, shapes=0, distractors=0)
    most = max(int(ids[ids != VOID].max(initial=0)) for ids in (frames[i].ids for i in range(8)))
    assert most <= 2 if plain else most > 2


def test_distractors_are_no_objects():
    frames = made(plain=0, shapes=0, distractors=1)
    assert all(ids[ids != VOID].max(initial=0) <= 2 for ids in (frames[i].ids for i in range(8)))


# Targets --------------------------------------------------------------------------------------------------------------


@given(SEEDS)
@settings(max_examples=30)
def test_owners_are_the_cells_in_the_middle_of_an_object(seed):
    rng = np.random.default_rng(seed)
    ids = np.zeros((64, 96), np.uint8)
    for k in (1, 2):
        top, left = rng.integers(0, 60), rng.integers(0, 90)
        ids[top : top + rng.integers(3, 64), left : left + rng.integers(3, 96)] = k
    if rng.random() < 0.5:
        ids[:, : rng.integers(1, 60)] = VOID
    objects = [k for k in (1, 2) if (ids == k).any()]
    found = owners(ids, objects)
    for row, column in np.ndindex(4, 6):
        y, x = 16 * row + 8, 16 * column + 8
        expected = IGNORED if ids[y, x] == VOID else NOTHING
        for index, k in enumerate(objects):
            places = np.argwhere(ids == k)
            sides = places.max(0) + 1 - places.min(0)
            centre = places.mean(0) + 0.5
            inside = []
            for at, c, side, n in zip((y, x), centre, sides, (4, 6), strict=True):
                nearest = min(abs(16 * i + 8 - c) for i in range(n))
                inside.append(abs(at - c) <= max(0.1 * side, nearest) + 1e-9)
            expected = index if all(inside) else expected
        assert found[row, column] == expected


def test_masks_are_the_shares_of_pixels():
    sample = scene()
    found = targets_of(sample.ids[0])
    assert found.masks.shape == (2, 24, 40) and found.void.shape == (1, 24, 40)
    for k, mask in zip((1, 2), found.masks, strict=True):  # the larger object comes first
        share = (sample.ids[0] == k).reshape(24, 4, 40, 4).mean((1, 3))
        assert torch.allclose(mask, torch.from_numpy(share).float())
    assert found.void[0, 0].all() and not found.void[0, 1:].any()


def test_frames_are_joined_with_all_objects_in_one_list():
    a, b = targets_of(scene().ids[0]), targets_of(np.zeros((96, 160), np.uint8))
    found = joined([a, b, a])
    assert len(found.masks) == 4 and found.owner.shape == (3, 6, 10) and found.void.shape == (3, 24, 40)
    assert torch.equal(found.owner[0], a.owner[0]) and (found.owner[1] == NOTHING).all()
    assert torch.equal(found.owner[2], torch.where(a.owner[0] >= 0, a.owner[0] + 2, a.owner[0]))
    assert {int(k) for k in found.owner.unique()} == {IGNORED, NOTHING, 0, 1, 2, 3} - (
        set() if (a.owner == IGNORED).any() else {IGNORED}
    )
