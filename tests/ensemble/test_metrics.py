"""Scores of sequences and their statistics, against the definition and the official code's numbers."""

import numpy as np
import pytest
from helpers import reference
from helpers.reference import random_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.ensemble.metrics import scores as metrics
from rvos_ensemble.ensemble.metrics.scores import (
    Scores,
    dataset_mean,
    decay,
    j_and_f,
    recall,
    score_many,
    score_sequence,
)

# ---------------------------------------------------------------------------------------------- sequences


def sequence_of_masks(seed, frames=23, size=(37, 90)):
    rng = np.random.default_rng(seed)
    return np.stack([random_mask(rng, *size) for _ in range(frames)])


def counted(masks, reads):
    """A lazy sequence that records which frames are read."""
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


# ---------------------------------------------------------------------------------------------- statistics


@settings(deadline=None)
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
    values_of_summary = summary["F-Mean"], summary["F-Recall"], summary["J-Decay"]
    np.testing.assert_array_equal(values_of_summary, official)  # NaN equals NaN
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
