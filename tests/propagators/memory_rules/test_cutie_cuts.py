"""`scene_cut` of Cutie: after a cut a pass goes on as one that has seen nothing but the key frames."""

import numpy as np
import pytest
import torch
from helpers.cutie_scenes import LONG, cutie_weights, video

from rvos_ensemble.propagators.core.memory_rules.scene_cut import distances, shots
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.cutie import Cutie

SIZE, CUTS = (37, 53), [5, 8]
MEMORIES = {
    "working": {"memory_gap": 1, "max_memory_frames": 3, "top_k": 8},
    "long": {"memory_gap": 1, "top_k": 8, "long_term": {"use": True, **LONG}},
}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A function from settings to a propagator with seeded weights."""
    file = tmp_path_factory.mktemp("cutie") / "nano.pth"
    torch.save(cutie_weights("nano"), file)
    return lambda **settings: Cutie(weights=str(file), device="cpu", **settings)


@pytest.fixture(scope="module")
def shot_video():
    """(frames uint8 [10, H, W, 3], masks bool [10, H, W]); the colours change at CUTS."""
    frames, masks = video(SIZE, 10)
    smooth = np.stack([np.clip(frame * 0.15 + np.array([150, 60, 40]), 0, 255) for frame in frames])
    turned = [np.roll(frame, sum(t >= cut for cut in CUTS), axis=-1) for t, frame in enumerate(smooth)]
    frames = np.stack(turned).astype(np.uint8)
    assert [shot.start for shot in shots(distances(frames), 0.6)] == [0, *CUTS]
    return frames, masks


def run(propagator, frames, references, order):
    """{(t, sequence): uint8 [H, W]} of a pass over some frames, with references {t: {sequence: mask}}."""
    sweep, results = propagator.sweep(SIZE, 2), {}
    for t in order:
        out = sweep.step(Frame(t, frames[t]), references.get(t, {}))
        results |= {(t, i): np.array(mask) for i, mask in out.items()}
    return results


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("keys", [(0,), (0, 1)])
def test_after_a_cut_only_the_key_frames_have_been_seen(make, shot_video, memory, keys):
    frames, masks = shot_video
    references = {t: {0: masks[t]} for t in keys}
    ours = run(make(scene_cut=0.6, **MEMORIES[memory]), frames, references, range(10))
    plain = make(**MEMORIES[memory])
    for start, end in ((0, 5), (5, 8), (8, 10)):
        order = [*keys, *(t for t in range(start, end) if t not in keys)]
        naive = run(plain, frames, references, order)
        assert all(np.array_equal(ours[t, 0], naive[t, 0]) for t in order)
    off = run(plain, frames, references, range(10))
    assert not all(np.array_equal(off[key], ours[key]) for key in off), "or this test could not fail"


def test_without_a_cut_nothing_changes_and_sequences_are_independent(make, shot_video):
    frames, masks = shot_video
    references = {0: {0: masks[0]}, 5: {1: masks[5]}, 7: {0: masks[7]}}
    off, on = (run(make(scene_cut=s), frames, references, range(5)) for s in (None, 0.6))
    assert off.keys() == on.keys() and all(np.array_equal(off[key], on[key]) for key in off)
    propagator = make(scene_cut=0.6, **MEMORIES["long"])
    together = run(propagator, frames, references, range(10))
    for i in (0, 1):
        own = {t: {i: of[i]} for t, of in references.items() if i in of}
        alone = run(propagator, frames, own, range(10))
        assert all(np.abs(together[key].astype(int) - mask).max() <= 1 for key, mask in alone.items())
