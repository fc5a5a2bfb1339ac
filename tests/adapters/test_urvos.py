"""URVOS: its attentions against double loops, its memory, its checkpoints, both stages, and that it learns."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.seeded import weights_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_propagate import Memory as Pictures
from test_propagate import dense, moving_disc
from torch import nn

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import sequence_problems
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights, write_weights
from rvos_ensemble.adapters.inference.families.urvos import sizes_of
from rvos_ensemble.adapters.inference.logits import confidence, grow, probability
from rvos_ensemble.adapters.networks.urvos import urvos
from rvos_ensemble.adapters.networks.urvos.attention import (
    HEADS,
    CrossModalAttention,
    Memory,
    MemoryAttention,
    ResidualSelfAttention,
    coordinates,
)
from rvos_ensemble.adapters.networks.urvos.memory import FrameMemory, Remembered, together
from rvos_ensemble.adapters.networks.urvos.vocabulary import LONGEST, Vocabulary
from rvos_ensemble.adapters.training import urvos as training
from rvos_ensemble.adapters.training.samples.sample import Sample
from rvos_ensemble.adapters.training.urvos.task import DEFAULTS, URVOSTask, vocabulary
from rvos_ensemble.adapters.urvos import URVOSAdapter
from rvos_ensemble.ensemble.commands.train import score
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.urvos import URVOSPropagator

WORDS = Vocabulary(("a", "disc", "red", "star", "that", "turns"))
SMALL = urvos.URVOSVariant((1, 1, 1), 8, 16, 16, 8, 16, 8, 32)


def opened(path):
    return open_checkpoint(path, "urvos")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("urvos") / "urvos.pth"
    torch.save({"state_dict": weights_of("urvos_nano")}, path)
    return str(path)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return urvos.URVOS(SMALL, WORDS).eval().requires_grad_(False)


def linear(layer: nn.Linear, x):
    """A linear layer, a number at a time."""
    w, b = layer.weight.double(), 0 if layer.bias is None else layer.bias.double()
    return torch.stack([(row * x).sum() for row in w]) + b


# The attentions against double loops --------------------------------------------------------------------------------


def test_coordinates_of_every_cell():
    found = coordinates((3, 5), torch.tensor([2.0, 6.0]), 8)
    for t, y, x in np.ndindex(2, 3, 5):
        spans = [(2 * (i + part) / n - 1) for i, n in ((x, 5), (y, 3)) for part in (0, 0.5, 1)]
        times = [2 * ((2, 6)[t] + part) / 8 - 1 for part in (0, 0.5, 1)]
        expected = [*spans, 1 / 5, 1 / 3, *times, 1 / 8]
        assert found[t, 5 * y + x].tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(coordinates((3, 5)), found[0, :, :8])


def naive_self_attention(layer: ResidualSelfAttention, tokens, padding):
    """tokens [N, C] in float64."""
    q, k, v = ([linear(part, x) for x in tokens] for part in (layer.query, layer.key, layer.value))
    found = []
    for i in range(len(tokens)):
        seen = [j for j in range(len(tokens)) if not padding[j]]
        share = torch.stack([q[i] @ k[j] / len(q[i]) ** 0.5 for j in seen]).softmax(0)
        found.append(sum(p * v[j] for p, j in zip(share, seen, strict=True)) + v[i])
    return found


def test_cross_modal_attention_is_the_double_loop_over_pairs():
    """Eq. 2-7 as they stand: pairs c = [place; word], every pair looks at every pair; no factors, no batches."""
    torch.manual_seed(1)
    layer = CrossModalAttention(5, 6, 16).requires_grad_(False)
    x, words = torch.randn(2, 5, 2, 3), torch.randn(2, 4, 6)
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    found = layer(x, words, padding).unflatten(0, (2, 2))  # [E, T, C, h, w]
    cells = coordinates((2, 3)).double()
    for e, t in np.ndindex(2, 2):
        length = int((~padding[e]).sum())
        tokens = [torch.cat([x[t, :, i // 3, i % 3].double(), cells[i]]) for i in range(6)]
        place = naive_self_attention(layer.visual, tokens, [False] * 6)
        word = naive_self_attention(layer.language, words[e].double(), padding[e])[:length]
        pairs = [(p, w) for p in range(6) for w in range(length)]

        def of(part, place=place, word=word, pairs=pairs):
            whole = torch.cat([part.place.weight, part.word.weight], 1).double()  # W of [place; word]
            return [whole @ torch.cat([place[p], word[w]]) + part.place.bias.double() for p, w in pairs]

        query, key, value, rest = (of(part) for part in (layer.query, layer.key, layer.value, layer.residual))
        expected = torch.zeros(6, 16, dtype=torch.float64)
        for i, (p, _) in enumerate(pairs):
            for head in range(HEADS):
                c = slice(2 * head, 2 * head + 2)
                share = torch.stack([query[i][c] @ k[c] / 2**0.5 for k in key]).softmax(0)
                expected[p, c] += sum(s * v[c] for s, v in zip(share, value, strict=True)) / length
            expected[p] += rest[i] / length
        assert torch.allclose(found[e, t].flatten(1).T.double(), expected, atol=1e-5)


def test_memory_attention_is_the_double_loop_over_cells():
    """Eq. 8-14: every cell of the frame looks at every cell of the remembered frames."""
    torch.manual_seed(2)
    layer = MemoryAttention(5, 2, 4, 6, 7).requires_grad_(False)
    past, masks, times = torch.randn(2, 5, 3, 2), torch.rand(1, 2, 6, 4), torch.tensor([1.0, 4.0])
    now, time = torch.randn(1, 5, 3, 2), torch.tensor([5.0])
    found = layer(now, layer.remember(past, masks, times, 6), time, 6)[0].flatten(1).T.double()
    cells = coordinates((3, 2), torch.cat([times, time]), 6).double()

    def placed(x, t, i):
        return torch.cat([x[:, i // 2, i % 2].double(), cells[t, i]])

    keys, values = [], []
    for t in range(2):
        maps = torch.zeros(12 + 5 + 4, 5, 4, dtype=torch.float64)  # with a border of zeros
        for i in range(6):
            y, x = i // 2, i % 2
            keys.append(linear(layer.key, placed(past[t], t, i)))
            block = masks[0, t, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].flatten()
            maps[:, y + 1, x + 1] = torch.cat([placed(past[t], t, i), block.double()])
        kernel = torch.cat([layer.remembered.weight, layer.mask.weight], 1).double()
        for i in range(6):
            window = maps[:, i // 2 : i // 2 + 3, i % 2 : i % 2 + 3]
            values.append((kernel * window).sum((1, 2, 3)) + layer.remembered.bias.double())
    for i in range(6):
        query = linear(layer.query, placed(now[0], 2, i))
        share = torch.stack([query @ k / 2 for k in keys]).softmax(0)
        read = sum(s * v for s, v in zip(share, values, strict=True))
        expected = linear(layer.out, torch.cat([read, linear(layer.present, placed(now[0], 2, i))]))
        assert torch.allclose(found[i], expected, atol=1e-5)


# The memory -----------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=12, unique_by=lambda x: x[0]),
    st.integers(1, 5),
)
def test_the_memory_keeps_anchors_and_the_most_confident(frames, size):
    memory = FrameMemory(size)
    for confident, anchor in frames:
        memory.add(Remembered(torch.zeros(1, 1), torch.zeros(1, 1), confident, anchor))
    kept = [f.confidence for f in memory.frames]
    assert len(kept) == min(size, len(frames)) and kept == [c for c, _ in frames if c in kept]
    anchors = [c for c, anchor in frames if anchor]
    assert [f.confidence for f in memory.frames if f.anchor] == anchors[-size:]
    room = max(0, size - len(anchors))
    others = sorted((c for c, anchor in frames if not anchor), reverse=True)
    if not anchors or (frames[0][1] and len(anchors) == 1):  # anchors that come later have pushed others out before
        assert sorted((f.confidence for f in memory.frames if not f.anchor), reverse=True) == others[:room]


def test_anchor_and_previous():
    memory = FrameMemory(4, "previous")
    for t in range(5):
        memory.add(Remembered(torch.zeros(1, 1), torch.zeros(1, 1), 1 - t / 10, anchor=t == 0))
    assert [f.confidence for f in memory.frames] == [1.0, 0.6]


def test_memories_of_different_length_do_not_mix():
    torch.manual_seed(3)
    layer = MemoryAttention(5, 2, 4, 6, 7).requires_grad_(False)
    now, time = torch.randn(1, 5, 3, 2), torch.tensor([5.0])
    memories = [FrameMemory(4), FrameMemory(4)]
    for memory, count in zip(memories, (1, 3), strict=True):
        for _ in range(count):
            memory.add(Remembered(torch.randn(6, 4), torch.randn(6, 6)))
    both = layer(now, together(memories), time, 6)
    for i, memory in enumerate(memories):
        alone = layer(now, together([memory]), time, 6)
        assert torch.allclose(both[i], alone[0], atol=1e-6)


# Checkpoints ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", urvos.VARIANTS)
def test_the_sizes_are_in_the_weights(name):
    with torch.device("meta"):
        state = urvos.URVOS(urvos.VARIANTS[name], WORDS).state_dict()
    state["short_side"] = torch.tensor(urvos.VARIANTS[name].short_side)
    assert sizes_of(state) == urvos.VARIANTS[name]


def test_weights_come_back_with_their_words(weights, tmp_path):
    network, state = opened(weights).network(), weights_of("urvos_nano")
    assert network.words.words == WORDS.words and not network.training
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    shipped = opened(opened(weights).export(tmp_path / "w.safetensors")).network().state_dict()
    assert all(torch.equal(shipped[k], v.half().float() if v.is_floating_point() else v) for k, v in state.items())


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda w: w.pop("memory.query.weight"), "weights are missing: memory.query.weight"),
        (lambda w: w.update(more=torch.zeros(1)), "unknown weights are in it: more"),
        (
            lambda w: w.update({"word.weight": torch.zeros(9, 64)}),
            r"word.weight has shape \(9, 64\), expected \(8, 64\)",
        ),
        (lambda w: w.pop("vocabulary"), "not weights of URVOS"),
        (lambda w: w.update(vocabulary=torch.tensor([255, 254], dtype=torch.uint8)), "not weights of URVOS"),
    ],
)
def test_weights_that_do_not_fit_are_refused(spoil, told, tmp_path):
    state = weights_of("urvos_nano")
    spoil(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=told):
        opened(tmp_path / "w.pth")
    adapter = URVOSAdapter(weights=str(tmp_path / "w.pth"))
    assert adapter.check([moving_disc(2)[0]])


# Both stages ----------------------------------------------------------------------------------------------------------


def test_a_sentence_does_not_depend_on_its_company(network):
    maps = network.encode(torch.randn(2, 3, 32, 48))
    sentences = ["disc", "a red star that turns", ""]
    together_ = network.answer(maps, network.read(sentences))
    for i, sentence in enumerate(sentences):
        assert torch.allclose(together_[i], network.answer(maps, network.read([sentence]))[0], atol=1e-5)
    assert not torch.allclose(together_[0], together_[1], atol=1e-3)


def test_no_more_than_twenty_words_are_read(network):
    long = "red " * LONGEST
    ids, _ = WORDS.encode([long, long + "star"])
    assert ids.shape == (2, 20) and torch.equal(ids[0], ids[1])
    assert network.read([long]).words.shape == (1, 20, 16)


def test_word_order_matters(network):
    maps = network.encode(torch.randn(1, 3, 32, 32))
    a, b = (network.answer(maps, network.read([s])) for s in ("red disc", "disc red"))
    assert not torch.allclose(a, b, atol=1e-4)


def test_the_first_stage_sees_every_frame_alone(weights):
    clip, _ = moving_disc(5)
    clip = Clip(clip.name, clip.frames, (*clip.expressions, Expression("disc", "7", "a blue disc")), clip.images)
    some, one = (URVOSAdapter(weights=weights, short_side=48, frames_per_step=n).predict(clip) for n in (8, 2))
    for e in ("0", "7"):
        assert not sequence_problems(some[e], clip, e, "urvos") and some[e].kind == "prob"
        assert np.abs(dense(some[e]).astype(int) - dense(one[e])).max() <= 1
        expected = [confidence(some[e].masks[t]) for t in range(5)]
        assert some[e].scores == pytest.approx(expected, abs=1e-6)
    assert some["7"].notes["unknown_words"] == ["blue"] and "unknown_words" not in some["0"].notes
    alone = Clip(clip.name, clip.frames[3:4], clip.expressions, Pictures(clip.images.images[3:4]))
    single = URVOSAdapter(weights=weights, short_side=48).predict(alone)
    assert np.abs(dense(single["0"])[0].astype(int) - some["0"].masks[3]).max() <= 1


def test_the_second_stage_reads_the_sentence_and_the_clock(weights):
    clip, truth = moving_disc(4)
    propagator = URVOSPropagator(weights=weights, short_side=48)
    masks = MaskSequence.binary(truth)
    disc, star = propagate(clip, [PropagationTask(masks, (1,), sentence=s) for s in ("a disc", "a star")], propagator)
    assert not np.array_equal(dense(disc), dense(star))
    assert propagator.sentences == [], "`for_clip` returns a copy"
    length = Clip(clip.name, clip.frames[:3], clip.expressions, Pictures(clip.images.images[:3]))
    task = PropagationTask(MaskSequence.binary(truth[:3]), (1,), sentence="a disc")
    (shorter,) = propagate(length, [task], propagator)
    assert not np.array_equal(dense(shorter), dense(disc)[:3]), "time is a share of the clip"


def test_the_memory_is_what_the_network_reads():
    """The second stage, frame by frame, by the network's own functions; `over` decides which frames it keeps."""
    clip, truth = moving_disc(16)
    kept = {}
    for over in ("frame", "mask"):
        propagator = URVOSPropagator(weights="urvos_nano", memory=2, over=over)
        (found,) = propagate(clip, [PropagationTask(MaskSequence.binary(truth), (0,), sentence="the disc")], propagator)
        expected, kept[over] = remembering(propagator.network, clip, truth, over)
        for t, mask in enumerate(expected, 1):
            assert np.abs(mask.astype(int) - found.masks[t]).max() <= 1
    assert kept["frame"] != kept["mask"]


