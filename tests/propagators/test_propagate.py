"""Propagation: conformance tests that every propagator must pass, and tests of `propagate` itself.

To add a propagator, add its name and the settings that it requires (weights) to SETTINGS.
"""

import pickle
import sys
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rvos_ensemble import propagators
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import sequence_problems
from rvos_ensemble.propagators.core.compressed_masks import CompressedMasks
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Frame, Propagator

SETTINGS = {"flow": {}, "aot": {"weights": "aott"}, "deaot": {"weights": "deaots"}}  # {propagator: settings}
SETTINGS["urvos"] = {"weights": "urvos_nano", "short_side": 32}
SETTINGS["cfbi"] = {"weights": "cfbip_narrow", "max_long_edge": 48}
SETTINGS["cutie"] = {"weights": "cutie_nano"}
SETTINGS |= {kind: {"weights": kind} for kind in ("sam2", "edgetam", "sam3")}
SETTINGS["TEMPLATE"] = {}
FILES = {"TEMPLATE": str(Path(propagators.__path__[0]) / "TEMPLATE.py")}  # propagators that are named by their path
SETTINGS["blend"] = {"of": ["flow", FILES["TEMPLATE"]]}
# Minimal mean J on the moving disc without the key frame; networks have seeded weights and no quality.
FLOOR = {"flow": 0.9, "TEMPLATE": 0.9, "blend": 0.9}
WEIGHTS = {}  # {propagator: {"weights": path}}, made by the fixture `name`
# The largest share of pixels that may differ by more than one level if sequences share a batch: sums of float32 in
# another order decide near ties differently, and the memories differ from then on.
TIES = {
    "flow": 0,
    "TEMPLATE": 0,
    "blend": 0,
    "aot": 0.002,
    "deaot": 0.002,
    "urvos": 0.002,
    "cfbi": 0.002,
    "cutie": 0.002,
    "sam2": 0.002,
    "edgetam": 0.002,
    "sam3": 0.002,
}
TIMED = {"urvos"}  # their results depend on the direction of time: features contain the index of the frame


@dataclass
class Memory:
    """Frames in memory that record every read."""

    images: np.ndarray  # uint8 [T, H, W, 3]
    reads: list[int] = field(default_factory=list)

    @property
    def size(self):
        return self.images.shape[1:3]

    def read(self, t):
        self.reads.append(t)
        return self.images[t]

    def fingerprint(self):
        return "memory"


