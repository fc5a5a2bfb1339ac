"""DAM4SAM's admission against the rules of the paper written out over complete histories, and on drawn pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.propagators.core.memory_rules.admission import DistractorRule, Sighting, distraction
from rvos_ensemble.propagators.core.memory_rules.settings import DISTRACTORS, admission_of, pathways_of, relations

SMALL = {"areas": 3, "window": 5, "apart": 2, "gap": 3}


def naive(history, settings):
    """What stays and what becomes an anchor, decided from the whole history: ("key", area) or a `Sighting`."""
    stayed, anchors, decisions = [], [], []
    for n, event in enumerate(history):
        if isinstance(event, tuple):
            stayed.append(n)
            anchors.append(n)
            continue
        before = [e[1] if isinstance(e, tuple) else e.area for e in history[:n]][-settings["window"] :]
        visible = [area for area in before if area > 0][-settings["areas"] :]
        low, high = 1 - settings["area_change"], 1 + settings["area_change"]
        usual = bool(visible) and event.area > 0 and low <= event.area / np.median(visible) <= high
        sure = event.iou > settings["min_iou"]
        ambiguous = event.box_iou <= settings["max_box_iou"]
        stays = event.area > 0 and n - stayed[-1] >= settings["gap"]
        anchor = usual and sure and ambiguous and n - anchors[-1] > settings["apart"]
        decisions.append((stays, anchor))
        stayed += [n] * bool(stays)
        anchors += [n] * bool(anchor)
    return decisions


AREAS = st.sampled_from([0.0, 0.0, 0.07, 0.1, 0.11, 0.5])  # 0.07 and 0.5 are unusual beside 0.1
SIGHTINGS = st.builds(Sighting, AREAS, st.sampled_from([0.5, 0.8, 0.81, 0.95]), st.sampled_from([0.3, 0.7, 0.71, 1.0]))
KEYS = st.tuples(st.just("key"), st.sampled_from([0.1, 0.3]))


@pytest.mark.parametrize("changes", [{}, SMALL])
@given(history=st.lists(SIGHTINGS | SIGHTINGS | SIGHTINGS | KEYS, max_size=30))
def test_every_decision_is_the_written_out_one(changes, history):
    settings, history = admission_of({"rule": "distractors", **changes}), [("key", 0.1), *history]
    rule, decisions = DistractorRule(settings), []
    for event in history:
        if isinstance(event, tuple):
            rule.key_frame(event[1])
        else:
            copy = rule.fork()
            decisions.append(rule.decide(event))
            assert copy.decide(event) == decisions[-1], "a copy is in the same state, and separate"
        assert len(rule.areas) <= settings["window"]
    assert decisions == naive(history, settings)


def test_the_constants_are_those_of_the_paper():
    assert admission_of("distractors") == {
        "min_iou": 0.8, "area_change": 0.2, "areas": 10, "window": 300, "max_box_iou": 0.7, "apart": 5, "anchors": 3,
        "recent": 3, "gap": 5,
    }  # fmt: skip
    assert pathways_of(3) == {"count": 3, "uncertainty": 2, "min_iou": 0.1}


def naive_distraction(mask, alternatives):
    """With scipy's labels, and boxes from lists of coordinates."""

    def box(m):
        y, x = np.nonzero(m)
        return (y.max() - y.min() + 1) * (x.max() - x.min() + 1)

    result = 1.0
    for other in alternatives:
        labels, count = ndimage.label(other & ~mask, np.ones((3, 3)))
        parts = [labels == n for n in range(1, count + 1)]
        if parts and mask.any():
            largest = max(part.sum() for part in parts)
            result = min(result, *(box(mask) / box(mask | p) for p in parts if p.sum() == largest))
    return result


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_distraction_is_the_written_out_one(seed, h, w, count):
    rng = np.random.default_rng(seed)
    mask, *alternatives = rng.random((count + 1, h, w)) < rng.choice([0.1, 0.3, 0.6])
    labels = [ndimage.label(a & ~mask, np.ones((3, 3))) for a in alternatives]
    sizes = [np.bincount(x.ravel())[1:] for x, _ in labels]
    if all(len(s) < 2 or np.sort(s)[-1] > np.sort(s)[-2] for s in sizes):  # one largest part: the choice is unique
        assert distraction(mask, alternatives) == pytest.approx(naive_distraction(mask, alternatives))


def test_a_second_object_is_a_distraction_and_a_ragged_edge_is_none():
    mask, ragged, other = np.zeros((3, 20, 40), bool)
    mask[5:15, 5:15] = ragged[4:15, 5:16] = True
    other[5:15, 25:35] = True
    assert distraction(mask, [ragged]) == pytest.approx(100 / 121)
    assert distraction(mask, [ragged, other]) == pytest.approx(100 / 300)
    assert distraction(mask & False, [other]) == 1.0 and distraction(mask, []) == 1.0


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"admission": {"rule": "newest"}}, "no rule is called 'newest'. Valid: distractors"),
        ({"admission": {"rule": "distractors", "min_iuo": 0.5}}, "unknown key `min_iuo`, did you mean `min_iou`"),
        ({"admission": {"rule": "distractors", "min_iou": 2}}, "`min_iou` is 2, expected a number"),
        ({"pathways": {"count": 0}}, "`count` is 0"),
        ({"pathways": {"paths": 3}}, "unknown key `paths`"),
        ({"admission": "distractors", "pathways": 3}, "do not go together"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    assert [p for p in relations(setting, "sam2") if message in p] or pytest.fail(str([*relations(setting, "sam2")]))


def test_right_settings_have_no_problems():
    for setting in ({}, {"admission": "distractors"}, {"pathways": {"uncertainty": 1.5}}, {"pathways": 1}):
        assert not [*relations(setting, "sam2")]
    with pytest.raises(InputError):
        admission_of(3)
    assert DISTRACTORS.keys() == admission_of("distractors").keys()
