"""Refinement in rounds: against repeated propagation, its end, shared sweeps, and the key frame rules of URVOS."""

from itertools import pairwise

import numpy as np
import pytest
from helpers.ops import OPS
from hypothesis import given, settings
from hypothesis import strategies as st
from test_propagate import Echo, dense, moving_disc, still

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.inference.logits import confidence
from rvos_ensemble.propagators.aot import AOT
from rvos_ensemble.propagators.core.key_frames import choose
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.rounds.refine import Refinement, memory_frames
from rvos_ensemble.propagators.core.rounds.rounds import propagate_in_rounds
from rvos_ensemble.propagators.flow import Flow


@pytest.fixture(params=["flow", "aot"])
def propagator(request, checkpoints):
    return Flow() if request.param == "flow" else AOT(weights=str(checkpoints("aott")))


def by_confidence(result, over):
    """Frames with a mask, the most confident first, the earliest of equals first."""
    ranked = []
    for t in range(len(result)):
        p = result.masks[t].astype(float) / 255
        score = np.maximum(p, 1 - p)
        if (p > 0.5).any():
            ranked.append((-(score[p > 0.5] if over == "mask" else score).mean().round(12), t))
    return [t for _, t in sorted(ranked)]


@pytest.mark.parametrize("over", ["frame", "mask"])
def test_rounds_are_repeated_propagations(propagator, over):
    clip, truth = moving_disc(7)
    masks = MaskSequence.binary(truth)
    (found,) = propagate_in_rounds(clip, [Refinement(masks, (3,), rounds=3, memory=3, over=over)], propagator)
    (result,) = propagate(clip, [PropagationTask(masks, (3,))], propagator)
    keys, done = (3,), 1
    for _ in range(2):
        others = [t for t in by_confidence(result, over) if t != 3]
        new = tuple(sorted([3, *others[:2]]))
        if new == keys:
            break
        keys, done = new, done + 1
        (result,) = propagate(clip, [PropagationTask(result, keys)], propagator)
    assert np.array_equal(dense(found), dense(result)) and np.array_equal(found.scores, result.scores)
    assert found.notes["key_frames"] == list(keys) and found.notes["rounds"] == done > 1


def test_one_round_is_propagation(propagator):
    clip, truth = moving_disc(4)
    task = PropagationTask(MaskSequence.binary(truth), (1,))
    (plain,), (once,) = (
        propagate(clip, [task], propagator),
        propagate_in_rounds(clip, [Refinement(**vars(task), rounds=1)], propagator),
    )
    assert np.array_equal(dense(plain), dense(once)) and once.notes["rounds"] == 1
    (plain_task,) = propagate_in_rounds(clip, [task], propagator)
    assert np.array_equal(dense(plain), dense(plain_task)) and "rounds" not in plain_task.notes


def test_rounds_end_where_nothing_changes():
    clip, truth = moving_disc(7)
    masks = MaskSequence.binary(truth)
    (long,) = propagate_in_rounds(clip, [Refinement(masks, (3,), rounds=50)], Flow())
    assert long.notes["rounds"] < 50
    (again,) = propagate(clip, [PropagationTask(long, tuple(long.notes["key_frames"]))], Flow())
    assert np.array_equal(dense(long), dense(again)), "the next round would give the same"


def test_different_numbers_of_rounds_share_their_sweeps():
    clip, echo = still(), Echo()
    masks = MaskSequence.binary(np.ones((8, 4, 6), bool))
    tasks = [Refinement(masks, (2,), rounds=n, apart=2) for n in (1, 2, 3, 10)]
    together = propagate_in_rounds(clip, tasks, echo)
    assert len(echo.seen) == 2 * max(s.notes["rounds"] for s in together)
    for task, result in zip(tasks, together, strict=True):
        (alone,) = propagate_in_rounds(clip, [task], Echo())
        assert np.array_equal(dense(result), dense(alone)) and result.notes == alone.notes


class Reader(Echo):
    """Records the arguments of `for_clip`."""

    reads_text = True
    received: list = []

    def for_clip(self, length, sentences):
        self.received.append((length, list(sentences)))
        return self


def test_sentences_separate_tasks_only_for_propagators_that_read_text():
    masks = MaskSequence.binary(np.ones((8, 4, 6), bool))
    tasks = [PropagationTask(masks, (2,), sentence=s) for s in ("a", "b", "a")]
    reader = Reader()
    results = propagate_in_rounds(still(), tasks, reader)
    assert reader.received == [(8, ["a", "b"])]
    assert results[0].masks is results[2].masks is not results[1].masks
    results = propagate_in_rounds(still(), tasks, Echo())
    assert results[0].masks is results[1].masks is results[2].masks


