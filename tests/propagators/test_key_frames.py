"""Key-frame rules against small cases with known results, and against brute force."""

import json
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.key_frame_quality import CONSTANT
from rvos_ensemble.propagators.core.key_frame_settings import RULES, settings_of
from rvos_ensemble.propagators.core.key_frames import KeyFrames, choose, spaced, uniform
from rvos_ensemble.propagators.core.mask_quality import agreement

EMPTY, LEFT, RIGHT, FULL = (np.zeros((4, 6), bool) for _ in range(4))
LEFT[:, :3] = RIGHT[:, 3:] = FULL[:] = True


def sequence(scores=None, empty=(), length=None, **notes):
    length = length or len(scores)
    return MaskSequence.binary([EMPTY if t in empty else LEFT for t in range(length)], scores, **notes)


def test_argmax_takes_the_earliest_of_the_best():
    assert choose("argmax", sequence([0.1, 0.9, 0.9, 0.3])) == KeyFrames((1,), "argmax")


@pytest.mark.parametrize("rank, frame", [(0, 2), (1, 0), (2, 3), (3, 1)])
def test_rank_goes_down_the_scores(rank, frame):
    assert choose({"rule": "argmax", "rank": rank}, sequence([0.7, 0.1, 0.9, 0.4])).frames == (frame,)


def test_a_rank_beyond_the_candidates_takes_the_last_and_says_so():
    key = choose({"rule": "argmax", "rank": 9}, sequence([0.7, 0.1, 0.9], empty={1}))
    assert key.frames == (0,) and "only 2 candidates" in key.note


def test_frames_without_a_mask_are_skipped_by_default():
    masks = sequence([0.2, 0.9, 0.5], empty={1})
    assert choose("argmax", masks).frames == (2,)
    assert choose({"rule": "argmax", "skip_empty": False}, masks).frames == (1,)
    assert choose({"rule": "uniform", "k": 3}, masks).frames == (0, 2)


def test_all_empty_still_names_a_frame_and_says_so():
    key = choose("argmax", sequence([0.2, 0.9, 0.5], empty={0, 1, 2}))
    assert key.frames == (1,) and "every mask is empty" in key.note


def test_the_score_comes_from_the_source():
    assert choose("argmax", sequence([0.9, 0.1, 0.2]), {"soc": sequence([0.1, 0.9, 0.2])}).frames == (1,)


@pytest.mark.parametrize("rule", ["argmax", "top"])
def test_rules_of_one_score_refuse_several_models(rule):
    with pytest.raises(InputError, match=f"{rule} uses one score, found soc, mutr"):
        choose(rule, sequence(length=2), {"soc": sequence([0.1, 0.9]), "mutr": sequence([0.9, 0.1])})


def test_product_weighs_all_models():
    sources = {"a": sequence([0.9, 0.6, 0.1]), "b": sequence([0.1, 0.5, 0.9])}
    assert choose("product", sequence(length=3), sources).frames == (1,)  # 0.09, 0.30, 0.09


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12), st.integers(1, 5), st.integers(1, 5))
def test_top_frames_are_apart_and_none_better_was_left_out(scores, k, apart):
    scores = np.float32(scores)
    order = np.argsort(-scores, kind="stable").tolist()
    taken = spaced(order, k, apart)
    assert 1 <= len(taken) <= k
    assert all(abs(a - b) >= apart for a, b in combinations(taken, 2))
    for t in order:  # an omitted frame is too close to a better one, or comes after the k-th
        if t not in taken and len(taken) < k:
            assert any(abs(t - o) < apart and order.index(o) < order.index(t) for o in taken)


def test_top_is_in_order_of_time():
    assert choose({"rule": "top", "k": 2}, sequence([0.9, 0.1, 0.8, 0.95])).frames == (0, 3)


def anchors(scores, empty, parts, least):
    """The best frame of every part, written out: a frame is left out if it is empty or has a low score."""
    everywhere = [t for t in range(len(scores)) if t not in empty] or list(range(len(scores)))
    best = max(everywhere, key=lambda t: (scores[t], -t))
    candidates = [t for t in everywhere if least is None or scores[t] >= least or t == best]
    return tuple(
        max((t for t in part if t in candidates), key=lambda t: (scores[t], -t))
        for part in parts
        if any(t in candidates for t in part)
    )