def texture(rng, h, w, colour):
    """A smooth random pattern around a colour."""
    noise = cv2.resize(rng.uniform(-1, 1, (h // 4 + 1, w // 4 + 1, 3)), (w, h), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(colour) + 50 * noise, 0, 255).astype(np.uint8)


def moving_disc(length=9, h=91, w=157, hidden=()):
    """A textured disc that moves over a textured ground: (clip, truth bool [T, H, W]); absent on the hidden frames."""
    rng = np.random.default_rng(0)
    ground, disc = texture(rng, h, w, (70, 110, 80)), texture(rng, h, w, (190, 90, 70))
    images, truth = [], []
    for t in range(length):
        x, y = 40 + 6 * t, 40 + round(8 * np.sin(t / 2))
        rows, columns = np.ogrid[:h, :w]
        mask = (rows - y) ** 2 + (columns - x) ** 2 < 20**2
        mask &= t not in hidden
        images.append(np.where(mask[..., None], np.roll(disc, (y - 40, x - 40), (0, 1)), ground))
        truth.append(mask)
    names = tuple(f"{t:05d}" for t in range(length))
    return Clip("disc", names, (Expression("disc", "0", "a disc"),), Memory(np.stack(images))), np.stack(truth)


def make(name, **settings):
    base = find(FILES.get(name, name), Propagator, propagators, "rvos_ensemble.propagators")
    return base(**SETTINGS[name] | WEIGHTS.get(name, {}) | settings)


def jaccard(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def dense(sequence):
    return np.stack([sequence.masks[t] for t in range(len(sequence))])


def run(name, clip, truth, *keys):
    """Propagates the true masks, one task per tuple of key frames."""
    return propagate(clip, [PropagationTask(MaskSequence.binary(truth), k) for k in keys], make(name))


@pytest.fixture(params=SETTINGS)
def name(request, checkpoints):
    if "weights" in SETTINGS[request.param]:
        WEIGHTS[request.param] = {"weights": str(checkpoints(SETTINGS[request.param]["weights"]))}
    return request.param


# Conformance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [0, 4, 8])
def test_it_follows_a_moving_disc(name, key):
    clip, truth = moving_disc()
    (result,) = run(name, clip, truth, (key,))
    assert not sequence_problems(result, clip, "0", name) and result.kind == "prob" and result.size == (91, 157)
    assert np.array_equal(result.mask(key), truth[key])
    if name in FLOOR:
        rest = [jaccard(result.mask(t), truth[t]) for t in range(len(clip)) if t != key]
        still = [jaccard(truth[key], truth[t]) for t in range(len(clip)) if t != key]
        assert np.mean(rest) > FLOOR[name] > np.mean(still) + 0.2
        assert (result.scores > 0.5).all()
    assert result.scores.dtype == np.float32 and (result.scores >= 0).all() and (result.scores <= 1).all()
    assert result.notes["key_frames"] == [key] and result.notes["propagator"] == name


def test_a_sequence_does_not_depend_on_its_company(name):
    clip, truth = moving_disc(7)
    other = np.roll(truth, 60, axis=2)
    sequences = [MaskSequence.binary(m) for m in (truth, other, truth, np.zeros_like(truth))]
    tasks = [PropagationTask(s, k) for s, k in zip(sequences, [(0,), (3,), (2, 5), (1,)], strict=True)]
    together = propagate(clip, tasks, make(name))
    for task, result in zip(tasks, together, strict=True):
        (alone,) = propagate(clip, [task], make(name))
        differs = np.abs(dense(result).astype(int) - dense(alone)) > (TIES[name] > 0)
        assert differs.mean() <= TIES[name] and np.allclose(result.scores, alone.scores, atol=TIES[name])


def test_backward_is_forward_on_reversed_frames(name):
    if name in TIMED:
        pytest.skip("its features hold the frame's place in the clip")
    clip, truth = moving_disc(7)
    mirror = Clip(clip.name, clip.frames, clip.expressions, Memory(clip.images.images[::-1]))
    keys = [(6,), (2,), (1, 4)]
    there = run(name, clip, truth, *keys)
    back = run(name, mirror, truth[::-1], *[tuple(6 - k for k in key) for key in keys])
    for a, b, exact in zip(there, back, [True, True, False], strict=True):
        distance = np.abs(dense(a).astype(int) - dense(b)[::-1])
        assert distance.max() <= (0 if exact else 1)  # between two key frames the rounding differs


def test_an_object_may_leave_and_return(name):
    clip, truth = moving_disc(9, hidden=(3, 4, 5))
    (result,) = run(name, clip, truth, (0,))
    assert not sequence_problems(result, clip, "0", name)
    assert np.isfinite(result.scores).all()
    (both,) = run(name, clip, truth, (0, 8))  # a key frame on either side brings it back
    if name in FLOOR:
        assert jaccard(result.mask(2), truth[2]) > 0.7 and jaccard(both.mask(7), truth[7]) > 0.7


def test_every_key_frame_keeps_its_mask(name):
    clip, truth = moving_disc(8)
    (result,) = run(name, clip, truth, (6, 0, 3))
    assert all(np.array_equal(result.mask(t), truth[t]) for t in (0, 3, 6))
    assert result.notes["key_frames"] == [0, 3, 6]
    if name in FLOOR:
        assert np.mean([jaccard(result.mask(t), truth[t]) for t in (1, 2, 4, 5, 7)]) > FLOOR[name]


def test_a_later_key_frame_moves_the_sequence_on(name):
    """From its second key frame on, a sequence follows that mask and not the first one."""
    clip, truth = moving_disc(6)
    masks = np.where((np.arange(6) < 3)[:, None, None], np.roll(truth, 60, axis=2), truth)
    (result,), (first,) = run(name, clip, masks, (0, 3)), run(name, clip, masks, (0,))
    assert not np.array_equal(result.masks[5], first.masks[5])
    if name in FLOOR:
        assert jaccard(result.mask(5), truth[5]) > 0.7


def test_an_empty_key_mask_gives_an_empty_result(name):
    clip, truth = moving_disc(4)
    (result,) = run(name, clip, np.zeros_like(truth), (2,))
    assert not dense(result).any() and not result.scores.any()
    sweep = make(name).sweep(clip.size, 1)
    for t in range(3):
        out = sweep.step(Frame(t, clip.read(t)), {0: np.zeros(clip.size, bool)} if t == 0 else {})
        assert not (np.asarray(out[0]) > 127).any()


@pytest.mark.parametrize("size", [(91, 157), (33, 40), (240, 17), (1, 1)])
def test_one_frame_and_odd_sizes(name, size):
    rng = np.random.default_rng(1)
    for length in (1, 3):
        images = rng.integers(0, 256, (length, *size, 3), dtype=np.uint8)
        clip = Clip("odd", tuple(map(str, range(length))), (Expression("odd", "0", ""),), Memory(images))
        masks = np.ones((length, *size), bool)
        (result,) = run(name, clip, masks, (0,))
        assert not sequence_problems(result, clip, "0", name) and result.mask(0).all() and result.scores[0] == 1


def test_a_single_pixel_and_the_whole_frame(name):
    clip, truth = moving_disc(3)
    dot = np.zeros_like(truth)
    dot[:, 45, 80] = True
    for masks in (dot, np.ones_like(truth)):
        (result,) = run(name, clip, masks, (1,))
        assert not sequence_problems(result, clip, "0", name) and np.array_equal(result.mask(1), masks[1])


# Bookkeeping -------------------------------------------------------------------------------------------------------


class Echo(Propagator):
    """Repeats the reference mask, a little darker with every step, and records the frames of each sweep."""

    def __init__(self):
        super().__init__()
        self.seen, self.memos = [], 0

    def sweep(self, size, sequences):
        return EchoSweep(self)


class EchoSweep:
    def __init__(self, owner):
        self.owner, self.values = owner, {}
        owner.seen.append([])

    def step(self, frame, references):
        self.owner.seen[-1].append(frame.t)
        if "memo" not in frame.memo:
            self.owner.memos += 1
            frame.memo["memo"] = np.zeros(1000, np.uint8)
        self.values = {i: v - 30 * (v > 0) for i, v in self.values.items()}
        self.values |= {i: m * np.int32(240) for i, m in references.items()}
        return {i: v.astype(np.uint8) for i, v in self.values.items()}


def still(length=8, size=(4, 6)):
    images = np.zeros((length, *size, 3), np.uint8)
    return Clip("still", tuple(map(str, range(length))), (Expression("still", "0", ""),), Memory(images))


class Stated(np.ndarray):
    """A mask with signals."""


class Outspoken(Propagator):
    """Repeats the reference mask and states the index of the frame, signed by the direction, as its object score."""

    signals = ("object_score",)

    def sweep(self, size, sequences):
        return OutspokenSweep(1)

    def reverse(self, sweep, size, sequences):
        return OutspokenSweep(-1)


class OutspokenSweep:
    def __init__(self, sign):
        self.sign, self.masks = sign, {}

    def step(self, frame, references):
        self.masks |= {i: (m * np.uint8(255)).view(Stated) for i, m in references.items()}
        results = {i: m.copy() for i, m in self.masks.items()}
        for mask in results.values():
            mask.signals = {"object_score": self.sign * frame.t}
        return results


def test_signals_come_from_the_sweep_of_the_nearer_key_frame():
    clip = still()
    masks = MaskSequence.binary(np.ones((8, 4, 6), bool))
    (result,) = propagate(clip, [PropagationTask(masks, (2, 6))], Outspoken())
    assert np.array_equal(
        result.signals["object_score"], np.float32([-0.0, -1, np.nan, 3, 4, -5, np.nan, 7]), equal_nan=True
    )


def test_one_sweep_each_way_reads_and_prepares_every_frame_once():
    clip, echo = still(), Echo()
    masks = MaskSequence.binary(np.ones((8, 4, 6), bool))
    propagate(clip, [PropagationTask(masks, (2,)), PropagationTask(masks, (5,)), PropagationTask(masks, (3,))], echo)
    assert echo.seen == [[2, 3, 4, 5, 6, 7], [5, 4, 3, 2, 1, 0]]
    assert sorted(clip.images.reads) == list(range(8)) and echo.memos == 8


def test_a_small_cache_costs_time_and_changes_nothing():
    clip, truth = moving_disc(7)
    tasks = [PropagationTask(MaskSequence.binary(truth), k) for k in [(0,), (6,)]]
    full = propagate(clip, tasks, make("flow"))
    clip.images.reads.clear()
    none = propagate(clip, tasks, make("flow"), cache_mb=0)
    assert len(clip.images.reads) == 14
    assert all(np.array_equal(dense(a), dense(b)) for a, b in zip(full, none, strict=True))


class Small(Echo):
    """Has memory for `room` sequences; with more, it raises the error of an allocator."""

    def __init__(self, room, allocate):
        super().__init__()
        self.room, self.allocate = room, allocate

    def sweep(self, size, sequences):
        if sequences > self.room:
            self.allocate()
        return super().sweep(size, sequences)


ALLOCATE = {"numpy": lambda: np.empty(2**60, np.uint8), "torch": lambda: torch.empty(2**60, dtype=torch.uint8)}


@pytest.mark.parametrize("allocator", ALLOCATE)
def test_more_sequences_than_fit_in_memory_are_done_in_parts(allocator):
    clip, masks = still(), MaskSequence.binary(np.ones((8, 4, 6), bool))
    tasks = [PropagationTask(masks, (t,)) for t in (2, 5, 3, 7, 0)]
    small = Small(2, ALLOCATE[allocator])
    whole, parts = propagate(clip, tasks, Echo()), propagate(clip, tasks, small)
    assert all(np.array_equal(dense(a), dense(b)) for a, b in zip(whole, parts, strict=True))
    assert [s.notes["split"] for s in parts] == [2, 2, 1, 2, 2] and len(small.seen) == 6
    assert "split" not in whole[0].notes


@pytest.mark.parametrize("allocator", ALLOCATE)
def test_a_single_sequence_that_does_not_fit_is_an_error(allocator):
    with pytest.raises((MemoryError, RuntimeError)):
        propagate(
            still(),
            [PropagationTask(MaskSequence.binary(np.ones((8, 4, 6), bool)), (0,))],
            Small(0, ALLOCATE[allocator]),
        )


@pytest.mark.parametrize(
    "said",
    ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "std::bad_alloc"],
)
def test_what_libraries_say_when_memory_is_short(said):
    def fail():
        raise RuntimeError(said)

    tasks = [PropagationTask(MaskSequence.binary(np.ones((8, 4, 6), bool)), (t,)) for t in (2, 5, 3)]
    assert len(propagate(still(), tasks, Small(2, fail))) == 3


def test_sequences_that_influence_each_other_are_not_done_in_parts(monkeypatch):
    monkeypatch.setattr(Small, "independent", False)
    tasks = [PropagationTask(MaskSequence.binary(np.ones((8, 4, 6), bool)), (t,)) for t in (2, 5, 3)]
    with pytest.raises(MemoryError):
        propagate(still(), tasks, Small(2, ALLOCATE["numpy"]))


def test_other_errors_are_no_lack_of_memory():
    def fail():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    small = Small(1, fail)
    with pytest.raises(RuntimeError, match="mat1"):
        propagate(still(), [PropagationTask(MaskSequence.binary(np.ones((8, 4, 6), bool)), (0,))] * 2, small)
    assert not small.seen


def test_between_key_frames_both_sweeps_are_blended_by_distance():
    clip = still(6)
    (result,) = propagate(clip, [PropagationTask(MaskSequence.binary(np.ones((6, 4, 6), bool)), (1, 5))], Echo())
    values = [int(m.max()) for m in dense(result)]
    forward, backward = {2: 210, 3: 180, 4: 150}, {2: 150, 3: 180, 4: 210}
    blend = {t: ((5 - t) * forward[t] + (t - 1) * backward[t]) / 4 for t in forward}
    assert values == [210, 255, blend[2], blend[3], blend[4], 255]


@pytest.mark.parametrize("cuts", [(), (2,), (4,), (5,), (1,), (3, 4), (0, 6)])
def test_a_sweep_from_another_shot_counts_only_if_the_other_one_is_from_there_too(cuts):
    (result,) = propagate(
        still(6), [PropagationTask(MaskSequence.binary(np.ones((6, 4, 6), bool)), (1, 5), cuts=cuts)], Echo()
    )
    forward, backward = {2: 210, 3: 180, 4: 150}, {2: 150, 3: 180, 4: 210}
    shot = [sum(cut <= t for cut in cuts) for t in range(6)]
    for t in (2, 3, 4):
        near = [shot[1] == shot[t], shot[5] == shot[t]]
        share = (5 - t) / 4 if near[0] == near[1] else float(near[0])
        assert int(result.masks[t].max()) == share * forward[t] + (1 - share) * backward[t], (t, cuts)


def test_soft_key_masks_stay_soft_and_scores_are_the_mean_inside():
    soft = np.zeros((3, 4, 6), np.uint8)
    soft[:, 0, 0], soft[:, 0, 1], soft[:, 0, 2] = 200, 150, 100
    (result,) = propagate(still(3), [PropagationTask(MaskSequence.prob(soft), (1,))], Echo())
    assert np.array_equal(result.masks[1], soft[1])
    assert result.scores == pytest.approx([210 / 255, 175 / 255, 210 / 255])


@pytest.mark.parametrize("empty_key", ["empty", "copy"])
def test_what_becomes_of_an_empty_key(empty_key):
    masks = np.ones((3, 4, 6), bool)
    masks[1] = False
    (result,) = propagate(still(3), [PropagationTask(MaskSequence.binary(masks), (1,), empty_key)], Echo())
    assert np.array_equal(dense(result) > 127, masks if empty_key == "copy" else masks & False)
    assert result.notes["empty_key"] == empty_key and not result.scores.any()


def test_some_empty_keys_are_left_out_and_reported():
    masks = np.ones((4, 4, 6), bool)
    masks[2] = False
    (result,) = propagate(still(4), [PropagationTask(MaskSequence.binary(masks), (0, 2))], Echo())
    assert result.notes["key_frames"] == [0] and result.notes["empty_key_frames"] == [2]
    assert result.mask(2).all()


def test_tasks_that_do_not_fit_are_all_named():
    good = MaskSequence.binary(np.ones((3, 4, 6), bool))
    votes = MaskSequence(np.ones((3, 4, 6), np.uint8), "votes", total=2)
    short = MaskSequence.binary(np.ones((2, 4, 7), bool))
    tasks = [
        PropagationTask(good, (3,)),
        PropagationTask(good, ()),
        PropagationTask(votes, (0,)),
        PropagationTask(short, (0,)),
        PropagationTask(good, (0,), "keep"),
    ]
    with pytest.raises(InputError) as error:
        propagate(still(3), tasks, Echo())
    message = "\n".join(error.value.problems)
    for words in ["key frames [3]", "key frames []", "vote map", "2 masks of 4x7 (HxW), expected 3 of 4x6", "'keep'"]:
        assert words in message


def test_a_frame_of_another_size_is_named():
    clip = still(3)
    clip.images.images = [np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 3), np.uint8), np.zeros((5, 6, 3), np.uint8)]
    clip.images.__class__ = type("Mixed", (Memory,), {"size": (4, 6)})
    with pytest.raises(InputError, match="frame '2' is 5x6"):
        propagate(clip, [PropagationTask(MaskSequence.binary(np.ones((3, 4, 6), bool)), (0,))], Echo())


def test_compressed_masks_travel_and_refuse_what_does_not_fit():
    masks = CompressedMasks((3, 5), 2)
    masks[1] = np.arange(15, dtype=np.uint8).reshape(3, 5)
    again = pickle.loads(pickle.dumps(masks))
    assert np.array_equal(again[1], masks[1]) and not again[0].any() and again.shape == (2, 3, 5)
    with pytest.raises(ValueError, match="expected"):
        masks[0] = np.zeros((3, 4), np.uint8)
    with pytest.raises(IndexError):
        masks[2]


def test_a_component_of_ones_own_may_hold_a_dataclass(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from rvos_ensemble.propagators.core.propagator import Propagator\n\n"
        "@dataclass\nclass Pair:\n    a: int = 1\n\n"
        "class Mine(Propagator):\n    #Mine.\n    pair = Pair()\n"
    )
    made = find(str(file), Propagator, propagators, "rvos_ensemble.propagators")
    assert made().pair.a == 1 and "mine" not in sys.modules, "or workers would look for it by name"


@pytest.mark.parametrize(
    "setting",
    [{"preset": "slow"}, {"max_side": 8}, {"learn": 2.0}, {"maxside": 480}, {"edge_radius": -1}, {"motion": None}],
)
def test_settings_of_flow_are_strict(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        find("flow", Propagator, propagators, "rvos_ensemble.propagators")(**setting)
