"""J, F and their statistics against the definition, the official code's numbers, and what must hold of any mask."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from adapters.sequence import InputError, LazyMasks, MaskSequence
from ensemble import metrics
from ensemble.bits import Bits, pack
from ensemble.jf import Prepared, radius_of
from ensemble.metrics import Scores, dataset_mean, decay, j_and_f, prepare, recall, score_many, score_sequence

# ---------------------------------------------------------------------------------------------- against the definition


def random_mask(rng, height, width):
    """Empty, full, noise, a box (often at the border), a coarse blob or one pixel."""
    kind = rng.choice(["empty", "full", "noise", "box", "blob", "blob", "box", "pixel", "stripes"])
    mask = np.zeros((height, width), bool)
    if kind == "full":
        mask[:] = True
    elif kind == "noise":
        mask = rng.random((height, width)) < rng.choice([0.01, 0.1, 0.5, 0.95])
    elif kind == "box":
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, n + 1, 2)) for n in (height, width))
        mask[y0:y1, x0:x1] = True
    elif kind == "blob":
        coarse = rng.random((height // 4 + 1, width // 6 + 1)) < rng.choice([0.1, 0.5])
        mask = coarse.repeat(4, axis=0).repeat(6, axis=1)[:height, :width]
    elif kind == "pixel":
        mask[rng.integers(height), rng.integers(width)] = True
    elif kind == "stripes":
        mask[:, :: rng.integers(1, 70)] = True
    return mask


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


# ---------------------------------------------------------------------------------------------- what holds of any mask


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


# ---------------------------------------------------------------------------------------------- the traps

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
        (full, empty, (0.0, 1.0)),  # the border is no boundary, and no boundary against no boundary is right
        (empty, full, (0.0, 1.0)),
        (full, part, (100 / 3000, 0.0)),
    ],
)
def test_empty_and_full_masks(prediction, truth, expected):
    assert j_and_f(prediction, truth) == expected


def test_the_boundary_lies_towards_the_origin_and_not_on_the_border():
    corner = np.zeros((6, 6), bool)
    corner[3:, 3:] = True  # reaches the right and the bottom border
    found = prepare(corner).boundary
    assert found.count() == len(reference.boundary(corner)) == 7  # 3 above it, 3 to its left, 1 at its corner
    assert {tuple(p) for p in reference.boundary(corner).tolist()} == {(2, x) for x in range(2, 6)} | {
        (y, 2) for y in range(2, 6)
    }


def test_the_outline_of_void_becomes_boundary():
    assert prepare(full).length == 0
    assert prepare(full, void=part).length == 11 * 11 - 9 * 9  # windows that meet a 10x10 hole, less those within
    assert j_and_f(full, empty, void=part) == (0.0, 0.0)
    assert j_and_f(full, part, void=~part) == (1.0, 1.0)


def test_a_mask_that_is_not_bool_is_refused():
    with pytest.raises(InputError, match=r"uint8.*mask == 255"):
        j_and_f(part.astype(np.uint8), part)
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


# ---------------------------------------------------------------------------------------------- sequences


def sequence_of_masks(seed, frames=23, size=(37, 90)):
    rng = np.random.default_rng(seed)
    return np.stack([random_mask(rng, *size) for _ in range(frames)])


def counted(masks, reads):
    """A lazy sequence that notes which frames are read."""
    return MaskSequence(LazyMasks(masks.shape, masks.dtype, lambda t: reads.append(t) or masks[t]))


@pytest.mark.parametrize("at_a_time", [1, 5 * 37 * 90, 2**21])
def test_a_sequence_is_scored_frame_by_frame(monkeypatch, at_a_time):
    monkeypatch.setattr(metrics, "PIXELS_AT_A_TIME", at_a_time)
    truth, prediction = sequence_of_masks(1), sequence_of_masks(2)
    scores = score_sequence(MaskSequence.binary(prediction), MaskSequence(truth))
    expected = [reference.j_and_f(p, g, 1) for p, g in zip(prediction, truth, strict=True)]
    assert list(zip(scores.J, scores.F, strict=True)) == expected
    assert scores.J.dtype == scores.F.dtype == np.float64 and len(scores) == 23


def test_void_frames_apply_to_every_prediction():
    truth, prediction, void = (sequence_of_masks(seed) for seed in (1, 2, 3))
    scores = score_sequence(*map(MaskSequence.binary, (prediction, truth, void)), bound_th=4)
    expected = [reference.j_and_f(p, g, 4, v) for p, g, v in zip(prediction, truth, void, strict=True)]
    assert list(zip(scores.J, scores.F, strict=True)) == expected


def test_probabilities_count_above_one_half():
    prob = np.array([[[0, 127, 128, 255]]], np.uint8)
    truth = MaskSequence.binary(np.array([[[False, False, True, True]]]))
    assert score_sequence(MaskSequence.prob(prob), truth).J.tolist() == [1.0]


def test_many_predictions_read_each_true_frame_once():
    truth, reads = sequence_of_masks(1), []
    predictions = {str(seed): MaskSequence.binary(sequence_of_masks(seed)) for seed in range(2, 6)}
    scores = score_many(predictions, counted(truth, reads))
    assert reads == list(range(len(truth)))
    for name, sequence in predictions.items():
        alone = score_sequence(sequence, MaskSequence.binary(truth))
        assert (scores[name].J == alone.J).all() and (scores[name].F == alone.F).all()


def test_masks_that_predictions_share_are_scored_once(monkeypatch):
    calls = []
    monkeypatch.setattr(metrics, "j_and_f", lambda *masks: calls.append(masks) or j_and_f(*masks))
    masks = sequence_of_masks(2)
    same = {name: MaskSequence(masks) for name in ("a", "b")} | {"c": MaskSequence.binary(masks)}
    scores = score_many({**same, "d": MaskSequence.binary(~masks)}, MaskSequence.binary(sequence_of_masks(1)))
    assert len(calls) == 2
    assert (scores["a"].J == scores["c"].J).all() and not (scores["a"].J == scores["d"].J).all()


def test_sequences_of_another_shape_are_all_named():
    truth = MaskSequence.binary(sequence_of_masks(1))
    short, small = MaskSequence.binary(sequence_of_masks(1, 5)), MaskSequence.binary(sequence_of_masks(1, size=(9, 9)))
    with pytest.raises(InputError) as error:
        score_many({"short": short, "good": truth, "small": small}, truth, void=short)
    assert [p.split(":")[0] for p in error.value.problems] == ["short", "small", "void"]


def test_one_truth_goes_with_a_stack_of_predictions():
    truth, predictions = prepare(part), sequence_of_masks(2, size=part.shape)
    j, f = j_and_f(predictions, truth)
    assert list(zip(j, f, strict=True)) == [j_and_f(p, truth) for p in predictions]


def test_equal_masks_have_equal_keys():
    a, b, c = prepare(part), Prepared(pack(part.copy()), part.shape), prepare(np.roll(part, 1, axis=1))
    assert a.key == b.key != c.key


# ---------------------------------------------------------------------------------------------- statistics


@unhurried
@given(st.lists(st.floats(0, 1), min_size=1, max_size=600))
def test_decay_by_hand(values):
    assert decay(np.array(values)) == pytest.approx(reference.decay(values), abs=1e-12)


def test_decay_of_a_ramp_outlives_256_frames():
    for frames in (255, 256, 257, 300, 5000):
        assert decay(np.linspace(1, 0, frames)) == pytest.approx(0.75, abs=0.01)


# `davis2017.utils.db_statistics` of davisvideochallenge/davis2017-evaluation @ac7c43f, numpy 2.4.6, on
# np.random.default_rng(T).random(T): mean, recall, decay. Its frame numbers overflow 8 bits from T = 256 on.
OFFICIAL_STATISTICS = {
    1: (0.5118216247002567, 1.0, 0.0),
    2: (0.28005163883171985, 0.0, -0.03687900916480691),
    4: (0.6278658469975088, 0.75, 0.1986519643917114),
    5: (0.49360027139876284, 0.6, 0.636605815506038),
    36: (0.4565804638553448, 0.3888888888888889, 0.07091764165460451),
    255: (0.48738035296836535, 0.4980392156862745, -0.04715605875435469),
    256: (0.5178310071025314, 0.55078125, np.nan),
    300: (0.4900997161894554, 0.48, np.nan),
    700: (0.48905416365864685, 0.4928571428571429, -0.0009128077051659966),
}


@pytest.mark.parametrize(("frames", "official"), OFFICIAL_STATISTICS.items())
def test_statistics_equal_the_official_ones(frames, official):
    values = np.random.default_rng(frames).random(frames)
    summary = Scores(values, values).summary(legacy_decay=True)
    found = summary["F-Mean"], summary["F-Recall"], summary["J-Decay"]
    np.testing.assert_array_equal(found, official)  # NaN equals NaN
    assert (decay(values) == decay(values, legacy=True)) == (frames < 256)


def test_recall_is_above_one_half_not_at_it():
    assert recall(np.array([0.5, 0.5000001, 0.2, 1.0])) == 0.5


def test_long_videos_weigh_no_more_than_short_ones():
    scores = {"short": Scores(np.array([1.0]), np.array([0.5])), "long": Scores(np.zeros(99), np.full(99, 0.25))}
    assert dataset_mean(scores) == dataset_mean(scores.values()) == (0.5, 0.375, 0.4375)
    with pytest.raises(InputError, match="no scores"):
        dataset_mean([])


def test_scores_without_frames_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        Scores(np.ones(2), np.ones(2))[1:-1]


# ---------------------------------------------------------------------------------------------- real masks

# `db_eval_iou`, `db_eval_boundary` and `db_statistics` of davisvideochallenge/davis2017-evaluation @ac7c43f (numpy
# 2.4.6, OpenCV 5.0.0, scikit-image 0.26.0) on ground truth == 255 and OSVOS results > 0: mean, recall and decay of J,
# the same of F; over all frames, then without the first and last.
OFFICIAL = {
    "blackswan": [
        (0.9431484970814461, 1.0, 0.0014964836881021792, 0.9745907623542531, 1.0, -0.00033594273370751715),
        (0.9430200107249278, 1.0, 0.0014083923122019115, 0.9740964785153858, 1.0, -0.00041640925587305144),
    ],
    "bmx-trees": [
        (0.5430139827298675, 0.65, 0.25753958236610885, 0.7671044831020858, 0.9, 0.2182708080536503),
        (
            *(0.5405311330912367, 0.6538461538461539, 0.256088316146415),
            *(0.7663408449507089, 0.8974358974358975, 0.2146414776018607),
        ),
    ],
    "car-shadow": [
        (0.9236748316115854, 1.0, 0.12514140105551197, 0.9131068940869648, 1.0, 0.1843785964901702),
        (0.9284015952829885, 1.0, 0.11028022983041497, 0.9174071827386898, 1.0, 0.1697486757837553),
    ],
    "dog": [
        (0.7186677978076578, 0.7333333333333333, 0.13931379853153492, 0.7003310285561948, 0.8, 0.12678867099914082),
        (
            *(0.7107922794984851, 0.7241379310344828, 0.1481500201345477),
            *(0.6911087718213588, 0.7931034482758621, 0.1314403978227967),
        ),
    ],
    "libby": [
        (
            *(0.6197655308657237, 0.6122448979591837, 0.5289044942357206),
            *(0.7474057674246167, 0.8979591836734694, 0.38219347310269036),
        ),
        (
            *(0.6230269658692634, 0.6170212765957447, 0.4986131296200014),
            *(0.7512319256345152, 0.9148936170212766, 0.3494712928253578),
        ),
    ],
}


def read(path):
    return np.array(Image.open(path))  # palette PNG as indices


@pytest.mark.parametrize("clip", OFFICIAL)
def test_real_masks_equal_the_official_code_and_the_definition(shared, clip):
    files = sorted((shared / "data/ref_davis_mini/valid/Annotations" / clip).glob("*.png"))
    truth = [read(f) == 255 for f in files]
    prediction = [read(shared / "data/predictions/osvos" / clip / f.name) > 0 for f in files]
    scores = score_sequence(MaskSequence.binary(prediction), MaskSequence.binary(truth))
    for part, official in zip((scores, scores[1:-1]), OFFICIAL[clip], strict=True):
        summary = part.summary()
        assert tuple(summary[f"{m}-{s}"] for m in "JF" for s in ("Mean", "Recall", "Decay")) == official
    for t in range(0, len(files), 9):
        assert (scores.J[t], scores.F[t]) == reference.j_and_f(prediction[t], truth[t], 8)


# The same functions on the second frame of "tennis" against the first, void where the second has 255.
OFFICIAL_VOID = (0.3687495243169191, 0.36659516415226007)
OFFICIAL_NO_VOID = (0.36640701807456705, 0.3609355773098463)


def test_a_real_void_counts_in_neither(shared):
    folder = shared / "data/multi_object/davis_interactive_testdata/Annotations/480p/tennis"
    first, second = read(folder / "00000.png"), read(folder / "00001.png")
    truth, prediction, void = (first == 1) | (first == 2), second != 0, second == 255
    assert j_and_f(prediction, truth, void=void) == OFFICIAL_VOID
    assert j_and_f(prediction, truth) == OFFICIAL_NO_VOID