@settings(max_examples=50)
@given(st.data(), st.integers(2, 12))
def test_anchors_are_the_best_frames_of_their_parts(data, length):
    scores = data.draw(st.lists(st.sampled_from([0, 0.25, 0.5, 1]), min_size=length, max_size=length))
    empty = data.draw(st.sets(st.integers(0, length - 1), max_size=length - 1))
    least = data.draw(st.none() | st.sampled_from([0.0, 0.3, 0.5, 2.0]))
    cuts = sorted(data.draw(st.sets(st.integers(1, length - 1))))
    parts = [range(a, b) for a, b in pairwise([0, *cuts, length])]
    if len(set(scores)) > 1:
        masks, own = sequence(scores, empty), {"min_score": least}
        shots = choose({"rule": "shots", **own}, masks, shots=lambda distance: parts)
        assert shots.frames == anchors(scores, empty, parts, least) and shots.cuts == tuple(cuts)
        n = data.draw(st.integers(1, 13))
        every = choose({"rule": "every", "frames": n, **own}, masks)
        assert every.frames == anchors(scores, empty, [range(s, s + n) for s in range(0, length, n)], least)
        assert not every.cuts
        top = choose({"rule": "top", "k": length, **own}, masks)
        assert top.frames == anchors(scores, empty, [range(t, t + 1) for t in range(length)], least)


def test_the_distance_reaches_the_shots_and_scores_are_checked_before_frames_are_read():
    asked = []
    masks = sequence([0.1, 0.9, 0.3])
    choose({"rule": "shots", "distance": 0.2}, masks, shots=lambda distance: asked.append(distance) or [range(3)])
    assert asked == [0.2]
    with pytest.raises(InputError, match="has no scores"):
        choose("shots", sequence(length=3), shots=lambda distance: asked.append(distance))
    assert asked == [0.2]
    with pytest.raises(ValueError, match="argument `shots`"):
        choose("shots", masks)


@given(st.integers(1, 60), st.integers(1, 70), st.sampled_from(["centres", "ends"]))
def test_uniform_is_spread_over_the_clip(length, k, at):
    frames = uniform(length, k, at)
    assert len(set(frames)) == min(k, length) and frames == sorted(frames)
    assert frames[0] >= 0 and frames[-1] < length
    gaps = np.diff(frames)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
    assert abs(frames[0] - (length - 1 - frames[-1])) <= 1  # as much room before as after


def test_agreement_is_the_mean_iou_of_pairs():
    a, b, c = (MaskSequence.binary([m, FULL, EMPTY]) for m in (LEFT, RIGHT, FULL))
    assert agreement([a, b, c]).tolist() == pytest.approx([1 / 3, 1, 0])  # IoU 0, 1/2, 1/2
    assert choose("agreement", a, {"a": a, "b": b, "c": c}) == KeyFrames((1,), "agreement")


def test_one_model_agrees_with_its_neighbours_in_time():
    masks = MaskSequence.binary([LEFT, LEFT, LEFT, RIGHT, FULL])
    assert agreement([masks]).tolist() == pytest.approx([1, 1, 0.5, 0.25, 0.5])
    assert agreement([masks.binary([LEFT])]).tolist() == [0]


def test_missing_scores_are_an_error_that_names_the_source():
    sources = {"soc": sequence([0.1, 0.2]), "pngs": sequence(length=2)}
    with pytest.raises(InputError, match=r"'cat', expression '3': pngs has no scores: .*without_scores: agreement"):
        choose("product", sequence(length=2), sources, clip="cat", expression="3")


@pytest.mark.parametrize("noise", [0, CONSTANT / 2])
def test_constant_scores_are_no_scores(noise):
    mutr = sequence([0.5, 0.5 + noise, 0.5])
    with pytest.raises(InputError, match=r"the same score 0.5 on all frames"):
        choose("argmax", mutr)


def test_the_rule_of_without_scores_decides_and_is_recorded():
    masks = MaskSequence.binary([LEFT, RIGHT, RIGHT, RIGHT], [0.5] * 4)
    key = choose({"rule": "argmax", "without_scores": "agreement"}, masks)
    assert key.frames == (2,) and key.rule == "agreement" and "same score" in key.note


def test_a_clip_of_one_frame_has_one_answer():
    for rule in set(RULES) - {"given", "soft", "confidence"}:  # binary masks: nothing soft about them
        assert choose(rule, sequence([0.5]), shots=lambda distance: [range(1)]).frames == (0,)


