"""The memory rules of SAM networks against loops over single sequences with complete, written-out histories.

Random weights say almost the same about every frame. Therefore the predicted IoU and the object scores that the decoder
states are spread, for the propagator and for the loops alike. One sequence at a time (`batch=1`) leaves no difference
in the order of sums, so that the results are equal to the last bit.
"""

import copy
import math
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.sam_models import sam_model
from helpers.tiny_sam import tiny_sam
from test_admission import naive, naive_distraction
from test_propagate import moving_disc

from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.memory_rules.scene_cut import distances
from rvos_ensemble.propagators.core.memory_rules.settings import admission_of
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Frame, Propagator
from rvos_ensemble.propagators.inference.sam import mask_decoder
from rvos_ensemble.propagators.inference.sam.features import features
from rvos_ensemble.propagators.inference.sam.mask_decoder import Candidates
from rvos_ensemble.propagators.inference.sam.memory import encoder as memory_encoder
from rvos_ensemble.propagators.inference.sam.memory.bank import MemoryFrame
from rvos_ensemble.propagators.inference.sam.memory.cross_attention import condition
from rvos_ensemble.propagators.inference.sam.pathway_sweep import PathwaySweep
from rvos_ensemble.propagators.inference.sam.preprocessing import prompt
from rvos_ensemble.propagators.inference.sam.sweep import SamSweep

LENGTH = 10
LOOSE = {"rule": "distractors", "min_iou": 0.4, "area_change": 0.9, "areas": 3, "window": 6, "max_box_iou": 0.98,
         "apart": 1, "anchors": 2, "recent": 3, "gap": 2}  # fmt: skip


@pytest.fixture(scope="module")
def video():
    clip, truth = moving_disc(LENGTH)
    images = clip.images.images.copy()
    images[4:7] = np.roll(images[4:7], 1, axis=-1)  # two cuts
    assert np.flatnonzero(distances(images) > 0.6).tolist() == [4, 7]
    return images, truth


@pytest.fixture(scope="module")
def networks():
    return {kind: tiny_sam(kind) for kind in ("sam2", "edgetam", "sam3")}


@pytest.fixture
def spread(monkeypatch):
    """Spreads what the decoder predicts, the same way in every batch; each candidate has a part of the picture."""
    decode = mask_decoder.candidates
    parts = torch.zeros(3, 32, 32, dtype=torch.bool)
    parts[0, 4:20, 4:20] = parts[1, 10:28, 2:14] = parts[2, 2:12, 6:30] = True

    def candidates(*args):
        found = decode(*args)
        ious = 0.5 + 0.5 * torch.sin(600 * found.ious)
        scores = 3 * torch.sin(12 * found.scores) + 1
        inside = parts[:, : found.logits.shape[2], : found.logits.shape[3]]
        logits = torch.where(inside, found.logits.abs() - 0.3, -found.logits.abs() - 0.1)
        logits = torch.where((scores > 0)[:, None, None, None], logits, mask_decoder.ABSENT)
        return Candidates(logits, ious, found.tokens, scores)

    monkeypatch.setattr(mask_decoder, "candidates", candidates)


class Listed:
    """A memory that was written out."""

    def __init__(self, memories, pointers):
        self.memories, self.pointers = lambda t: memories, lambda t: pointers


