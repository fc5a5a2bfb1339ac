"""The propagator Cutie: one batch for all sequences, references, corrections, and every setting."""

import pickle

import numpy as np
import pytest
import torch
from helpers.cutie_scenes import video
from helpers.low_precision import autocast_alone

import run_ensemble
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.cutie import Cutie
from rvos_ensemble.propagators.inference.cutie.layout import Layout
from rvos_ensemble.propagators.networks.cutie.network import Cutie as Network

SIZE = (70, 101)


@pytest.fixture
def make(checkpoints):
    """A function from settings to a propagator with a narrow network and seeded weights."""
    path = str(checkpoints("cutie_nano"))
    return lambda **settings: Cutie(**{"weights": path, "device": "cpu", **settings})


@pytest.fixture(scope="module")
def scene():
    """(frames uint8 [12, 70, 101, 3], masks bool [12, 70, 101])."""
    return video(SIZE, 12)


def run(propagator, frames, references):
    """{(t, sequence): uint8 [H, W]} of one pass, with references {t: {sequence: mask}}."""
    sweep, results = propagator.sweep(frames.shape[1:3], 4), {}
    for t, frame in enumerate(frames):
        results |= {(t, i): np.asarray(m) for i, m in sweep.step(Frame(t, frame), references.get(t, {})).items()}
    return results


def same(a, b, share=0.002):
    """Whether results agree except for ties: all pixels but a small share differ by at most one level."""
    return a.keys() == b.keys() and all((np.abs(a[k].astype(int) - b[k]) > 1).mean() <= share for k in a)


def test_masks_are_soft_and_neither_empty_nor_full(make, scene):
    frames, masks = scene
    results = run(make(), frames, {0: {0: masks[0]}})
    shares = [(results[t, 0] > 127).mean() for t in range(1, 12)]
    assert min(shares) > 0 and max(shares) < 1 and len(np.unique(results[5, 0])) > 50


def test_features_are_computed_once_for_all_sequences_and_both_sweeps(make, scene, monkeypatch):
    from test_aot import clip_of

    frames, masks = scene
    calls, encode = [], Network.encode
    monkeypatch.setattr(Network, "encode", lambda self, x: calls.append(1) or encode(self, x))
    tasks = [PropagationTask(MaskSequence.binary(masks), (k,)) for k in (1, 6, 3)]
    propagate(clip_of(frames), tasks, make())
    assert len(calls) == len(frames)


def test_a_batch_changes_nothing(make, scene):
    frames, masks = scene
    references = {0: {0: masks[0], 2: masks[3]}, 3: {1: masks[3]}, 5: {0: masks[5]}}
    for settings in ({}, {"memory_gap": 3, "stagger_updates": 2}, {"long_term": {"use": True}}):
        alone, together = (run(make(batch=n, **settings), frames, references) for n in (1, 8))
        assert same(alone, together)


def test_settings_reach_the_memory(make, scene):
    frames, masks = scene
    lengths = {}
    for name, settings in {
        "default": {},
        "references": {"memory_gap": 0},
        "often": {"memory_gap": 1},
        "short": {"memory_gap": 1, "max_memory_frames": 2},
    }.items():
        sweep = make(**settings).sweep(SIZE, 1)
        for t, frame in enumerate(frames):
            sweep.step(Frame(t, frame), {0: masks[t]} if t in (0, 4) else {})
        lengths[name] = len(sweep.states[0].pixels.frames)
    assert lengths == {"default": 3, "references": 2, "often": 6, "short": 3}


def test_memory_is_constant_in_the_number_of_frames(make):
    frames, masks = video((33, 40), 12)
    small = {"max_memory_frames": 5, "min_memory_frames": 2, "num_prototypes": 4, "max_num_tokens": 20}
    sizes = {}
    for long in (False, True):
        sweep = make(memory_gap=1, long_term={"use": long, "buffer_tokens": 8, **small}).sweep((33, 40), 1)
        for t in range(40):
            sweep.step(Frame(t, frames[t % 12]), {0: masks[0]} if t == 0 else {})
            state = sweep.states[0]
            tensors = (state.pixels.values, state.mask, state.sensory, state.objects)
            sizes[long, t] = sum(x.nbytes for x in tensors if x is not None)
    assert sizes[False, 39] == sizes[False, 8]
    assert max(sizes[True, t] for t in range(28, 40)) == max(sizes[True, t] for t in range(16, 28))


def test_a_sequence_without_an_object_starts_later(make, scene):
    frames, masks = scene
    empty = np.zeros(SIZE, bool)
    results = run(make(), frames, {0: {0: empty, 1: masks[0]}, 4: {0: masks[4]}})
    assert not any(results[t, 0].any() for t in range(4))
    later = run(make(), frames[4:], {0: {0: masks[4]}})
    assert all(np.array_equal(results[t + 4, 0], later[t, 0]) for t in range(8))


def test_a_running_sequence_may_get_an_empty_mask(make, scene):
    frames, masks = scene
    results = run(make(), frames, {0: {0: masks[0]}, 4: {0: np.zeros(SIZE, bool)}})
    assert not results[4, 0].any() and not np.array_equal(results[6, 0], run(make(), frames, {0: {0: masks[0]}})[6, 0])


