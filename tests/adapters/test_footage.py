"""Augmentation as in footage: images change as documented, ids stay true, and the seed decides."""

import cv2
import numpy as np
import pytest

from rvos_ensemble.adapters.training.samples import footage
from rvos_ensemble.adapters.training.samples.sample import VOID, Sample

CHANGES = [footage.blur, footage.compress, footage.light]


def noise(frames=4, size=(64, 96), seed=0) -> Sample:
    """Textured frames with two objects and void pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (frames, 16, 24, 3), dtype=np.uint8)
    images = np.stack([cv2.resize(c, size[::-1], interpolation=cv2.INTER_NEAREST) for c in coarse])
    ids = np.zeros((frames, *size), np.uint8)
    ids[:, 20:40, 30:50], ids[:, 45:60, 60:90], ids[:, :2] = 1, 2, VOID
    return Sample(images, ids, (("the object", 1),))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(6))
def test_images_change_and_ids_do_not(change, seed):
    sample = noise()
    before = sample.images.copy()
    found, again = (change(sample, np.random.default_rng(seed)) for _ in range(2))
    assert found.images.shape == before.shape and found.images.dtype == np.uint8
    assert (found.images != before).any() and (found.images == again.images).all() and (sample.images == before).all()
    assert found.ids is sample.ids and found.expressions == sample.expressions


@pytest.mark.parametrize("seed", range(9))
def test_blur_removes_detail_and_keeps_the_mean(seed):
    sample = noise()
    found = footage.blur(sample, np.random.default_rng(seed))
    for before, after in zip(sample.images, found.images, strict=True):
        assert cv2.Laplacian(after, cv2.CV_64F).var() <= cv2.Laplacian(before, cv2.CV_64F).var()
        assert abs(after.mean() - before.mean()) < 4
    grey = Sample(np.full((2, 40, 60, 3), 90, np.uint8), np.zeros((2, 40, 60), np.uint8))
    assert (footage.blur(grey, np.random.default_rng(seed)).images == 90).all()


@pytest.mark.parametrize("angle", [0, np.pi / 4, np.pi / 2, 2.5])
@pytest.mark.parametrize("length", [0.2, 3, 8.5])
def test_a_streak_is_a_centred_line_of_its_length(angle, length):
    kernel = footage._streak(length, angle)
    y, x = np.nonzero(kernel)
    centre = kernel.shape[0] // 2
    assert kernel.sum() == pytest.approx(1) and kernel[centre, centre] > 0
    reach = np.hypot(y - centre, x - centre).max()
    assert length / 2 - 1 <= reach <= length / 2 + 1
    across = (y - centre) * np.cos(angle) - (x - centre) * np.sin(angle)
    assert np.abs(across).max() <= 1


def test_compression_depends_on_the_quality_that_is_drawn(monkeypatch):
    sample = noise()
    errors = []
    for quality in (5, 40, 95):
        monkeypatch.setattr(footage, "QUALITY", (quality, quality + 1))
        found = footage.compress(sample, np.random.default_rng(0)).images
        errors.append(np.abs(found.astype(int) - sample.images).mean())
    assert errors[0] > errors[1] > errors[2] > 0


@pytest.mark.parametrize("seed", range(8))
def test_light_keeps_the_order_of_pixels_and_drifts_over_time(seed):
    dark = noise().images
    bright = np.minimum(dark, 225) + np.uint8(30)
    ids = np.zeros(dark.shape[:3], np.uint8)
    a, b = (footage.light(Sample(x, ids), np.random.default_rng(seed)).images.astype(int) for x in (dark, bright))
    assert (a <= b).all() and (a < b).any()
    grey = Sample(np.full((5, 40, 60, 3), 90, np.uint8), np.zeros((5, 40, 60), np.uint8))
    means = footage.light(grey, np.random.default_rng(seed)).images.mean((1, 2, 3))
    steps = np.diff(means)
    assert (steps >= 0).all() or (steps <= 0).all()


@pytest.mark.parametrize("seed", range(24))
def test_a_twin_is_a_copy_that_counts_as_background(seed):
    sample = noise()
    found = footage.twin(sample, np.random.default_rng(seed))
    changed = (found.images != sample.images).any(-1)
    assert ((found.ids == sample.ids) | (found.ids == 0)).all()
    assert (found.ids[changed] == 0).all()
    for t in range(len(sample.images)):
        originals = {tuple(pixel) for k in (1, 2) for pixel in sample.images[t][sample.ids[t] == k]}
        assert {tuple(pixel) for pixel in found.images[t][changed[t]]} <= originals


def test_twins_lie_in_front_and_behind_and_need_an_object():
    found = [footage.twin(noise(), np.random.default_rng(seed)) for seed in range(24)]
    hidden = [(f.ids != noise().ids).any() for f in found]
    assert any(hidden) and not all(hidden)
    empty = Sample(noise().images, np.zeros_like(noise().ids))
    assert footage.twin(empty, np.random.default_rng(0)) is empty
