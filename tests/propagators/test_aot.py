"""The propagators AOT and DeAOT: the official procedure, one batch for all sequences, and every setting."""

import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence, quantise
from rvos_ensemble.propagators.aot import AOT
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.deaot import DeAOT
from rvos_ensemble.propagators.inference.aot.settings import DEFAULTS
from rvos_ensemble.propagators.inference.aot.tracker import Tracker
from rvos_ensemble.propagators.inference.aot.tta import Augmentation, input_size
from rvos_ensemble.propagators.networks.network import VOSNetwork

CLASSES = {"aots": AOT, "deaots": DeAOT}


@pytest.fixture(params=CLASSES)
def make(request, checkpoints):
    """A function from settings to a propagator with seeded weights: AOT-S or DeAOT-S."""
    path = str(checkpoints(request.param))
    return lambda **settings: CLASSES[request.param](**{"weights": path, **settings})


@pytest.fixture(scope="module")
def video():
    """(frames uint8 [8, 72, 110, 3], masks bool [8, 3, 72, 110]): blocks that move over noise and do not touch."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 256, (18, 28, 3), dtype=np.uint8), (110, 72), interpolation=cv2.INTER_CUBIC)
    frames, masks = np.repeat(ground[None], 8, 0), np.zeros((8, 3, 72, 110), bool)
    for t in range(8):
        for i, (y, x) in enumerate([(5, 8 + 3 * t), (40, 60 - 3 * t), (30 + 2 * t, 85)]):
            frames[t, y : y + 20, x : x + 18] = 40 + 70 * i
            masks[t, i, y : y + 20, x : x + 18] = True
    return frames, masks


def sweep_through(propagator, frames, references, sweep=None):
    """{(t, sequence): uint8 [H, W]} of one pass, with references {t: {sequence: mask}}."""
    sweep = sweep or propagator.sweep(frames.shape[1:3], 3)
    results = {}
    for t, frame in enumerate(frames):
        results |= {(t, i): np.asarray(m) for i, m in sweep.step(Frame(t, frame), references.get(t, {})).items()}
    return results


def same(a, b, share=0.002):
    """Whether results agree except for ties: all pixels but a small share differ by at most one level."""
    return a.keys() == b.keys() and all((np.abs(a[k].astype(int) - b[k]) > 1).mean() <= share for k in a)


def test_it_is_the_official_procedure_step_by_step(make, video):
    """One object, as in the official evaluator: cubic resize, nearest labels, the argmax is remembered."""
    frames, masks = video
    propagator = make(memory_gap=2)
    ours = sweep_through(propagator, frames, {0: {0: masks[0, 0]}})
    network, tracker = propagator.model.network, Tracker(propagator.model.network, 2)

    def encode(image):
        x = cv2.resize(image.astype(np.float32), (113, 65), interpolation=cv2.INTER_CUBIC) / 255.0
        x = (x - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
        with torch.no_grad():
            return network.encode(torch.from_numpy(x.transpose(2, 0, 1))[None])

    def small(labels):
        return F.interpolate(labels[None, None].float(), size=(65, 113), mode="nearest")[0]

    tracker.reference(encode(frames[0]), small(torch.from_numpy(masks[0, 0])), [0], [1])
    for t in range(1, 8):
        logits = tracker.step(encode(frames[t]))
        p = F.interpolate(logits, size=(72, 110), mode="bilinear", align_corners=True).softmax(1)
        assert (np.abs(quantise(p[0, 1].numpy()).astype(int) - ours[t, 0]) > 1).mean() < 0.002
        tracker.update(small(p.argmax(1)[0]))


def test_features_are_computed_once_for_all_sequences_and_both_sweeps(make, video, monkeypatch):
    frames, masks = video
    calls, encode = [], VOSNetwork.encode
    monkeypatch.setattr(VOSNetwork, "encode", lambda self, x: calls.append(1) or encode(self, x))
    propagate(
        clip_of(frames),
        [PropagationTask(MaskSequence.binary(masks[:, i]), (k,)) for i, k in enumerate((1, 6, 3))],
        make(),
    )
    assert len(calls) == 8


def clip_of(frames):
    from test_propagate import Memory

    from rvos_ensemble.adapters.core.clip import Clip, Expression

    names = tuple(map(str, range(len(frames))))
    return Clip("blocks", names, (Expression("blocks", "0", "a block"),), Memory(frames))


def test_a_small_batch_changes_nothing(make, video):
    frames, masks = video
    references = {0: {0: masks[0, 0], 2: masks[0, 2]}, 3: {1: masks[3, 1]}, 5: {0: masks[5, 0]}}
    assert same(sweep_through(make(), frames, references), sweep_through(make(batch=1), frames, references))


def test_memory_settings_reach_the_memory(make, video):
    frames, masks = video
    for settings, length in [
        ({}, 1),
        ({"memory_gap": 0}, 1),
        ({"memory_gap": 2}, 4),
        ({"memory_gap": 1, "max_memory_frames": 3}, 3),
    ]:
        propagator = make(**settings)
        sweep = propagator.sweep((72, 110), 1)
        sweep_through(propagator, frames, {0: {0: masks[0, 0]}}, sweep)
        assert len(sweep.trackers[0].cohorts[0].long) == length


def test_leaky_passes_read_what_the_forward_pass_remembers(make, video):
    frames, masks = video
    task = PropagationTask(MaskSequence.binary(masks[:, 0]), (4,))
    (clean,) = propagate(clip_of(frames), [task], make(memory_gap=1))
    (leaky,) = propagate(clip_of(frames), [task], make(memory_gap=1, reset_between_passes=False))
    assert all(np.array_equal(clean.masks[t], leaky.masks[t]) for t in range(4, 8))
    assert any(not np.array_equal(clean.masks[t], leaky.masks[t]) for t in range(4))
    # the same steps one by one: forward 4..7, then with the same memory the key frame again, and 3..0
    propagator = make(memory_gap=1, reset_between_passes=False)
    sweep, results = propagator.sweep((72, 110), 1), {}
    for t in (4, 5, 6, 7):
        sweep.step(Frame(t, frames[t]), {0: masks[4, 0]} if t == 4 else {})
    sweep = propagator.reverse(sweep, (72, 110), 1)
    for t in (7, 6, 5, 4, 3, 2, 1, 0):
        results[t] = sweep.step(Frame(t, frames[t]), {0: masks[4, 0]} if t == 4 else {})
    sweep.rest()  # the last frame is remembered, too
    assert results[7] == results[5] == {} and len(sweep.trackers[0].resting[0].long) == 4 + 1 + 4
    assert all(np.array_equal(np.asarray(results[t][0]), leaky.masks[t]) for t in range(4))


def test_augmentations_are_averaged_and_remember_the_average(make, video):
    frames, masks = video
    mirrored = make(tta={"flip": True})
    there = sweep_through(mirrored, frames[:4], {0: {0: masks[0, 0]}})
    back = sweep_through(mirrored, frames[:4, :, ::-1], {0: {0: masks[0, 0, :, ::-1]}})
    assert same(there, {k: m[:, ::-1] for k, m in back.items()})  # the mean of both augmentations is symmetric
    sweep = make(tta={"flip": True, "scales": [0.8, 1.0, 1.2]}).sweep((72, 110), 1)
    assert [v.size for v in sweep.augmentations[::2]] == [(65, 81), (65, 113), (81, 129)]
    assert [v.flip for v in sweep.augmentations] == [False, True] * 3
    results = [sweep.step(Frame(t, frames[t]), {0: masks[0, 0]} if t == 0 else {}) for t in range(3)]
    single = sweep_through(make(), frames[:3], {0: {0: masks[0, 0]}})
    assert np.array_equal(results[0][0] > 127, masks[0, 0]) and not np.array_equal(results[2][0], single[2, 0])


def test_packed_sequences_share_a_bank_and_compete(make, video):
    frames, masks = video
    propagator = make(pack=True)
    sweep = propagator.sweep((72, 110), 3)
    references = {0: {0: masks[0, 0], 1: masks[0, 1], 2: masks[0, 0]}, 4: {1: masks[4, 1]}}
    results = sweep_through(propagator, frames, references, sweep)
    assert sweep.members == [[0, 1], [2]]  # 2 overlaps 0
    assert sorted(results) == [(t, i) for t in range(8) for i in range(3)]
    for t in (1, 2, 3, 5, 6, 7):  # probabilities of a bank sum to 1 with the background's
        assert (results[t, 0].astype(int) + results[t, 1]).max() <= 256
    assert np.array_equal(results[4, 1] > 127, masks[4, 1])


def test_packed_steps_do_not_depend_on_other_steps_of_the_recipe(tiny):
    """Sequences compete in their bank, but not with sequences of other steps of the recipe."""
    setting = "propagators.flow={propagator: aot, weights: aot_nano, pack: true}"
    own = "steps.own={op: propagate, input: soc, with: flow, key_frame: first}"
    made = []
    for other in ("steps.smr_flow=null", "steps.smr_flow.key_frame=first"):
        out = tiny.out / str(len(made))
        assert run_ensemble.main([f"recipe={tiny.recipe}", f"out={out}", setting, own, other, "output=own"]) == 0
        made.append({str(p.relative_to(out)): p.read_bytes() for p in out.glob("store/*/own-*.masks")})
    assert made[0] == made[1] and len(made[0]) == 3


def test_bfloat16_stays_close(make, video):
    frames, masks = video
    exact = sweep_through(make(), frames[:2], {0: {0: masks[0, 0]}})
    rough = sweep_through(make(precision="bf16"), frames[:2], {0: {0: masks[0, 0]}})
    assert (
        np.abs(exact[1, 0].astype(int) - rough[1, 0]).max() > 0
        and np.corrcoef(exact[1, 0].ravel(), rough[1, 0].ravel())[0, 1] > 0.98
    )


@pytest.mark.slow
def test_compilation_does_not_change_results(make, video):
    if shutil.which("c++") is None:
        pytest.skip("torch.compile on a CPU needs a C++ compiler")
    frames, masks = video
    references = {0: {0: masks[0, 0]}}
    assert same(
        sweep_through(make(), frames[:3], references), sweep_through(make(compile=True), frames[:3], references)
    )


def test_it_can_be_pickled(make, video):
    frames, masks = video
    propagator = make(memory_gap=2)
    again = pickle.loads(pickle.dumps(propagator))
    references = {0: {0: masks[0, 0]}}
    assert len(pickle.dumps(propagator)) < 10_000  # settings, not weights
    assert same(
        sweep_through(propagator, frames[:3], references), sweep_through(again, frames[:3], references), share=0
    )
    assert again.fingerprint() == propagator.fingerprint() and len(again.fingerprint()) == 32


def test_input_sizes_are_the_official_ones():
    assert input_size((720, 1280), 1040, 1.0, True) == (577, 1041)
    assert input_size((720, 1280), 1040, 1.0, False) == (592, 1040)  # 585 / 16 = 36.56
    assert input_size((480, 854), 1040, 1.2, True) == (577, 1025)
    assert input_size((480, 854), 1040, 0.8, True) == (385, 689)
    assert input_size((1, 1), 1040, 1.0, True) == (17, 17) and input_size((1, 1), 1040, 1.0, False) == (16, 16)


def test_an_augmentation_mirrors_the_normalised_image():
    image = np.random.default_rng(0).integers(0, 256, (17, 33, 3), dtype=np.uint8)
    plain, mirror = Augmentation((17, 33)).apply(image), Augmentation((17, 33), flip=True).apply(image)
    assert torch.equal(plain.flip(3), mirror)
    assert plain[0, 1, 2, 3].item() == pytest.approx((image[2, 3, 1] / 255 - 0.456) / 0.224, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_long_edge": 8}, "`max_long_edge` is 8, expected a whole number of at least 32"),
        ({"memory_gap": -1}, "`memory_gap` is -1"),
        ({"max_memory_frames": 0}, "`max_memory_frames` is 0"),
        ({"batch": 0}, "`batch` is 0"),
        ({"precision": "int8"}, "expected one of auto, fp32, bf16, fp16"),
        ({"precision": "fp16", "device": "cpu"}, "needs CUDA"),
        ({"device": "tpu"}, "expected auto, cpu, cuda"),
        ({"tta": {"flipped": True}}, "unknown key `flipped`, did you mean `flip`?"),
        ({"tta": {"scales": []}}, "`scales` is []"),
        ({"tta": "flip"}, "expected {flip"),
        ({"tta": {"scales": 1.2}}, "`scales` is 1.2"),
        ({"variant": 5}, "setting `variant` is 5, expected a text"),
        ({"pack": True, "reset_between_passes": False}, "do not go together"),
        ({"variant": "r50"}, "is called 'r50'"),
        ({"weight": "x"}, "unknown key `weight`, did you mean `weights`?"),
    ],
)
def test_wrong_settings_are_named(make, settings, words):
    with pytest.raises(InputError) as error:
        make(**settings)
    assert words in str(error.value)


def test_weights_must_be_given_and_of_the_right_family(checkpoints):
    with pytest.raises(InputError, match="setting `weights` must be given"):
        AOT()
    with pytest.raises(InputError, match="holds weights of deaots, which is no AOT; use the propagator `deaot`"):
        AOT(weights=str(checkpoints("deaots")))
    with pytest.raises(InputError, match="holds weights of aots, expected aott"):
        AOT(weights=str(checkpoints("aots")), variant="AOTT")
    assert set(DEFAULTS) >= {"weights", "variant", "memory_gap", "tta", "pack"}
