"""The step `track`: its settings, its tasks, and its notes in a run."""

import json

import numpy as np
import pytest
from helpers.ops import OPS

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.rounds.collapse import Limits
from rvos_ensemble.propagators.core.rounds.track import Tracking

CLIP = Clip("v", tuple("0123"), (Expression("v", "0", "the star"), Expression("v", "1", "the disc")), None)


def sequence(shown=(1, 1, 1, 1), scores=None):
    """The same mask on all shown frames."""
    masks = np.zeros((4, 4, 6), bool)
    masks[np.array(shown, bool), 1:3, 1:4] = True
    return MaskSequence.binary(masks, scores)


@pytest.mark.parametrize(
    "setting",
    [
        {"rounds": 0},
        {"object_score": 1.5},
        {"predicted_iou": -1},
        {"confidence": "low"},
        {"area": 1},
        {"apart": 0},
        {"trust": 2},
        {"max_iou": -0.1},
        {"roundz": 2},
    ],
)
def test_settings_are_strict(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        OPS["track"]("t", **{"input": "soc", "with": "flow", **setting})


def test_the_tasks_have_the_settings_and_the_quality_of_the_rule():
    off = {"object_score": None, "confidence": 0.25, "area": 4, "predicted_iou": 0.125}
    more = {"rounds": 7, "apart": 2, "trust": 0.25, "max_iou": 0.75}
    step = OPS["track"]("t", input="s", **{"with": "f"}, **off, **more)
    scores = [0.5, 1.0, 0.25, 0.0]
    (task, _) = step.tasks(CLIP, {"s": {e.id: sequence(scores=scores) for e in CLIP.expressions}})
    assert isinstance(task, Tracking) and task.key_frames == (1,) and list(task.quality) == scores
    assert task.limits == Limits(None, 0.125, 0.25, 4)
    assert {name: getattr(task, name) for name in more} == more
    given = OPS["track"]("t", input="s", **{"with": "f"}, key_frame="first")
    (task, _) = given.tasks(CLIP, {"s": {e.id: sequence((1, 1, 1, 0)) for e in CLIP.expressions}})
    assert list(task.quality) == [1, 1, 0.5, 0], "the agreement with the neighbouring frames"


def test_a_recipe_tracks(tiny, capsys):
    recipe = tiny.recipe.with_name("tracked.yaml")
    recipe.write_text(
        f"base: {tiny.recipe.name}\nsteps:\n"
        "  smr_flow: null\n"
        "  tracked: {op: track, input: soc, with: flow, confidence: 1, apart: 1, max_iou: 1, trust: 0}\n"
        "output: tracked\n"
    )
    assert run_ensemble.main([f"recipe={recipe}", f"out={tiny.out}"]) == 0
    assert "tracked" in capsys.readouterr().out
    clips = json.loads((tiny.out / "manifest.json").read_text())["clips"]
    notes = [n for clip in clips.values() for n in clip["notes"]["tracked"].values()]
    assert {n["track"]["ended"] for n in notes} <= {"nothing collapsed", "no better frame in the source"} | {
        "all rounds used",
        "no mask on the key frames",
    }
    assert any("seeds" in n["track"]["rounds"][0] for n in notes), "a confidence of 1 is reached by no propagation"