def remembering(network, clip, truth, over):
    """Masks of all frames but the first, and after each the frames that two places of memory hold."""
    size, length = network.input_size(clip.size, network.variant.short_side), len(clip)
    found, held = [], []
    with torch.no_grad():
        text = network.read(["the disc"])
        maps = [network.encode(preprocess.read(clip, range(t, t + 1), size, "torchvision")) for t in range(length)]
        given = torch.from_numpy(truth[0])[None, None].float()
        given = nn.functional.interpolate(given, maps[0][0].shape[-2:], mode="area")
        kept = [(2.0, 0, network.remember(maps[0], given, torch.tensor([0.0]), length))]
        for t in range(1, length):
            memory = Memory(*(torch.cat([getattr(m, part) for *_, m in kept], 1) for part in ("key", "value")))
            logits = network.answer(maps[t], text, memory, torch.tensor([float(t)]), length)
            found.append(probability(grow(logits[0, 0].numpy().copy(), clip.size)))
            now = network.remember(maps[t], logits.sigmoid(), torch.tensor([float(t)]), length)
            kept = sorted([*kept, (confidence(found[-1], over), t, now)], key=lambda one: -one[0])[:2]
            held.append([t for _, t, _ in kept])
    return found, held


@pytest.mark.parametrize(
    "cls, setting",
    [
        (URVOSAdapter, {"frames_per_step": 0}),
        (URVOSAdapter, {"short_side": -1}),
        (URVOSPropagator, {"memory": 0}),
        (URVOSPropagator, {"keep": "newest"}),
        (URVOSPropagator, {"over": "object"}),
        (URVOSAdapter, {"rounds": 3}),
    ],
)
def test_settings_are_strict(cls, setting, weights):
    with pytest.raises(InputError, match=next(iter(setting))):
        cls(weights=weights, **setting)


