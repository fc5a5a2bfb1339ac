"""Tracking in rounds: collapse against a naive reference, seeds, and that what does not collapse is left alone."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_propagate import Echo, dense, jaccard, moving_disc, still

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.aot import AOT
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.core.rounds.collapse import Limits, as_ranges, collapses
from rvos_ensemble.propagators.core.rounds.refine import Refinement
from rvos_ensemble.propagators.core.rounds.rounds import propagate_in_rounds
from rvos_ensemble.propagators.core.rounds.track import Tracking, next_seeds
from rvos_ensemble.propagators.flow import Flow

NAN = float("nan")
NO_LIMITS = Limits(None, None, None, None)


@pytest.fixture(params=["flow", "aot"])
def propagator(request, checkpoints):
    return Flow() if request.param == "flow" else AOT(weights=str(checkpoints("aott")))


def disc_that_is_hidden(length=14, hidden=(6, 7)):
    """A clip whose object vanishes for some frames, and what a source sees of it: its true masks."""
    clip, truth = moving_disc(length, hidden=hidden)
    return clip, MaskSequence.binary(truth)


def tracking(masks, *keys, quality=None, **more):
    return Tracking(masks, keys, quality=[1.0] * len(masks) if quality is None else quality, **more)


def same(a, b):
    return (
        np.array_equal(dense(a), dense(b))
        and np.array_equal(a.scores, b.scores)
        and a.signals.keys() == b.signals.keys()
        and all(np.array_equal(v, b.signals[k], equal_nan=True) for k, v in a.signals.items())
    )


# Collapse -------------------------------------------------------------------------------------------------------------


def cut_between(a, b, cuts):
    return any(cut in range(min(a, b) + 1, max(a, b) + 1) for cut in cuts)


def naive_collapses(areas, scores, signals, keys, limits, cuts):
    """{limit: frames}, frame by frame as the documentation says it."""
    result = {}
    for t in range(len(areas)):
        if t in keys:
            continue
        stated = {name: v[t] for name, v in signals.items() if v[t] == v[t]}
        found = []
        for name in ("object_score", "predicted_iou"):
            limit = getattr(limits, name)
            if name in stated and limit is not None and stated[name] < np.float32(limit):
                found.append(name)
        if not stated and limits.confidence is not None and scores[t] < np.float32(limits.confidence):
            found.append("confidence")
        if limits.area is not None:
            own = [k for k in keys if not cut_between(k, t, cuts)] or keys
            nearest = min((abs(k - t), k) for k in own)[1]
            step = 1 if nearest < t else -1
            before = [areas[u] for u in range(nearest, t, step) if areas[u] > 0]
            last = sorted(before[-10:])
            middle = (last[(len(last) - 1) // 2] + last[len(last) // 2]) / 2
            if areas[t] * limits.area < middle or areas[t] > limits.area * middle:
                found.append("area")
        for name in found:
            result.setdefault(name, []).append(t)
    return result


LIMITS = st.builds(
    Limits,
    *[st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 3,
    st.none() | st.sampled_from([1.5, 2.0, 4.0]),
)
VALUES = st.sampled_from([NAN, 0.0, 0.125, 0.25, 0.5, 0.75, 1.0])


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_collapses_against_a_naive_reference(data):
    length = data.draw(st.integers(1, 25))
    keys = sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1, max_size=3)))
    areas = [data.draw(st.integers(1 if t in keys else 0, 12)) for t in range(length)]
    names = data.draw(st.sets(st.sampled_from(["object_score", "predicted_iou"])))
    signals = {n: np.float32([NAN if t in keys else data.draw(VALUES) for t in range(length)]) for n in names}
    scores = np.float32([data.draw(VALUES.filter(lambda v: v == v)) for _ in range(length)])
    masks = np.arange(12) < np.array(areas)[:, None, None]  # the first n pixels of one row
    sequence = MaskSequence.prob(masks * np.uint8(255), scores, key_frames=keys).with_(signals=signals)
    limits, cuts = data.draw(LIMITS), data.draw(st.lists(st.integers(1, 24), max_size=2))
    frames = collapses(sequence, limits, cuts)
    assert frames == naive_collapses(areas, scores, signals, keys, limits, cuts)
    assert collapses(sequence, NO_LIMITS) == {} and not {t for of in frames.values() for t in of} & set(keys)


@given(st.sets(st.integers(0, 40)))
def test_ranges_name_every_frame_once(frames):
    text, named = as_ranges(sorted(frames)), []
    for part in text.split(", ") if text else []:
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(frames)
    runs = groupby(enumerate(sorted(frames)), key=lambda pair: pair[1] - pair[0])
    assert len(text.split(", ")) == max(1, len(list(runs)))


# Seeds ----------------------------------------------------------------------------------------------------------------


def side(t, keys, cuts):
    """The part of a frame: its neighbouring key frames, and from which of them it was propagated."""
    left, right = max((k for k in keys if k < t), default=None), min((k for k in keys if k > t), default=None)
    if left is None or right is None:
        return left, right, "backward" if left is None else "forward"
    far = cut_between(left, t, cuts), cut_between(t, right, cuts)
    return left, right, {(True, False): "backward", (False, True): "forward"}.get(far, "both")


def naive_seeds(source, propagated, quality, keys, collapsed, task):
    """At most one frame in each part of the clip; masks are sets of pixels."""
    best, taken, length = max(quality[k] for k in keys), {}, len(source)
    sides = {t: side(t, keys, task.cuts) for t in range(length) if t not in keys}
    for this in dict.fromkeys(sides.values()):
        direction, broken, good = this[2], [t for t in collapsed if sides[t] == this], []
        found = [
            t
            for t in sides
            if sides[t] == this and t not in collapsed
            if source[t] and len(source[t] & propagated[t]) / len(source[t] | propagated[t]) > task.max_iou
        ]
        if found and direction != "both":
            broken = [t for t in broken if (t > max(found) if direction == "forward" else t < min(found))]
        if not broken:
            continue
        for t in (t for t in sides if sides[t] == this):
            if not {"forward": t >= broken[0], "backward": t <= broken[-1], "both": t in broken}[direction]:
                continue
            near = any(abs(t - k) < task.apart for k in [*keys, *taken])
            overlap = len(source[t] & propagated[t]) / max(len(source[t] | propagated[t]), 1)
            if source[t] and overlap <= task.max_iou and not near and quality[t] >= task.trust * best:
                good.append((-quality[t], t))
        if good:
            seed, cuts = min(good)[1], []
            if direction != "backward":
                cut = max(t for t in broken if t <= seed)
                while cut - 1 in broken:
                    cut -= 1
                cuts.append(cut)
            if direction != "forward":
                cut = min(t for t in broken if t >= seed)
                while cut in broken:
                    cut += 1
                cuts.append(cut)
            taken[seed] = cuts
    return taken


PIXELS = st.frozensets(st.integers(0, 3))


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_seeds_against_a_naive_reference(data):
    length = data.draw(st.integers(1, 12))
    keys = sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1, max_size=3)))
    source, propagated = ([data.draw(PIXELS) for _ in range(length)] for _ in "ab")
    quality = [data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])) for _ in range(length)]
    collapsed = sorted(data.draw(st.sets(st.integers(0, length - 1))) - set(keys))
    shares = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    apart, trust, max_iou = data.draw(st.integers(1, 4)), data.draw(shares), data.draw(shares)
    cuts = tuple(data.draw(st.lists(st.integers(1, 11), max_size=3)))
    masks = [MaskSequence.binary(np.isin(np.arange(4), list(m))[None] for m in of) for of in (source, propagated)]
    task = tracking(masks[0], *keys, quality=quality, apart=apart, trust=trust, max_iou=max_iou, cuts=cuts)
    result = masks[1].with_(notes={"key_frames": keys})
    seeds = next_seeds(result, collapsed, task)
    assert seeds == naive_seeds(source, propagated, quality, keys, collapsed, task)
    assert not set(seeds) & set(keys) and len(seeds) <= len(keys) + 1 and (collapsed or not seeds)


def test_an_object_that_was_found_again_is_not_lost():
    """The propagation collapsed on two frames, and agrees with the source behind them: no frame is better."""
    shown = np.ones((8, 1, 4), bool)
    source, propagated = MaskSequence.binary(shown), np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)[:, None, None] & shown
    task = tracking(source, 0, apart=1)
    result = MaskSequence.binary(propagated, key_frames=[0])
    assert next_seeds(result, [2, 3], task) == {}
    assert next_seeds(result, [2, 3, 6, 7], task) == {6: [6]}, "lost again"
    task = tracking(source, 7, apart=1)
    result = MaskSequence.binary(propagated[::-1], key_frames=[7])
    assert next_seeds(result, [0, 1, 4, 5], task) == {0: [2]}


def test_a_quality_below_zero_is_compared_as_well():
    masks = np.ones((3, 1, 2), bool)
    result = MaskSequence.binary(np.zeros((3, 1, 2), bool), key_frames=[0])
    for quality, seeds in (([-2.0, -3.0, -3.5], {1: [1]}), ([-2.0, -3.1, -4.0], {})):
        task = tracking(MaskSequence.binary(masks), 0, quality=quality, apart=1, trust=0.5)
        assert next_seeds(result, [1, 2], task) == seeds


# Rounds ---------------------------------------------------------------------------------------------------------------


def test_without_collapse_and_with_one_round_it_is_propagation(propagator):
    clip, masks = disc_that_is_hidden(9, hidden=(6,))
    (plain,) = propagate(clip, [PropagationTask(masks, (1,))], propagator)
    (none, once) = propagate_in_rounds(
        clip, [tracking(masks, 1, limits=NO_LIMITS), tracking(masks, 1, rounds=1)], propagator
    )
    assert same(none, plain) and same(once, plain)
    assert none.notes == {
        **plain.notes,
        "rounds": 1,
        "track": {"rounds": [{"collapsed": {}}], "ended": "nothing collapsed"},
    }
    assert once.notes["rounds"] == 1 and once.notes["track"]["ended"] == "all rounds used"
    (noted,) = once.notes["track"]["rounds"]
    assert noted["collapsed"] and noted == {
        "collapsed": {n: as_ranges(t) for n, t in collapses(plain, Limits()).items()}
    }


def test_a_lost_object_is_found_again():
    """A propagator that loses its object on the frames where it is hidden, and the key frame that finds it again."""
    clip, masks = disc_that_is_hidden()
    quality = np.linspace(1, 0.95, len(masks))
    (plain,) = propagate(clip, [PropagationTask(masks, (0,))], Flow())
    (result,) = propagate_in_rounds(clip, [tracking(masks, 0, quality=quality)], Flow())
    j = [[jaccard(s.mask(t), masks.mask(t)) for t in range(8, 14)] for s in (plain, result)]
    assert np.mean(j[0]) < 0.2 and np.mean(j[1]) > 0.9
    first = result.notes["track"]["rounds"][0]
    assert first["seeds"] == [8] and first["cuts"] == [6] and result.notes["key_frames"] == [0, 8]
    assert result.notes["track"]["ended"] == "no better frame in the source", "none of the frames where it is hidden"
    (again,) = propagate(clip, [PropagationTask(masks, (0, 8), cuts=(6,))], Flow())
    assert same(result, again), "the last round is a propagation from all key frames"
    assert all(np.array_equal(result.masks[t], plain.masks[t]) for t in range(6)), "what had not collapsed stays"


def test_a_network_that_finds_its_object_again_is_left_alone():
    clip, masks = disc_that_is_hidden(10, hidden=(4, 5))
    (plain, tracked) = propagate_in_rounds(
        clip, [PropagationTask(masks, (0,)), tracking(masks, 0)], AOT(weights="aot_nano")
    )
    assert np.mean([jaccard(plain.mask(t), masks.mask(t)) for t in range(6, 10)]) > 0.8
    collapsed = tracked.notes["track"]["rounds"][0]["collapsed"]
    assert collapsed["area"] == "4-5" and tracked.notes["key_frames"] == [0] and same(plain, tracked)


def test_no_seed_where_the_source_has_none():
    """An object that has gone for good is no reason for another round, and neither is a source that is not trusted."""
    clip, masks = disc_that_is_hidden(9, hidden=range(5, 9))
    (gone,) = propagate_in_rounds(clip, [tracking(masks, 0)], Flow())
    assert gone.notes["rounds"] == 1 and gone.notes["track"]["ended"] == "no better frame in the source"
    clip, masks = disc_that_is_hidden()
    (doubted,) = propagate_in_rounds(clip, [tracking(masks, 0, quality=[1.0] + [0.3] * 13)], Flow())
    assert doubted.notes["rounds"] == 1 and doubted.notes["track"]["ended"] == "no better frame in the source"


class Fading(Propagator):
    """Keeps a mask for `lasts` frames after its key frame, and states an object score that falls."""

    signals = ("object_score",)

    def __init__(self, lasts=2):
        super().__init__()
        self.lasts, self.sweeps = lasts, []

    def sweep(self, size, sequences):
        self.sweeps.append(set())
        return FadingSweep(self.lasts, self.sweeps[-1])


class Mask(np.ndarray):
    """A mask with signals."""


class FadingSweep:
    def __init__(self, lasts, seen):
        self.lasts, self.seen, self.now = lasts, seen, {}

    def step(self, frame, references):
        self.now = {i: (m, age + 1) for i, (m, age) in self.now.items()} | {i: (m, 0) for i, m in references.items()}
        self.seen |= set(references)
        result = {}
        for i, (mask, age) in self.now.items():
            result[i] = (mask * np.uint8(255 if age <= self.lasts else 0)).view(Mask)
            result[i].signals = {"object_score": 0.9 if age <= self.lasts else 0.1}
        return result


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_properties_of_rounds(data):
    clip, length = still(), 8
    shown = data.draw(st.lists(st.booleans(), min_size=length, max_size=length))
    key, rounds, lasts = (data.draw(st.integers(*of)) for of in ((0, length - 1), (1, 4), (0, 3)))
    masks = np.zeros((length, 4, 6), bool)
    masks[shown, 1:3, 2:5] = True
    source = MaskSequence.binary(masks)
    quality = [data.draw(st.sampled_from([0.25, 0.5, 1.0])) for _ in range(length)]
    limits = Limits(area=data.draw(st.sampled_from([None, 2.0])))
    more = {"apart": data.draw(st.integers(1, 3)), "trust": data.draw(st.sampled_from([0.5, 0.9]))}
    task = tracking(source, key, quality=quality, rounds=rounds, limits=limits, **more)
    propagator = Fading(lasts)
    (result,) = propagate_in_rounds(clip, [task], propagator)
    track, keys = result.notes["track"], result.notes["key_frames"]
    seeds = [t for this in track["rounds"] for t in this.get("seeds", [])]
    assert len(track["rounds"]) == result.notes["rounds"] == len(propagator.sweeps) / 2 or not shown[key]
    assert sorted([key, *seeds]) == keys and result.notes["rounds"] <= rounds
    assert all(np.array_equal(result.mask(t), masks[t]) and masks[t].any() for t in seeds)
    assert all("seeds" in this for this in track["rounds"][:-1]) and "seeds" not in track["rounds"][-1]
    assert track["ended"] == "no mask on the key frames" or shown[key]
    cuts = tuple(cut for this in track["rounds"] for cut in this.get("cuts", []))
    (again,) = propagate(clip, [PropagationTask(source, tuple(keys), cuts=cuts)], Fading(lasts))
    assert same(result, again)
    (before,) = propagate_in_rounds(clip, [replace(task, rounds=max(1, rounds - 1))], Fading(lasts))
    if before.notes["track"]["ended"] in ("nothing collapsed", "no better frame in the source"):
        assert same(result, before) and result.notes == before.notes


def test_results_do_not_depend_on_company_and_sequences_that_ended_are_not_computed_again():
    clip, propagator = still(), Fading(2)
    steady, lost = (MaskSequence.binary(np.ones((8, 4, 6), bool)) for _ in "ab")
    tasks = [
        tracking(steady, 2, limits=NO_LIMITS),
        tracking(lost, 0, apart=1),
        PropagationTask(steady, (5,)),
        Refinement(steady, (4,), rounds=2, apart=2),
        tracking(lost, 0, apart=1, rounds=2),
    ]
    together = propagate_in_rounds(clip, tasks, propagator)
    assert [len(seen) for seen in propagator.sweeps[:4:2]] == [4, 2], "equal tasks, and only what continues"
    for task, result in zip(tasks, together, strict=True):
        (alone,) = propagate_in_rounds(clip, [task], Fading(2))
        assert same(alone, result) and alone.notes == result.notes


def test_signals_take_the_place_of_the_confidence():
    """A propagator that states signals is judged by them: a mask of low probability is no collapse."""
    low = MaskSequence.prob(np.full((3, 2, 2), 130, np.uint8), [1, 0.51, 0.51], key_frames=[0])
    limits = Limits(confidence=0.6, area=None)
    assert collapses(low, limits) == {"confidence": [1, 2]}
    stated = low.with_(signals={"object_score": np.float32([NAN, 0.9, NAN])})
    assert collapses(stated, limits) == {"confidence": [2]}
    assert collapses(stated, Limits(0.95, None, 0.6, None)) == {"object_score": [1], "confidence": [2]}


def test_an_empty_key_mask_ends_the_tracking():
    clip, empty = still(), MaskSequence.binary(np.zeros((8, 4, 6), bool))
    (result,) = propagate_in_rounds(clip, [tracking(empty, 2)], Echo())
    assert result.notes["rounds"] == 1 and result.notes["track"]["ended"] == "no mask on the key frames"
    assert not dense(result).any() and result.notes["key_frames"] == [2]