def test_a_task_without_masks_has_one_round():
    empty = MaskSequence.binary(np.zeros((8, 4, 6), bool))
    (result,) = propagate_in_rounds(still(), [Refinement(empty, (2,))], Echo())
    assert not dense(result).any() and result.notes["rounds"] == 1
    masks = np.ones((8, 4, 6), bool)
    masks[2] = False  # the mask of its key frame is empty; a copied input starts no further round
    (copied,) = propagate_in_rounds(still(), [Refinement(MaskSequence.binary(masks), (2,), "copy", rounds=5)], Echo())
    assert np.array_equal(dense(copied) > 127, masks) and copied.notes["rounds"] == 1


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_memory_frames_are_anchors_and_the_most_confident_frames(data):
    values = data.draw(st.lists(st.integers(0, 255), min_size=2, max_size=9))
    sequence = MaskSequence.prob(np.uint8(values)[:, None, None])
    anchors = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=2, unique=True))
    memory, apart = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    frames = memory_frames(sequence, anchors, memory, apart)
    assert list(frames) == sorted(set(frames)) and len(frames) <= max(memory, len(anchors))
    assert set(anchors) <= set(frames)
    assert all(b - a >= apart or {a, b} <= set(anchors) for a, b in pairwise(frames))
    others = [t for t in frames if t not in anchors]
    assert all(values[t] > 127 for t in others)
    if apart == 1:  # no omitted frame is more confident than a chosen one
        left = [v for t, v in enumerate(values) if v > 127 and t not in frames]
        room = memory > len(frames)
        assert not (room and left) and (not others or max(left, default=0) <= min(values[t] for t in others))


# Key frame rules ------------------------------------------------------------------------------------------------------


def test_the_anchor_is_the_frame_of_the_highest_mean_score():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 256, (6, 5, 7), dtype=np.uint8)
    for over in ("frame", "mask"):
        expected = by_confidence(MaskSequence.prob(masks), over)
        for rank in range(3):
            key = choose({"rule": "confidence", "over": over, "rank": rank}, MaskSequence.prob(masks))
            assert key.frames == (expected[rank],) and key.rule == "confidence"


def test_the_anchor_of_masks_without_probabilities():
    masks = MaskSequence.binary(np.ones((3, 2, 2), bool))
    with pytest.raises(InputError, match="no probabilities"):
        choose("confidence", masks)
    assert choose({"rule": "confidence", "without_scores": "agreement"}, masks).rule == "agreement"
    with pytest.raises(InputError, match="`over` is 'object'"):
        choose({"rule": "confidence", "over": "object"}, masks)


def test_an_empty_frame_is_confident_and_no_anchor():
    masks = np.full((3, 2, 2), 200, np.uint8)
    masks[1] = 0
    assert confidence(masks[1]) == 1.0 > confidence(masks[0])
    assert choose("confidence", MaskSequence.prob(masks)).frames == (0,)
    assert choose({"rule": "confidence", "skip_empty": False}, MaskSequence.prob(masks)).frames == (1,)


def test_the_first_frame_is_the_first_with_a_mask():
    masks = np.ones((4, 2, 2), bool)
    masks[0] = False
    assert choose("first", MaskSequence.binary(masks)).frames == (1,)
    assert choose({"rule": "first", "skip_empty": False}, MaskSequence.binary(masks)).frames == (0,)


# The step -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [{"rounds": 0}, {"memory": 0}, {"apart": 0}, {"over": "object"}, {"round": 2}])
def test_settings_of_the_step_are_strict(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        OPS["refine"]("r", **{"input": "soc", "with": "flow", **setting})


def test_a_recipe_refines_and_an_ablation_sweeps_the_rounds(tiny, capsys):
    recipe = tiny.recipe.with_name("refined.yaml")
    recipe.write_text(
        f"base: {tiny.recipe.name}\nsteps:\n"
        "  smr_flow: null\n"
        "  refined: {op: refine, input: soc, with: flow, key_frame: argmax, rounds: 3, memory: 2, apart: 2}\n"
        "output: refined\n"
    )
    arguments = [f"recipe={recipe}", f"out={tiny.out}"]
    assert run_ensemble.main(arguments) == 0
    assert "refined" in capsys.readouterr().out
    assert run_ensemble.main(["ablate", *arguments, "ablate.refined.rounds=[1,2,3,10]"]) == 0
    table = (tiny.out / "ablation.csv").read_text()
    assert table.count("rounds") >= 4
    assert run_ensemble.main(["ablate", *arguments, "ablate=steps"]) == 0
    assert "refined" in capsys.readouterr().out