# Training -------------------------------------------------------------------------------------------------------------


class OneClip:
    """A red and a green square that move; the same for every number."""

    def __getitem__(self, i):
        images, ids = np.full((3, 48, 64, 3), 90, np.uint8), np.zeros((3, 48, 64), np.uint8)
        for t in range(3):
            for k, (x, y) in enumerate(((8 + 4 * t, 6), (36 - 4 * t, 26)), 1):
                ids[t, y : y + 18, x : x + 20] = k
        images[ids == 1], images[ids == 2] = (220, 30, 30), (30, 200, 60)
        return Sample(images, ids, (("the red square", 1), ("the green square", 2)))


def task(monkeypatch, **given):
    monkeypatch.setitem(urvos.VARIANTS, "tiny", SMALL)
    words = vocabulary([text for text, _ in OneClip()[0].expressions])
    assert words.words == ("square", "the", "green", "red")
    s = {
        **defaults_of(DEFAULTS),
        "variant": "tiny",
        "sentences": 2,
        "freeze_bn": False,
        "backbone_lr": 1.0,
        "steps": 2,
        **given,
    }
    return URVOSTask(s, words, OneClip(), [OneClip()[0]], lambda a, b: float((a == b).mean()))


def test_a_training_starts_from_what_there_is(monkeypatch, tmp_path):
    """A whole network; one that never had a memory; torchvision's ResNet; one that learned looks. Nothing else."""
    state = {k: v + 0.5 if v.is_floating_point() else v for k, v in task(monkeypatch).network.state_dict().items()}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    parts = {
        "whole": state,
        "pictures": {k: v for k, v in state.items() if not k.startswith("memory.")},
        "resnet": {k[9:]: v for k, v in state.items() if k.startswith("backbone.")} | {"fc.weight": torch.zeros(2, 2)},
    }
    longer = {f"backbone.0.body.{k}": v for k, v in parts["resnet"].items() if k != "fc.weight"}
    parts["looks"] = longer | {"backbone.0.body.layer4.9.bn1.bias": torch.zeros(2)}
    for name, part in parts.items():
        torch.save(part, tmp_path / name)
        found = task(monkeypatch, weights=str(tmp_path / name)).network.state_dict()
        same = {k for k, v in state.items() if v.is_floating_point() and torch.equal(v, found[k])}
        assert all(k.startswith("backbone.") or name not in ("resnet", "looks") for k in same)
        assert {k.partition(".")[0] for k in state if k not in same} <= {
            "whole": {"vocabulary", "short_side"},
            "pictures": {"vocabulary", "short_side", "memory"},
            "resnet": {"vocabulary", "short_side", "memory", "word", "position", "cross", "decoder"},
            "looks": {"vocabulary", "short_side", "memory", "word", "position", "cross", "decoder"},
        }[name]
    other = {**state, "vocabulary": Vocabulary(("the", "square", "green", "red")).packed()}
    torch.save(other, tmp_path / "other")
    with pytest.raises(InputError, match="other words"):
        task(monkeypatch, weights=str(tmp_path / "other"))
    del parts["whole"]["word.weight"]
    torch.save(parts["whole"], tmp_path / "short")
    with pytest.raises(InputError, match=r"weights are missing: word\.weight"):
        task(monkeypatch, weights=str(tmp_path / "short"))


