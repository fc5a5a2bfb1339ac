"""J and F of frames against the definition, their invariants, and their pitfalls."""

import numpy as np
import pytest
from helpers import reference
from helpers.reference import random_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.fusion.bits import Bits, pack
from rvos_ensemble.ensemble.metrics.jf import Prepared, j_and_f, prepare, radius_of

# ---------------------------------------------------------------------------------------------- against the definition


def random_pair(rng, height, width):
    truth = random_mask(rng, height, width)
    if rng.random() < 0.5:
        return random_mask(rng, height, width), truth
    return np.roll(truth, rng.integers(-6, 7, 2), axis=(0, 1)) ^ (rng.random(truth.shape) < 0.003), truth


def fuzz(seed, stacks, per_stack, tallest, widest, radii, void_share=0.3):
    """Compares stacks of pairs and, one by one, each pair; returns the number of pairs."""
    rng = np.random.default_rng(seed)
    for _ in range(stacks):
        height, width = int(rng.integers(1, tallest + 1)), int(rng.integers(1, widest + 1))
        radius = int(rng.choice(radii)) or reference.default_radius(height, width)
        pairs = [random_pair(rng, height, width) for _ in range(per_stack)]
        voids = [random_mask(rng, height, width) & (rng.random() < void_share) for _ in pairs]
        expected = [reference.j_and_f(p, g, radius, v) for (p, g), v in zip(pairs, voids, strict=True)]
        assert expected == [j_and_f(p, g, radius, v) for (p, g), v in zip(pairs, voids, strict=True)]
        j, f = j_and_f(np.stack([p for p, _ in pairs]), np.stack([g for _, g in pairs]), radius, np.stack(voids))
        assert expected == list(zip(j.tolist(), f.tolist(), strict=True))
    return stacks * per_stack


def test_small_images_equal_the_definition_to_the_last_bit():
    assert fuzz(seed=1, stacks=800, per_stack=5, tallest=12, widest=20, radii=range(19)) == 4000


def test_images_of_several_words_a_row_equal_the_definition_to_the_last_bit():
    assert fuzz(seed=2, stacks=300, per_stack=4, tallest=24, widest=210, radii=range(19)) == 1200


def test_images_of_one_row_or_one_column():
    assert fuzz(seed=3, stacks=100, per_stack=3, tallest=1, widest=200, radii=range(19)) == 300
    assert fuzz(seed=4, stacks=100, per_stack=3, tallest=90, widest=1, radii=range(19)) == 300


def test_masks_too_far_apart_to_touch():
    """Their crops do not meet, so that no boundary pixel needs to be looked for."""
    rng = np.random.default_rng(6)
    for height, width in ((20, 700), (300, 40)):
        pairs = np.zeros((2, 5, height, width), bool)
        pairs[0, :4, :15, :20] = rng.random((4, 15, 20)) < 0.4  # the fifth pair is empty on both sides
        pairs[1, :3, -15:, -20:] = rng.random((3, 15, 20)) < 0.4
        assert not prepare(pairs[0], 2).bits.meets(prepare(pairs[1], 2).bits)
        expected = [reference.j_and_f(p, g, 2) for p, g in zip(*pairs, strict=True)]
        assert expected == list(zip(*(v.tolist() for v in j_and_f(*pairs, 2)), strict=True))
        assert expected == [j_and_f(p, g, 2) for p, g in zip(*pairs, strict=True)]
        assert expected[3:] == [(0.0, 0.0), (1.0, 1.0)]


def test_radii_wider_than_a_word():
    assert fuzz(seed=5, stacks=12, per_stack=2, tallest=70, widest=300, radii=[63, 64, 65, 100, 200]) == 24


@pytest.mark.parametrize("size", [(64, 64), (63, 128), (65, 192), (480, 854), (481, 910), (720, 1280), (1080, 1920)])
def test_whole_frames_at_the_default_radius(size):
    rng = np.random.default_rng(size)
    y, x = np.mgrid[: size[0], : size[1]]

    def ellipse():
        cy, cx = rng.uniform(0, size[0]), rng.uniform(0, size[1])  # often cut by the border
        return ((y - cy) / (0.3 * size[0])) ** 2 + ((x - cx) / (0.2 * size[1])) ** 2 < 1

    truth = ellipse()
    for prediction in (ellipse(), np.roll(truth, (3, 5), axis=(0, 1)), truth ^ (rng.random(size) < 1e-4)):
        assert j_and_f(prediction, truth) == reference.j_and_f(prediction, truth, reference.default_radius(*size))


@pytest.mark.parametrize(
    ("size", "radius"),
    [((240, 432), 4), ((360, 640), 6), ((480, 854), 8), ((480, 910), 9), ((720, 1280), 12), ((1080, 1920), 18)],
)
def test_the_radius_grows_with_the_diagonal(size, radius):
    assert radius_of(size) == radius == reference.default_radius(*size)


@pytest.mark.parametrize("radius", range(0, 19))
def test_a_point_dilates_to_a_disk(radius):
    point = np.zeros((80, 200), bool)
    point[40, 100] = True
    disk = Bits.crop(pack(point)[None], margin=radius).dilate(radius)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    assert disk.count() == np.count_nonzero(x * x + y * y <= radius * radius)


# ---------------------------------------------------------------------------------------------- invariants


