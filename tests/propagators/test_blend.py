"""The propagator `blend`: its mean is its definition, members do not see each other, and feedback reaches them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from omegaconf import OmegaConf
from test_propagate import FILES, Memory, moving_disc

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.aot import AOT
from rvos_ensemble.propagators.blend import Blend
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.flow import Flow
from rvos_ensemble.propagators.inference.aot.object_banks import nearest, probabilities
from rvos_ensemble.propagators.inference.aot.tracker import Tracker
from rvos_ensemble.propagators.inference.aot.tta import Augmentation, input_size
from rvos_ensemble.propagators.inference.blend_sweep import blend

FADING = '''
import numpy as np
import rvos_ensemble as rv


class Fading(rv.Propagator):
    """Multiplies every mask by a factor in each step."""

    defaults = {"factor": 1.0}
    corrects = True

    def sweep(self, size, sequences):
        return FadingSweep(self.settings.factor)


class FadingSweep:
    def __init__(self, factor):
        self.factor, self.masks = factor, {}

    def step(self, frame, references):
        assert frame.memo.setdefault("factor", np.array(self.factor)) == self.factor  # not that of another member
        self.masks = {i: self.factor * mask for i, mask in self.masks.items()}
        self.masks |= {i: 200.0 * mask for i, mask in references.items()}
        return {i: np.round(mask).astype(np.uint8) for i, mask in self.masks.items()}

    def correct(self, masks):
        self.masks |= {i: mask.astype(float) for i, mask in masks.items()}
'''


@pytest.fixture
def fading(tmp_path):
    """A member of a blend that is described by hand."""
    (tmp_path / "fading.py").write_text(FADING)
    return lambda factor: {"propagator": str(tmp_path / "fading.py"), "factor": factor}


def still(length=4, size=(4, 6)):
    images = np.zeros((length, *size, 3), np.uint8)
    return Clip("still", tuple(map(str, range(length))), (Expression("still", "0", ""),), Memory(images))


def values(propagator, clip, key=0):
    """The value of the mask in each frame; the key mask covers the whole frame."""
    masks = MaskSequence.binary(np.ones((len(clip), *clip.size), bool))
    (result,) = propagate(clip, [PropagationTask(masks, (key,))], propagator)
    assert all(len(np.unique(result.masks[t])) == 1 for t in range(len(clip)))
    return [int(result.masks[t][0, 0]) for t in range(len(clip))]


@given(arrays(np.uint8, (3, 3, 4)), st.sampled_from([0, 0.5, 1, 3]))
def test_the_mean_is_its_definition(masks, confidence):
    weights, inside = [], [(y, x) for y in range(3) for x in range(4) if max(m[y, x] for m in masks) > 127]
    for m in masks:
        sure = sum(abs(2 * int(m[place]) / 255 - 1) for place in inside) / max(1, len(inside))
        weights.append(max(sure, 1e-3) ** confidence if inside else 1)
    expected = sum(w * m.astype(float) for w, m in zip(weights, masks, strict=True)) / sum(weights)
    assert np.abs(blend(list(masks), confidence) - expected).max() <= 0.5 + 1e-3


def test_a_sure_member_outweighs_one_that_hesitates():
    object_, nothing, unsure = (np.full((2, 2), v, np.uint8) for v in (250, 3, 110))
    assert blend([object_, unsure], 1).min() > blend([object_, unsure], 0).max() > 127
    assert (blend([nothing, np.full((2, 2), 140, np.uint8)], 1) < 127).all()  # it is sure that the object has gone
    assert (blend([object_, object_], 2) == 250).all()


def test_members_continue_from_their_own_masks_or_from_the_mean(fading):
    of = [fading(1.0), fading(0.5)]
    apart, together = (Blend(of=of, confidence=0, feedback=feedback) for feedback in (False, True))
    assert values(apart, still()) == pytest.approx([255, *(100 * (1 + 0.5**t) for t in (1, 2, 3))], abs=1)
    assert values(together, still()) == pytest.approx([255, *(200 * 0.75**t for t in (1, 2, 3))], abs=1)
    assert values(together, still(), key=3) == values(together, still())[::-1]


def test_a_blend_can_be_a_member(fading):
    inner = {"propagator": "blend", "of": [fading(1.0), fading(0.5)], "confidence": 0}
    outer = Blend(of=[inner, fading(0.0)], confidence=0, feedback=True)
    assert values(outer, still()) == pytest.approx([255, *(200 * 0.375**t for t in (1, 2, 3))], abs=1)


@pytest.mark.parametrize("confidence", [0, 1])
def test_a_blend_of_equals_is_each_of_them(confidence):
    clip, truth = moving_disc(6)
    tasks = [PropagationTask(MaskSequence.binary(truth), (2,))]
    (both,), (one,) = (propagate(clip, tasks, p) for p in (Blend(of=["flow", "flow"], confidence=confidence), Flow()))
    assert all((both.masks[t] == one.masks[t]).all() for t in range(6))


def test_flow_continues_from_a_corrected_mask():
    clip, truth = moving_disc(6)
    sweep, wrong = Flow().sweep(clip.size, 1), np.roll(truth, 60, axis=2)
    sweep.step(Frame(0, clip.read(0)), {0: wrong[0]})
    sweep.step(Frame(1, clip.read(1)), {})
    sweep.correct({0: truth[1].astype(np.uint8) * 255})
    mask = sweep.step(Frame(2, clip.read(2)), {})[0] > 127
    assert (mask & truth[2]).sum() > 0.7 * truth[2].sum() > 4 * (mask & wrong[2]).sum()


def test_a_network_remembers_the_corrected_labels(checkpoints):
    """The result on the next frame is that of a tracker which has been given the corrected labels."""
    propagator = AOT(weights=str(checkpoints("aott")), max_long_edge=64)
    clip, truth = moving_disc(4)
    other = np.roll(truth, 40, axis=2)
    sweep = propagator.sweep(clip.size, 1)
    frames = [Frame(t, clip.read(t)) for t in range(4)]
    sweep.step(frames[0], {0: truth[0]})
    sweep.step(frames[1], {})
    sweep.correct({0: other[1].astype(np.uint8) * 200})
    sweep.correct({})
    found = [np.asarray(sweep.step(frames[t], {})[0]) for t in (2, 3)]

    model = propagator.model
    augmentation = Augmentation(input_size(clip.size, 64, 1.0, True))
    tracker, size = Tracker(model.network, model.memory_gap), augmentation.size
    labels = [nearest(torch.from_numpy(m)[None].float(), size) for m in (truth[0], other[1])]
    with torch.no_grad():
        encoded = [model.network.encode(augmentation.apply(f.image)) for f in frames]
        tracker.reference(encoded[0], labels[0], [0], [1])
        tracker.step(encoded[1])
        tracker.update(labels[1])
        for t, mask in zip((2, 3), found, strict=True):
            p = probabilities(tracker.step(encoded[t]), clip.size, True)
            tracker.update(nearest(p.argmax(1).float(), size))
            assert np.abs(mask - p[0, 1].numpy() * 255).max() <= 0.51


def test_corrected_networks_of_a_packed_bank_keep_their_other_sequences(checkpoints):
    propagator = AOT(weights=str(checkpoints("aott")), max_long_edge=64, pack=True)
    clip, truth = moving_disc(3)
    sweep, far = propagator.sweep(clip.size, 2), np.roll(truth, 60, axis=2)
    sweep.step(Frame(0, clip.read(0)), {0: truth[0], 1: far[0]})
    sweep.step(Frame(1, clip.read(1)), {})
    before = sweep.latest[0][0].clone()
    sweep.correct({0: truth[1].astype(np.uint8) * 255})
    after = sweep.latest[0][0]
    assert ((after == 1).numpy() == truth[1]).all()
    assert ((after == 2).numpy() == ((before == 2).numpy() & ~truth[1])).all()


def test_networks_of_one_kind_do_not_share_features(checkpoints):
    """A blend of two networks is the mean of the two, although both have entries in the memo of a frame."""
    clip, truth = moving_disc(4)
    tasks = [PropagationTask(MaskSequence.binary(truth), (1,))]
    members = [{"propagator": "aot", "weights": str(checkpoints("aott")), "max_long_edge": edge} for edge in (48, 64)]
    (both,) = propagate(clip, tasks, Blend(of=members, confidence=0))
    alone = [propagate(clip, tasks, AOT(**{k: v for k, v in m.items() if k != "propagator"}))[0] for m in members]
    for t in range(4):
        mean = sum(a.masks[t].astype(float) for a in alone) / 2
        assert np.abs(both.masks[t] - mean).max() <= 0.5


def test_what_a_blend_is_made_of(tmp_path, fading, checkpoints):
    aot = {"propagator": "aot", "weights": str(checkpoints("aott"))}
    named = Blend(of=["flow", "aot_nano"])
    assert [m.name for m in named.members] == ["flow", "aot"] and named.members[1].settings.weights == "aot_nano"
    assert named.independent and not Blend(of=["flow", aot | {"pack": True}]).independent
    assert not named.reads_text and Blend(of=["flow", "urvos_nano"]).reads_text
    copy = pickle.loads(pickle.dumps(Blend(of=["flow", aot])))
    assert copy.fingerprint() == Blend(of=["flow", aot]).fingerprint() != named.fingerprint()
    before = Blend(of=["flow", fading(1.0)]).fingerprint()
    (tmp_path / "fading.py").write_text(FADING + "\n# changed\n")
    assert Blend(of=["flow", fading(1.0)]).fingerprint() != before


def test_the_example_in_the_docs_is_a_blend():
    text = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
    (example,) = [part for part in text.split("```yaml\n") if "propagator: blend" in part.partition("```")[0]]
    settings = OmegaConf.to_container(OmegaConf.create(example.partition("```")[0]))["propagators"]["aot"]
    assert settings.pop("propagator") == "blend"
    assert [m.name for m in Blend(**settings).members] == ["flow", "aot", "deaot"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "`of`"),
        ({"of": ["flow"]}, "`of`"),
        ({"of": "flow"}, "`of`"),
        ({"of": ["flow", 3]}, "`of`"),
        ({"of": ["flow", "flwo"]}, "member 2: no propagator is called 'flwo'"),
        ({"of": [{"weights": "aot_nano"}, "flow"]}, "member 1: .*expected {propagator: NAME"),
        ({"of": ["flow", {"propagator": "aot"}]}, "member 2: aot: setting `weights`"),
        ({"of": ["flow", "urvos_nano"], "feedback": True}, "urvos cannot continue from the mean"),
        ({"of": ["flow", FILES["TEMPLATE"]], "feedback": True}, "TEMPLATE cannot continue from the mean"),
        ({"of": ["flow", "flow"], "confidence": -1}, "`confidence`"),
    ],
)
def test_wrong_members_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        Blend(**settings)