class Loop:
    """The network, applied to one sequence and one frame at a time."""

    def __init__(self, model, images):
        self.network = model.network
        config = model.network.config
        self.positions, self.window = config.num_maskmem, config.max_object_pointers_in_encoder
        self.span = min(len(images), self.window) - 1

        self.found = lru_cache(lambda t: features(self.network, Frame(t, images[t])))

    def given(self, t, mask):
        """The event of a key frame."""
        masks = prompt(mask, self.network.image_size)[None]
        pointers, _ = mask_decoder.prompted(self.network, self.found(t), masks, False)
        hard = memory_encoder.given_masks(self.network, masks, False)
        spatial = memory_encoder.encode(self.network, self.found(t), hard, torch.tensor([True]))
        return SimpleNamespace(t=t, key=True, pointer=pointers[0], spatial=spatial[0], area=hard.mean().item())

    def proposed(self, t, memories, pointers):
        """The candidates of a frame with memories [(position, event)] and the pointers of events."""
        read = [(n, MemoryFrame(e.t, e.pointer, e.spatial)) for n, e in memories]
        bank = Listed(read, [(abs(t - e.t), e.pointer) for e in pointers])
        return mask_decoder.candidates(
            self.network, self.found(t), condition(self.network, self.found(t), [bank], t, self.span)
        )

    def taken(self, t, proposed, choice):
        """The event of a propagated frame."""
        out = mask_decoder.outcome(self.network, proposed, torch.tensor([choice]))
        soft = memory_encoder.propagated_masks(self.network, out.logits)
        spatial = memory_encoder.encode(self.network, self.found(t), soft, out.scores > 0)
        masks = (proposed.logits[0] > 0).numpy()
        box_iou = naive_distraction(masks[choice], [m for k, m in enumerate(masks) if k != choice])
        return SimpleNamespace(
            t=t, key=False, pointer=out.pointers[0], spatial=spatial[0], area=masks[choice].mean(), box_iou=box_iou,
            iou=out.ious.item(), score=out.scores.item(), logits=out.logits[0],
        )  # fmt: skip


@torch.no_grad()
def written_out(loop, references, memory):
    """{t: event} of one sequence; `memory(t, events)` says what a frame reads."""
    events = []
    for t in range(min(references), LENGTH):
        if t in references:
            events.append(loop.given(t, references[t]))
        else:
            proposed = loop.proposed(t, *memory(t, events))
            events.append(loop.taken(t, proposed, int(proposed.ious[0].argmax())))
    return {e.t: e for e in events}


def entries_of(sweep, images, references):
    """{(t, sequence): what a sweep yields for it}, with references {t: {sequence: mask}}."""
    result = {}
    for t in range(LENGTH):
        sweep.step(Frame(t, images[t]), references.get(t, {}))
        result |= {(t, i): entry for i, entry in sweep.latest[2].items() if not entry.given}
    return result


def equal(entries, events, i=0):
    """Whether the logits of sequence i are those of the events, bit by bit."""
    own = {t: entry.mask for (t, n), entry in entries.items() if n == i}
    return own.keys() == {t for t, e in events.items() if not e.key} and all(
        torch.equal(mask, events[t].logits) for t, mask in own.items()
    )


# Scene cuts ----------------------------------------------------------------------------------------------------------


def after_cuts(loop, cuts):
    """SAM 2's own memory, without the recent frames of other shots."""

    def memory(t, events):
        shot = max((c for c in cuts if c <= t), default=0)
        keys, recent = [e for e in events if e.key], [e for e in events if not e.key and e.t >= shot]
        near = [(t - e.t - 1, e) for e in recent if t - e.t < loop.positions]
        pointers = [e for e in recent[::-1] if t - e.t < loop.window]
        return [(loop.positions - 1, e) for e in keys] + near, keys + pointers

    return memory


@pytest.mark.parametrize("kind", ["sam2"])
def test_after_a_cut_the_memory_is_that_of_the_key_frames(networks, video, kind):
    images, truth = video
    references = {0: truth[0], 2: truth[2], 7: truth[7]}
    model = sam_model(networks[kind], kind, batch=1, scene_cut=0.6)
    loop = Loop(model, images)
    on = entries_of(SamSweep(model, images.shape[1:3], LENGTH), images, {t: {0: m} for t, m in references.items()})
    assert equal(on, written_out(loop, references, after_cuts(loop, [4, 7])))
    assert not equal(on, written_out(loop, references, after_cuts(loop, []))), "or this test could not fail"
    model = sam_model(networks[kind], kind, batch=1)
    off = entries_of(SamSweep(model, images.shape[1:3], LENGTH), images, {t: {0: m} for t, m in references.items()})
    assert equal(off, written_out(loop, references, after_cuts(loop, []))), "rules off: SAM 2's own memory"


# Distractor-aware admission ------------------------------------------------------------------------------------------