def test_sequences_continue_from_corrected_masks(make, scene):
    frames, masks = scene
    inverted = np.where(masks[2], np.uint8(0), np.uint8(255))
    results = {}
    for name in ("plain", "unchanged", "corrected"):
        sweep = make(memory_gap=2).sweep(SIZE, 1)
        for t in range(4):
            result = np.asarray(sweep.step(Frame(t, frames[t]), {0: masks[0]} if t == 0 else {})[0])
            if t == 2 and name != "plain":
                sweep.correct({0: result if name == "unchanged" else inverted})
        results[name] = result.astype(int)  # of the frame after the correction, which is remembered with its mask
    unchanged, corrected = (np.abs(results[name] - results["plain"]).mean() for name in ("unchanged", "corrected"))
    assert unchanged < 0.5 and corrected > 1 and corrected > 4 * unchanged


def test_large_frames_are_shrunk_and_results_are_not(make, scene):
    frames, masks = scene
    full, small = (run(make(max_short_edge=s), frames[:4], {0: {0: masks[0]}}) for s in (None, 40))
    assert small[3, 0].shape == SIZE and not np.array_equal(full[3, 0], small[3, 0])
    assert same(full, run(make(max_short_edge=70), frames[:4], {0: {0: masks[0]}}), 0)


@pytest.mark.parametrize("size", [(70, 101), (48, 64), (1, 1), (17, 200)])
def test_a_frame_keeps_its_place_in_the_input(size):
    layout, device = Layout.of(size, 480), torch.device("cpu")
    mask = np.random.default_rng(0).random(size) > 0.5
    placed = layout.mask(mask, device)
    assert all(side % 16 == 0 for side in placed.shape[1:]) and placed.sum() == mask.sum()
    assert np.array_equal(layout.frame_sized(placed[None])[0, 0].numpy() > 0, mask)
    grey = layout.image(np.repeat(mask[..., None] * np.uint8(255), 3, 2), device)
    assert torch.equal(grey[0, 0], placed[0])


def test_bfloat16_stays_close(make, scene):
    frames, masks = scene
    with autocast_alone():
        plain = run(make(precision="bf16"), frames[:2], {0: {0: masks[0]}})[1, 0]
    exact, rough = (run(make(precision=p), frames[:2], {0: {0: masks[0]}})[1, 0] for p in ("fp32", "bf16"))
    assert np.array_equal(rough, plain)  # with weights that are converted once
    assert np.abs(exact.astype(int) - rough).max() > 0
    assert np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.98


def test_it_can_be_pickled(make, scene):
    frames, masks = scene
    propagator = make(memory_gap=2)
    again = pickle.loads(pickle.dumps(propagator))
    assert len(pickle.dumps(propagator)) < 10_000  # settings, not weights
    references = {0: {0: masks[0]}}
    assert same(run(propagator, frames[:3], references), run(again, frames[:3], references), 0)
    assert again.fingerprint() == propagator.fingerprint() and len(again.fingerprint()) == 32


LONG = "cutie: long_term: "


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_short_edge": 8}, "`max_short_edge` is 8, expected a whole number of at least 16"),
        ({"memory_gap": -1}, "`memory_gap` is -1"),
        ({"max_memory_frames": 0}, "`max_memory_frames` is 0"),
        ({"top_k": 0}, "`top_k` is 0"),
        ({"stagger_updates": 0}, "`stagger_updates` is 0"),
        ({"long_term": {"usee": True}}, "unknown key `usee`, did you mean `use`?"),
        ({"long_term": {"num_prototypes": 0}}, "`num_prototypes` is 0"),
        ({"long_term": {"min_memory_frames": 10}}, LONG + "`min_memory_frames` is 10, expected less than"),
        ({"long_term": {"max_num_tokens": 2000}}, LONG + "`max_num_tokens` is 2000, expected more than"),
        ({"long_term": True}, "expected {use: true or false, ...}"),
        ({"precision": "fp16"}, "needs CUDA"),
        ({"weight": "x"}, "unknown key `weight`, did you mean `weights`?"),
    ],
)
def test_wrong_settings_are_named(make, settings, words):
    with pytest.raises(InputError) as error:
        make(**settings)
    assert words in str(error.value)


def test_weights_must_be_those_of_cutie(checkpoints, tmp_path):
    with pytest.raises(InputError, match="setting `weights` must be given"):
        Cutie()
    with pytest.raises(InputError, match=r"weights of the propagators AOT or DeAOT .*expected a checkpoint of Cutie"):
        Cutie(weights=str(checkpoints("aott")))
    weights = torch.load(checkpoints("cutie_nano"), weights_only=True)["state_dict"]
    del weights["mask_decoder.pred.bias"]
    weights["object_transformer.query_init.weight"] = torch.zeros(6, 32)
    torch.save(weights, tmp_path / "damaged.pth")
    with pytest.raises(InputError) as error:
        Cutie(weights=str(tmp_path / "damaged.pth"))
    assert "weights are missing: mask_decoder.pred.bias" in str(error.value)
    assert "object_transformer.query_emb.weight has shape (4, 32), expected (6, 32)" in str(error.value)


def test_the_command_weights_knows_it(checkpoints, capsys):
    assert run_ensemble.main(["weights", "verify", str(checkpoints("cutie_nano"))]) == 0
    assert "cutie of sizes of its own (propagator `cutie`), 0.3 million parameters, fits" in capsys.readouterr().out
    assert run_ensemble.main(["weights"]) == 0
    table = capsys.readouterr().out
    assert "cutie-base-mega.pth" in table and "cutie-small-nomose.pth" in table and "MIT" in table