def test_every_weight_learns_once_there_is_a_memory(monkeypatch):
    one = task(monkeypatch)
    batch = one.collate([one.samples()[i] for i in range(2)])
    alone = one.losses(batch, 0)
    assert set(alone) == {"alone_entropy", "alone_dice"}
    sum(one.losses(batch, 1).values()).backward()
    idle = [n for n, p in one.network.named_parameters() if p.grad is None or not p.grad.any()]
    # attention does not change when all its keys are moved alike
    assert [n for n in idle if not n.endswith(("key.bias", "key.place.bias"))] == ["decoder.refine.0.conv1.weight",
        "decoder.refine.0.conv1.bias", "decoder.refine.1.conv1.weight", "decoder.refine.1.conv1.bias"]  # fmt: skip


def test_undecided_pixels_teach_nothing(monkeypatch):
    """What is drawn where the ids are 255 changes no loss; what is drawn beside it does."""
    one, sample = task(monkeypatch), OneClip()[0]
    sample.ids[:, 20:30] = 255
    batch = one.collate([sample])
    truth, known = batch["masks"].float(), ~batch["void"][:, None]
    assert known[0, 0, :, 20:30].sum() == 0 and known.sum() == 3 * 38 * 64
    logits = torch.randn(1, 2, 3, 48, 64)
    before = one._terms(logits, truth, known, "alone")
    logits[..., 20:30, :] += 5
    assert one._terms(logits, truth, known, "alone") == before
    logits[..., 40:, :] += 5
    assert all(after != before[name] for name, after in one._terms(logits, truth, known, "alone").items())