def distractor_memory(loop, settings, log):
    """The memory after the decisions of the rule about all frames so far, which are added to a log."""

    def memory(t, events):
        propagated = [e for e in events if not e.key]
        decisions = naive([("key", e.area) if e.key else e for e in events], settings)
        stays = [e for e, (stay, _) in zip(propagated, decisions, strict=True) if stay]
        anchors = [e for e, (_, anchor) in zip(propagated, decisions, strict=True) if anchor][-settings["anchors"] :]
        visible = [e for e in propagated if e.area > 0]
        shown = [e for e in propagated if e in stays or e in visible[-1:]][-settings["recent"] :]
        keys = [e for e in events if e.key]
        log.append((len(anchors), [e.t for e in shown], len(visible) < len(propagated)))
        places = [(loop.positions - 1, e) for e in keys + anchors]
        places += [(len(shown) - 1 - n, e) for n, e in enumerate(shown)]
        return places, keys + [e for e in propagated[::-1] if t - e.t < loop.window]

    return memory


@pytest.mark.usefixtures("spread")
@pytest.mark.parametrize("kind", ["sam2", "sam3"])
def test_distractors_are_remembered_as_written_out(networks, video, kind):
    images, truth = video
    references, log = {0: truth[0], 6: truth[6]}, []
    model = sam_model(networks[kind], kind, batch=1, admission=LOOSE)
    loop, sweep = Loop(model, images), SamSweep(model, images.shape[1:3], LENGTH)
    on = entries_of(sweep, images, {t: {0: m} for t, m in references.items()})
    assert equal(on, written_out(loop, references, distractor_memory(loop, admission_of(LOOSE), log)))
    anchors, shown, absent = zip(*log, strict=True)
    assert max(anchors) > 0 and any(absent), "the frames of this clip do not vary enough to test the rule"
    assert any(t - s[0] > 3 for t, s in zip(range(1, LENGTH), shown, strict=False) if s)
    assert sweep.nbytes <= model.bytes_per_sequence(2)


# Pathways ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def tree(loop, references, settings):
    """{t: event} of the finally best pathway of one sequence; every pathway is a complete copy of its history."""
    done, paths = {}, []
    for t in range(min(references), LENGTH):
        if t in references:
            events = paths[0][1] if paths else []
            done |= {e.t: e for e in events}
            paths = [(0.0, [*copy.deepcopy(events), loop.given(t, references[t])])]
            continue
        options = []
        for score, events in paths:
            keys = [e for e in events if e.key]
            kept = [e for e in events if not e.key and e.iou > settings["min_iou"] and e.score > 0]
            ranked = [(n, e) for n, e in enumerate(kept[: -loop.positions : -1])][::-1]
            pointers = keys + [e for e in kept[::-1] if t - e.t < loop.window]
            proposed = loop.proposed(t, [(loop.positions - 1, e) for e in keys] + ranked, pointers)
            for k in range(proposed.ious.shape[1]):
                event = loop.taken(t, proposed, k)
                options.append((score + math.log(event.iou + 1e-5), [*copy.deepcopy(events), event]))
        options.sort(key=lambda option: -option[0])
        if max(abs(events[-1].score) for _, events in options) <= settings["uncertainty"]:
            seen, first, rest = set(), [], []
            for option in options:
                last = option[1][-1]
                kind = (round(last.iou, 2), last.score > 0)
                (rest if kind in seen else first).append(option)
                seen.add(kind)
            options = sorted((first + rest)[: settings["count"]], key=lambda option: -option[0])
        paths = options[: settings["count"]]
    return done | {e.t: e for e in paths[0][1]}, len({id(events) for _, events in paths})


class InMemory(Propagator):
    """A propagator around a model of these tests."""

    signals = ("object_score", "predicted_iou")

    def __init__(self, model):
        super().__init__()
        self.model = model

    def sweep(self, size, sequences):
        return (PathwaySweep if self.model.pathways else SamSweep)(self.model, size, LENGTH)


def tasks_of(truth, *keys):
    return [
        PropagationTask(MaskSequence.binary(np.roll(truth, 20 * n, axis=2)), tuple(key)) for n, key in enumerate(keys)
    ]


