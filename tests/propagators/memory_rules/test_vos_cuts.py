"""`scene_cut` of AOT and DeAOT: the memory after a cut against a loop with written-out lists of tokens."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_aot import CLASSES, same, sweep_through
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import quantise
from rvos_ensemble.propagators.core.memory_rules.scene_cut import distances, shots
from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.networks.memory import LongTermMemory, Tokens

SHOTS = [range(0, 3), range(3, 5), range(5, 7)]


@pytest.fixture(params=CLASSES)
def make(request, checkpoints):
    path = str(checkpoints(request.param))
    return lambda **settings: CLASSES[request.param](**{"weights": path, **settings})


@pytest.fixture(scope="module")
def video():
    """(frames uint8 [7, 48, 72, 3], masks bool [7, 2, 48, 72]): two blocks in three shots of different colours."""
    rng = np.random.default_rng(0)
    frames, masks = np.zeros((7, 48, 72, 3), np.uint8), np.zeros((7, 2, 48, 72), bool)
    for n, shot in enumerate(SHOTS):
        noise = cv2.resize(rng.uniform(-1, 1, (6, 9, 3)), (72, 48), interpolation=cv2.INTER_CUBIC)
        for t in shot:
            frames[t] = np.clip(np.eye(3)[n] * 130 + 60 + 25 * noise, 0, 255)
            for i, (y, x) in enumerate([(3, 4 + 3 * t), (28, 50 - 3 * t)]):
                frames[t, y : y + 16, x : x + 14] = 40 + 70 * i
                masks[t, i, y : y + 16, x : x + 14] = True
    assert shots(distances(frames)) == SHOTS
    return frames, masks


@torch.no_grad()
def written_out(propagator, frames, references, gap):
    """One sequence without any of the trackers: {t: probability uint8}; the memory is three lists of tokens."""
    model, sweep = propagator.model, propagator.sweep(frames.shape[1:3], 1)
    network, (augmentation,) = model.network, sweep.augmentations
    keys, others, short, last, results = [], [], None, 0, {}
    cuts = [shot.start for shot in SHOTS[1:]]

    def small(labels):
        return F.interpolate(labels[None, None].float(), size=augmentation.size, mode="nearest")[0]

    def joined(layer):
        tokens = [frame[layer] for frame in keys + others]
        values = zip(*(t.values for t in tokens), strict=True)
        return Tokens(torch.cat([t.key for t in tokens], 1), tuple(torch.cat(v, 1) for v in values))

    for t, image in enumerate(frames):
        features = model.features(Frame(t, image), augmentation)
        if t in cuts:
            others, short = [], keys[-1]
        if t in references:
            mask = references[t]
            _, short = network.refer(features, network.identify(small(torch.from_numpy(mask)), 1))
            keys.append(short)
            last, results[t] = t, mask * np.uint8(255)
            continue
        reading = network.propagate(features, [joined(i) for i in range(len(short))], short)
        logits = network.decode(reading, 1)
        p = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=True).softmax(1)
        results[t] = quantise(p[0, 1].numpy())
        short = network.remember(reading, network.identify(small(p.argmax(1)[0]), 1))
        if t - last >= gap:
            others.append(short)
            last = t
    return results


@pytest.mark.parametrize("keys", [(0,), (0, 2, 3)])
def test_after_a_cut_the_memory_is_that_of_the_key_frames(make, video, keys):
    frames, masks = video
    propagator = make(memory_gap=1, scene_cut=0.35)
    references = {t: masks[t, 0] for t in keys}
    ours = sweep_through(propagator, frames, {t: {0: mask} for t, mask in references.items()})
    naive = written_out(propagator, frames, references, 1)
    assert same(ours, {(t, 0): mask for t, mask in naive.items()})
    off = sweep_through(make(memory_gap=1), frames, {t: {0: mask} for t, mask in references.items()})
    assert all(np.array_equal(ours[t, 0], off[t, 0]) for t in range(3)), "before the first cut nothing changes"
    assert not same(ours, off) or 3 in keys, "or this test could not fail"


def test_without_a_cut_nothing_changes_at_all(make, video):
    frames, masks = video
    references = {0: {0: masks[0, 0]}, 2: {1: masks[2, 1]}}
    off, on = (sweep_through(make(scene_cut=s), frames[:3], references) for s in (None, 0.35))
    assert off.keys() == on.keys() and all(np.array_equal(off[k], on[k]) for k in off)


def test_a_sequence_does_not_depend_on_its_company(make, video):
    frames, masks = video
    propagator = make(memory_gap=1, scene_cut=0.35)
    references = {0: {0: masks[0, 0]}, 3: {2: masks[3, 1]}, 4: {1: masks[4, 1], 0: masks[4, 0]}}
    together = sweep_through(propagator, frames, references)
    for i in range(3):
        alone = {t: {0: of[i]} for t, of in references.items() if i in of}
        mine = sweep_through(propagator, frames, alone)
        # 1 %: a pixel at probability 0.5 may be remembered differently, after which maps differ by two levels
        assert same(mine, {(t, 0): mask for (t, n), mask in together.items() if n == i}, share=0.01)


def test_the_jump_between_leaky_passes_is_no_cut(make, video):
    frames, masks = video
    propagator = make(memory_gap=1, scene_cut=0.35, reset_between_passes=False)
    sweep = propagator.sweep((48, 72), 1)
    for t in range(2, 7):
        sweep.step(Frame(t, frames[t]), {0: masks[2, 0]} if t == 2 else {})
    sweep = propagator.reverse(sweep, (48, 72), 1)
    (resting,) = sweep.trackers[0].resting
    length = len(resting.long)
    sweep.step(Frame(2, frames[2]), {0: masks[2, 0]})  # frame 6 came before, of another shot
    assert length == 3 and len(sweep.trackers[0].cohorts[0].long) == length + 1  # key frame, frames 5 and 6


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 5), st.integers(1, 3))
def test_only_references_remain_in_their_order(added, slots, batch):
    """Against a list; frame n holds the number n everywhere."""
    memory, naive = LongTermMemory(slots), []
    for n, reference in enumerate([True, *added]):
        frame = Tokens(torch.full((1, 2, 3), float(n)), (torch.full((batch, 2, 4), float(n)),))
        memory.append([frame, frame], reference)
        if len(naive) == slots:  # the oldest frame that is no reference, else the second reference
            old = next((i for i, (_, r) in enumerate(naive) if not r), 1 if reference else None)
            if old is None or old >= len(naive):
                continue
            naive.pop(old)
        naive.append((n, reference))
    kept = [n for n, reference in naive if reference]
    memory.keep_references()
    held = [[int(memory.layer(i).key[0, slot * 2, 0]) for slot, _ in memory.order] for i in (0, 1)]
    assert held == [kept, kept] and len(memory) == len(kept)
    assert all(int(memory.layer(1).values[0][b, slot * 2 + 1, 3]) == n for b in range(batch)
               for (slot, _), n in zip(memory.order, kept, strict=True))  # fmt: skip
    latest = memory.latest_reference()
    assert (latest[1].values[0] == kept[-1]).all() and latest[0].key.shape == (1, 2, 3)
    memory.append([frame, frame], False)  # and it still takes new frames
    assert len(memory) == min(slots, len(kept) + 1)


def test_the_setting_is_strict(make):
    with pytest.raises(InputError, match="scene_cut"):
        make(scene_cut=1)