@pytest.mark.slow
def test_it_learns_one_clip(monkeypatch):
    """Which of two squares the sentence means, from nothing, in seconds: J > 0.9 alone and with memory."""
    one = task(monkeypatch, alone=0.0)
    batch = one.collate([one.samples()[0]])
    optimizer = torch.optim.AdamW(one.groups(3e-3, 0.0))
    losses = []
    for step in range(150):
        loss = sum(one.losses(batch, step).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(one.network.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    one.score = lambda a, b: np.count_nonzero(a & b) / np.count_nonzero(a | b)
    with torch.no_grad():
        found = one.validate(one.network)  # batch norms with the statistics of the batch, as they are this early
    assert found["J&F"] > 0.9 and found["J&F with memory"] > 0.9


def test_the_command_trains_it(tmp_path, capsys):
    settings = "variant=urvos_nano size=[64,96] frames=2 sentences=1 freeze_bn=False batch=1 validate_clips=1"
    steps = "steps=2 alone=0.5 log_every=1"
    assert run_ensemble.main(["train", "segmenter=urvos", *settings.split(), *steps.split(), f"out={tmp_path}"]) == 0
    trained = replace(urvos.VARIANTS["urvos_nano"], short_side=64)
    assert opened(tmp_path / "weights.pth").network().variant == trained, "and is shown pictures of that size"
    first, second = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert "memory_dice" in second.keys() - first.keys() and "J&F with memory" in second
    assert "J&F with memory" in capsys.readouterr().out


def test_the_shipped_network_remembers():
    """Held-out clips: with the first frame's true mask remembered the others are found better than alone."""
    s = {
        **defaults_of(DEFAULTS),
        "variant": "urvos_nano",
        "size": [96, 160],
        "freeze_bn": False,
        "validate_clips": 4,
        "seed": 7,
    }
    one = training.make_task("urvos", s, score)
    found = one.validate(opened("urvos_nano").network())
    assert found["J&F"] > 0.2 and found["J&F with memory"] > found["J&F"] + 0.05, found


def test_other_weights_have_another_fingerprint(tmp_path):
    weights = read_weights("urvos_nano")
    paths = [tmp_path / f"{i}.safetensors" for i in (0, 1)]
    for i, path in enumerate(paths):
        weights["word.weight"] = weights["word.weight"] + i
        write_weights(weights, path)
    one, other = (URVOSPropagator(weights=str(path)).fingerprint() for path in paths)
    assert one != other and one == URVOSPropagator(weights=str(paths[0])).fingerprint()


def test_the_shipped_recipe_runs(tmp_path, capsys):
    small = ["data.clips=2", "data.frames=8", "data.size=[90,160]", f"data.root={tmp_path / 'shapes'}"]
    assert run_ensemble.main(["recipe=urvos", *small, f"out={tmp_path / 'out'}", "engine.workers=1"]) == 0
    assert set(json.loads((tmp_path / "out/metrics.json").read_text())["steps"]) == {"urvos", "refined"}
    assert "refined" in capsys.readouterr().out