@pytest.mark.usefixtures("spread")
@pytest.mark.parametrize("kind, count, uncertainty, keys", [("edgetam", 3, 2.0, [0]), ("sam2", 2, 9.0, [0, 4])])
def test_the_result_is_the_finally_best_pathway(networks, video, kind, count, uncertainty, keys):
    images, truth = video
    settings = {"count": count, "uncertainty": uncertainty, "min_iou": 0.1}
    model = sam_model(networks[kind], kind, batch=1, pathways=settings)
    sweep, late, early = PathwaySweep(model, images.shape[1:3], LENGTH), {}, {}
    for t in range(min(keys), LENGTH):
        late[t] = sweep.step(Frame(t, images[t]), {0: truth[t]} if t in keys else {})[0]
        early[t] = np.array(late[t])
    best, pathways = tree(Loop(model, images), {t: truth[t] for t in keys}, settings)
    assert pathways == count == len(sweep.paths[0])
    for t, event in best.items():
        if not event.key:
            logits = torch.nn.functional.interpolate(event.logits[None, None], images.shape[1:3], mode="bilinear")
            expected = np.ceil(logits.sigmoid()[0, 0].numpy() * 255 - 0.5)
            assert np.abs(np.asarray(late[t]) - expected).max() <= 1, t
            assert late[t].signals["predicted_iou"] == pytest.approx(min(event.iou, 1), abs=1e-6)
    assert any(not np.array_equal(early[t], late[t]) for t in late), "no frame was decided later on"


@pytest.mark.usefixtures("spread")
def test_propagate_reads_the_final_masks_and_sequences_stay_independent(networks, video):
    images, truth = video
    clip, _ = moving_disc(LENGTH)
    clip.images.images = images
    model = sam_model(networks["edgetam"], "edgetam", pathways=3)
    tasks = tasks_of(truth, [0], [6], [3, 8])
    together = propagate(clip, tasks, InMemory(model))
    for task, result in zip(tasks, together, strict=True):
        (alone,) = propagate(clip, [task], InMemory(model))
        assert all(np.abs(result.masks[t].astype(int) - alone.masks[t]).max() <= 1 for t in range(LENGTH))
        assert np.allclose(result.signals["predicted_iou"], alone.signals["predicted_iou"], atol=1e-3, equal_nan=True)
    sweep, late = PathwaySweep(model, clip.size, LENGTH), {}
    for t in range(LENGTH):
        late[t] = sweep.step(Frame(t, images[t]), {0: truth[0]} if t == 0 else {})[0]
    assert all(np.abs(together[0].masks[t].astype(int) - np.asarray(late[t])).max() <= 1 for t in range(LENGTH))


@pytest.mark.usefixtures("spread")
def test_the_memory_of_pathways_is_bounded_and_ends_of_pathways_are_freed(networks, video):
    images, truth = video
    model = sam_model(networks["edgetam"], "edgetam", pathways=3)
    sweep, sizes = PathwaySweep(model, images.shape[1:3], 30), []
    for t in range(30):
        sweep.step(Frame(t, images[t % LENGTH]), {0: truth[0]} if t == 0 else {})
        sizes.append(sweep.nbytes)
    assert max(sizes) <= model.bytes_per_sequence(1)
    waiting = [m for path in sweep.paths[0] for m in path.leaf.history().values() if m.outcome is not None]
    assert len({id(m) for m in waiting}) <= 3, "only the masks of the latest frame are not compressed"


@pytest.mark.usefixtures("spread")
def test_a_corrected_mask_ends_the_other_pathways(networks, video):
    images, truth = video
    model = sam_model(networks["edgetam"], "edgetam", pathways=3)
    sweep = PathwaySweep(model, images.shape[1:3], LENGTH)
    for t in range(4):
        sweep.step(Frame(t, images[t]), {0: truth[0]} if t == 0 else {})
    assert len(sweep.paths[0]) == 3
    sweep.correct({0: truth[3] * np.uint8(255), 5: truth[3] * np.uint8(255)})
    assert len(sweep.paths[0]) == 1 and list(sweep.latest[2]) == [0]
    sweep.step(Frame(4, images[4]), {})
    assert [e.t for e in sweep.paths[0][0].bank.recent][-1] == 3 and len(sweep.paths[0]) == 3
    sweep.step(Frame(5, images[5]), {0: truth[5] & False})  # an empty key mask: no object
    assert not sweep.paths[0] and not np.asarray(sweep.step(Frame(6, images[6]), {})[0]).any()