@pytest.mark.parametrize("presence", [None, 0.0])
def test_constant_scores_of_masks_that_are_all_empty(presence):
    """The answer "refers to nothing" has no better and worse frames; one mask is enough to need scores again."""
    nothing = sequence([0.0] * 3, empty=range(3)).with_(presence=presence)
    for rule in ("argmax", "product"):
        key = choose(rule, nothing)
        assert key.rule == rule and "every mask is empty" in key.note
        with pytest.raises(InputError, match="the same score 0 on all frames"):
            choose(rule, sequence([0.0] * 3, empty=range(2)).with_(presence=presence))


def test_given_by_notes():
    assert choose("given", sequence(length=9, key_frame=4)) == KeyFrames((4,), "given")
    assert choose("given", sequence(length=9), {"soc": sequence(length=9, key_frame=[7, 2])}).frames == (2, 7)
    with pytest.raises(InputError, match="no source names a key frame"):
        choose("given", sequence(length=9))


def test_given_by_q_frame(tmp_path):
    """`selected_frames.json`, as the data set of SaSaSa2VA reads it: sorted indices, repeated in short videos."""
    file = tmp_path / "selected_frames.json"
    selected = {"0": [2, 2, 2, 5, 5, 8], "selected_frames": [1]}
    file.write_text(json.dumps({"cat": {"selected_frames": selected, "video_length": 9}}))
    rule = {"rule": "given", "file": str(file)}
    assert choose(rule, sequence(length=9), clip="cat", expression="0").frames == (2, 5, 8)
    assert choose(rule, sequence(length=9), clip="cat", expression="selected_frames").frames == (1,)
    with pytest.raises(InputError, match=r"key frame .*expected frame indices from 0 to 7"):
        choose(rule, sequence(length=8), clip="cat", expression="0")
    with pytest.raises(InputError, match="no key frame for video 'cat', expression '9'"):
        choose(rule, sequence(length=9), clip="cat", expression="9")
    file.write_text(json.dumps({"cat": {"selected_frames": {"index_info": {"class_index": 3}}}}))
    assert choose(rule, sequence(length=9), clip="cat", expression="selected_frames").frames == (3,)


@pytest.mark.parametrize("entry, frames", [(3, (3,)), ([5, 1], (1, 5)), ({"index_info": {"class_index": 2}}, (2,))])
def test_given_by_file(tmp_path, entry, frames):
    file = tmp_path / "key_frame.json"
    file.write_text(json.dumps({"cat": {"0": entry}}))
    assert choose({"rule": "given", "file": str(file)}, sequence(length=9), clip="cat", expression="0").frames == frames


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "not a json file"),
        ('{"dog": {}}', "no key frame for video 'cat', expression '0'"),
        ('{"cat": {"0": 9}}', "key frame 9, expected frame indices from 0 to 8"),
        ('{"cat": {"0": []}}', "expected frame indices"),
        ('{"cat": {"0": 1.5}}', "expected frame indices"),
        ('{"cat": {"0": true}}', "expected frame indices"),
        ('{"cat": {"0": {"index": 2}}}', "nothing at index_info.class_index"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    file = tmp_path / "key_frame.json"
    file.write_text(text)
    with pytest.raises(InputError, match=f"key_frame.json.*{message}"):
        choose({"rule": "given", "file": str(file)}, sequence(length=9), clip="cat", expression="0")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        choose({"rule": "given", "file": str(tmp_path / "no.json")}, sequence(length=9))


@pytest.mark.parametrize(
    "rule, message",
    [
        ("argmin", "no rule is called 'argmin'. Valid: argmax, product"),
        ({"k": 3}, "no rule is called None"),
        ({"rule": ["argmax"]}, "no rule is called"),
        ({"rule": "top", "kk": 3}, "unknown key `kk`, did you mean `k`"),
        ({"rule": "top", "k": 0}, "`k` is 0, expected a whole number of at least 1"),
        ({"rule": "top", "k": None}, "`k` is None"),
        ({"rule": "argmax", "rank": -1}, "`rank` is -1"),
        ({"rule": "argmax", "rank": "best"}, "expected a whole number"),
        ({"rule": "uniform", "at": "start"}, "expected one of centres, ends"),
        ({"rule": "every", "frames": 0}, "`frames` is 0, expected a whole number of at least 1"),
        ({"rule": "shots", "distance": 1}, "`distance` is 1, expected a number at least 0 and below 1"),
        ({"rule": "top", "min_score": "good"}, "`min_score` is 'good', expected a number"),
        ({"rule": "argmax", "without_scores": "guess"}, "expected one of '', agreement, temporal, soft"),
    ],
)
def test_settings_are_strict(rule, message):
    with pytest.raises(InputError, match=message):
        settings_of(rule)
