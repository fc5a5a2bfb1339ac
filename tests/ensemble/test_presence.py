"""Presence, whether an expression refers to anything, on its way through steps and propagation."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.ops import OPS

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import sequence_problems
from rvos_ensemble.propagators.core.propagate import PropagationTask
from rvos_ensemble.propagators.core.rounds.rounds import propagate_in_rounds
from rvos_ensemble.propagators.flow import Flow

SIZE, T = (16, 24), 3
IMAGES = SimpleNamespace(size=SIZE, read=lambda t: np.full((*SIZE, 3), 40 * t, np.uint8), fingerprint=lambda: "")
CLIP = Clip("v", ("0", "1", "2"), (Expression("v", "0", "the star"), Expression("v", "1", "the disc")), IMAGES)


def prediction(*presences):
    masks = np.zeros((T, *SIZE), bool)
    masks[:, 4:9, 5:12] = True
    return {
        e.id: MaskSequence.binary(masks).with_(presence=p) for e, p in zip(CLIP.expressions, presences, strict=True)
    }


def run(op, inputs, **settings):
    step = OPS[op]("s", inputs=list(inputs), **settings)
    return {i: s.presence for i, s in step.run(CLIP, inputs).items()}


@pytest.mark.parametrize(
    "op, settings, expected",
    [
        ("vote", {"threshold": 2}, {"0": 0.5, "1": 0.75}),
        ("vote", {"threshold": None}, {"0": 0.5, "1": 0.75}),
        ("vote", {"threshold": 2, "weights": [3, 1, 5]}, {"0": 0.25, "1": 0.75}),
        ("average", {"weights": [3, 1, 5]}, {"0": 0.25, "1": 0.75}),
        ("union", {}, {"0": 1.0, "1": 0.75}),
    ],
)
def test_fused_presence(op, settings, expected):
    inputs = {"a": prediction(0.0, 0.75), "b": prediction(1.0, None), "c": prediction(None, None)}
    assert run(op, inputs, **settings) == expected


def test_expressions_of_a_group_share_their_presence():
    inputs = {"a": prediction(0.0, 1.0), "b": prediction(0.5, None)}
    settings = {"across": "expressions", "threshold": 0.5, "grouping": {"rule": "pairs"}}
    assert run("vote", inputs, **settings) == {"0": 0.5, "1": 0.5}


def test_propagation_keeps_the_presence_of_each_task():
    """Equal masks are propagated once, but each task has its own presence."""
    tasks = [PropagationTask(s, (1,)) for s in prediction(0.25, None).values()]
    tasks.append(PropagationTask(tasks[0].sequence.with_(presence=1.0), (1,)))
    assert [r.presence for r in propagate_in_rounds(CLIP, tasks, Flow())] == [0.25, None, 1.0]


@pytest.mark.parametrize("presence", [-0.1, 1.5, math.nan])
def test_a_presence_is_a_probability(presence):
    sequence = prediction(presence, None)["0"]
    (problem,) = sequence_problems(sequence, CLIP, "0", "source soc")
    assert "presence" in problem and "0..1" in problem
    assert not sequence_problems(sequence.with_(presence=0.0), CLIP, "0", "source soc")


def test_only_masks_that_are_empty_in_all_frames_are_the_answer_nothing():
    masks = np.zeros((T, *SIZE), bool)
    assert MaskSequence.binary(masks).is_empty()
    masks[2, 3, 3] = True
    assert not MaskSequence.binary(masks).is_empty()
    assert MaskSequence.prob(np.full((T, *SIZE), 127, np.uint8)).is_empty()