@st.composite
def mask_pairs(draw, border=0):
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 80))
    pair = [draw(arrays(bool, (height, width))) for _ in range(2)]
    return [np.pad(mask, border) for mask in pair]


radii = st.integers(1, 18)
unhurried = settings(deadline=None)  # tests may share the machine


@unhurried
@given(mask_pairs(), radii)
def test_scores_are_symmetric_and_in_range(pair, radius):
    j, f = j_and_f(*pair, radius)
    assert (j, f) == j_and_f(*pair[::-1], radius)
    assert 0 <= j <= 1 and 0 <= f <= 1


@unhurried
@given(mask_pairs(), radii)
def test_a_mask_is_like_itself(pair, radius):
    assert j_and_f(pair[0], pair[0].copy(), radius) == (1.0, 1.0)


@unhurried
@given(mask_pairs(), radii)
def test_f_grows_with_the_radius(pair, radius):
    assert j_and_f(*pair, radius)[1] <= j_and_f(*pair, radius + 1)[1]


@unhurried
@given(mask_pairs(border=1), radii)
def test_away_from_the_border_flips_and_transposition_change_nothing(pair, radius):
    expected = j_and_f(*pair, radius)
    for turned in (np.fliplr, np.flipud, np.transpose):
        assert j_and_f(*map(turned, pair), radius) == expected


@unhurried
@given(mask_pairs(border=1), radii, st.integers(0, 9), st.integers(0, 130))
def test_away_from_the_border_moving_both_masks_changes_nothing(pair, radius, down, right):
    moved = [np.pad(mask, ((down, 3), (right, 5))) for mask in pair]
    assert j_and_f(*moved, radius) == j_and_f(*pair, radius)


@unhurried
@given(mask_pairs(), radii, st.data())
def test_what_lies_under_void_does_not_matter(pair, radius, data):
    prediction, truth = pair
    void, other = (data.draw(arrays(bool, truth.shape)) for _ in range(2))
    painted = np.where(void, other, prediction)
    assert j_and_f(painted, truth, radius, void) == j_and_f(prediction, truth, radius, void)


# ---------------------------------------------------------------------------------------------- the pitfalls

full, empty = np.ones((30, 100), bool), np.zeros((30, 100), bool)
part = np.zeros((30, 100), bool)
part[10:20, 60:70] = True


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (empty, empty, (1.0, 1.0)),
        (part, empty, (0.0, 0.0)),
        (empty, part, (0.0, 0.0)),
        (full, full, (1.0, 1.0)),
        (full, empty, (0.0, 1.0)),  # the border is no boundary, and two masks without boundary have F = 1
        (empty, full, (0.0, 1.0)),
        (full, part, (100 / 3000, 0.0)),
    ],
)
def test_empty_and_full_masks(prediction, truth, expected):
    assert j_and_f(prediction, truth) == expected


def test_the_boundary_lies_towards_the_origin_and_not_on_the_border():
    corner = np.zeros((6, 6), bool)
    corner[3:, 3:] = True  # reaches the right and the bottom border
    boundary = prepare(corner).boundary
    assert boundary.count() == len(reference.boundary(corner)) == 7  # 3 above it, 3 to its left, 1 at its corner
    assert {tuple(p) for p in reference.boundary(corner).tolist()} == {(2, x) for x in range(2, 6)} | {
        (y, 2) for y in range(2, 6)
    }


def test_the_outline_of_void_becomes_boundary():
    assert prepare(full).length == 0
    assert prepare(full, void=part).length == 11 * 11 - 9 * 9  # windows that meet a 10x10 hole, minus those inside it
    assert j_and_f(full, empty, void=part) == (0.0, 0.0)
    assert j_and_f(full, part, void=~part) == (1.0, 1.0)


def test_a_mask_that_is_not_bool_is_refused():
    with pytest.raises(InputError, match=r"uint8.*mask == 255"):
        j_and_f(part.astype(np.uint8), part)
    with pytest.raises(InputError, match=r"float32.*probability > 0.5"):
        j_and_f(part, part.astype(np.float32))
    with pytest.raises(InputError, match="shape"):
        prepare(part[0])
    with pytest.raises(InputError, match="void of shape"):
        prepare(part, void=part[1:])


def test_masks_that_cannot_be_compared_are_refused():
    for other in (prepare(part[1:]), prepare(part, bound_th=7), np.stack([part] * 3)):
        with pytest.raises(InputError, match="expected the same"):
            j_and_f(other, np.stack([part] * 2))


@pytest.mark.parametrize("bound_th", [-0.1, 2.5])
def test_a_radius_that_is_none_is_refused(bound_th):
    with pytest.raises(InputError, match="bound_th"):
        j_and_f(part, part, bound_th)


def test_one_truth_goes_with_a_stack_of_predictions():
    rng = np.random.default_rng(2)
    truth, predictions = prepare(part), np.stack([random_mask(rng, *part.shape) for _ in range(9)])
    j, f = j_and_f(predictions, truth)
    assert list(zip(j, f, strict=True)) == [j_and_f(p, truth) for p in predictions]


def test_equal_masks_have_equal_keys():
    a, b, c = prepare(part), Prepared(pack(part.copy()), part.shape), prepare(np.roll(part, 1, axis=1))
    assert a.key == b.key != c.key
