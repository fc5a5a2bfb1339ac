"""The networks of AOT and DeAOT against the official engine's numbers, and the loader of their checkpoints.

The golden numbers are outputs of the official engine with weights seeded key by key (see `seeded.py`); they lie beside
the checkout, not in it. Tolerances: logits 5e-5, two orders above what float32 leaves (2e-6 to 6e-6), below the least
realistic mistake (a tanh GELU: 1e-4).
"""

import pickle
import shutil

import numpy as np
import pytest
import torch
from helpers.seeded import meta_network, weights_of
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.propagators.inference.aot.checkpoint import load_network
from rvos_ensemble.propagators.inference.aot.family import recognise_variants
from rvos_ensemble.propagators.inference.aot.object_banks import merge_banks, nearest, probabilities, split_labels
from rvos_ensemble.propagators.inference.aot.tracker import Tracker
from rvos_ensemble.propagators.networks import attention
from rvos_ensemble.propagators.networks.attention import LocalWindow, attend
from rvos_ensemble.propagators.networks.memory import LongTermMemory, RaggedMemory, Tokens
from rvos_ensemble.propagators.networks.network import VOSNetwork
from rvos_ensemble.propagators.networks.upsample_conv import UpsampleConv
from rvos_ensemble.propagators.networks.variants import VARIANTS, find_variant

GOLDEN = ["aott", "deaott", pytest.param("r50_aotl", marks=pytest.mark.slow)]
KEYS = [
    v for v in VARIANTS if not any(ours in v for ours in ("swinl", "nano", "real"))
]  # these are not in the official code
CPU = torch.device("cpu")


def normalised(picture):
    """uint8 [H, W, 3] to float32 [1, 3, H, W], the official arithmetic."""
    x = picture.astype(np.float32) / 255.0
    x -= (0.485, 0.456, 0.406)
    x /= (0.229, 0.224, 0.225)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None]


class Scene:
    """The official procedure with our tracker: label maps of any number of objects to logits and labels."""

    def __init__(self, network):
        self.network, self.tracker = network, Tracker(network, network.variant.memory_gap)

    def encode(self, picture):
        with torch.no_grad():
            self.features = self.network.encode(normalised(picture))

    def reference(self, labels, objects):
        parts, counts = split_labels(torch.as_tensor(labels).long(), objects)
        self.tracker.reference(self.features, parts, range(len(counts)), counts)

    def step(self, picture):
        self.encode(picture)
        self.logits = self.tracker.step(self.features)

    def probabilities(self, size=(120, 180)):
        return merge_banks(probabilities(self.logits, size, self.network.variant.align_corners))

    def update(self, labels):
        self.tracker.update(split_labels(torch.as_tensor(labels).long(), sum(self.tracker.objects.values()))[0])


def fit(labels, size=(129, 193)):
    return nearest(torch.as_tensor(labels)[None], size)[0]


@pytest.fixture(scope="module", params=GOLDEN)
def golden(request, shared, checkpoints):
    """(golden numbers of the official engine, inputs, network) of a variant."""
    folder = shared / "golden" / "aot"
    numbers, inputs = np.load(folder / f"golden_{request.param}.npz"), np.load(folder / "inputs_129x193.npz")
    return numbers, inputs, load_network(checkpoints(request.param))


# Against the official engine ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEYS)
def test_names_and_shapes_are_the_official_ones(shared, name):
    lines = (shared / "golden" / "aot" / f"keys_{name}.txt").read_text().splitlines()
    official = dict(line.split("\t", 1) for line in lines if not line.startswith("#"))
    network = meta_network(name)
    buffers = {k for k, _ in network.named_buffers()}
    ours = {
        k: f"{tuple(v.shape)}\t{str(v.dtype).removeprefix('torch.')}{' *' * (k in buffers)}"
        for k, v in network.state_dict().items()
    }
    assert ours == official


def test_teacher_forced_logits_and_features(golden):
    numbers, inputs, network = golden
    scene, pictures, labels = Scene(network), inputs["clip2_rgb"], inputs["clip2_lab"]
    scene.encode(pictures[0])
    with torch.no_grad():
        ids = network.identify(torch.from_numpy(labels[:1]).long(), 2)
    assert np.abs(ids[0].numpy() - numbers["A_idemb_ref"]).max() < 5e-5
    scene.reference(labels[0], 2)
    for t in range(1, 8):
        scene.step(pictures[t])
        official = numbers["A_logits4"][t - 1]
        difference = np.abs(scene.logits[0, :3].numpy() - official).max()
        assert difference < 5e-5 and difference < 1e-4 * np.abs(official).max(), t
        scene.update(labels[t])
    long = scene.tracker.cohorts[0].long
    assert [long.layer(i).key.shape[1] for i in range(network.variant.layers)] == numbers["A_lt_len"].tolist()


def test_free_running_labels(golden):
    numbers, inputs, network = golden
    scene, pictures = Scene(network), inputs["clip2_rgb"]
    scene.encode(pictures[0])
    scene.reference(inputs["clip2_lab"][0], 2)
    for t in range(1, 8):
        scene.step(pictures[t])
        labels = scene.probabilities().argmax(0)
        assert (labels.numpy() != numbers["B_labels"][t - 1]).mean() <= 0.002, t
        scene.update(fit(labels))
    assert np.abs(scene.probabilities()[:, ::2, ::2].numpy() - numbers["B_probs_last"]).max() < 1e-3


def test_twelve_objects_in_two_banks(golden):
    numbers, inputs, network = golden
    scene, pictures = Scene(network), inputs["clip12_rgb"]
    scene.encode(pictures[0])
    scene.reference(inputs["clip12_lab"][0], 12)
    scene.step(pictures[1])
    assert np.abs(scene.logits[0, :11].numpy() - numbers["D_e0_logits4"]).max() < 5e-5
    assert np.abs(scene.logits[1, :3].numpy() - numbers["D_e1_logits4"]).max() < 5e-5
    p = scene.probabilities()
    assert (p.argmax(0).numpy() != numbers["D_labels"]).mean() <= 0.002
    used = torch.logit(p[[*range(11), 11, 12]])[:, ::4, ::4].numpy()
    assert np.abs(used - numbers["D_agg_logits"][:13]).max() < 1e-3


def test_objects_that_appear_in_mid_video(golden):
    """9 objects, three more at frame 3: one joins the first bank, two open a second one."""
    numbers, inputs, network = golden
    scene, pictures, labels = Scene(network), inputs["clip12_rgb"], inputs["clip12_lab"]
    new = fit(numbers["C_new_label"], (120, 180)).numpy()
    scene.encode(pictures[0])
    scene.reference(np.where(labels[0] <= 9, labels[0], 0), 9)
    for t in range(1, 7):
        scene.step(pictures[t])
        found = scene.probabilities().argmax(0).numpy()
        if t == 3:
            found = np.where(new == 0, found, new)
            scene.reference(fit(found), int(found.max()))
        assert (found != numbers["C_labels"][t - 1]).mean() <= 0.005, t
        scene.update(fit(found))
    lengths = [[c.long.layer(i).key.shape[1] for i in range(network.variant.layers)] for c in scene.tracker.cohorts]
    assert sorted(lengths) == sorted(numbers["C_lt_len"].tolist())


def test_flipped_view_on_its_own_memory(golden):
    """The flip of the official evaluator: each augmentation remembers its own labels, the output is the mean."""
    numbers, inputs, network = golden
    views, pictures, labels = [Scene(network), Scene(network)], inputs["clip2_rgb"], inputs["clip2_lab"]
    for view, flip in zip(views, (1, -1), strict=True):
        view.encode(pictures[0][:, ::flip])
        view.reference(labels[0][:, ::flip].copy(), 2)
    for t in range(1, 4):
        outputs = []
        for view, flip in zip(views, (1, -1), strict=True):
            view.step(pictures[t][:, ::flip])
            p = view.probabilities()
            outputs.append(p if flip > 0 else p.flip(2))
            view.update(fit(p.argmax(0)))
        mean = torch.stack(outputs).mean(0)
        assert (mean.argmax(0).numpy() != numbers["E_labels"][t - 1]).mean() <= 0.002, t
    assert np.abs(mean[:, ::3, ::3].numpy() - numbers["E_fused_last"]).max() < 1e-3


# Attention ---------------------------------------------------------------------------------------------------------


def naive_local(q, k, v, weight, bias, relative_v):
    """15x15 attention of one head, position by position: q, k [h, w, d], v [h, w, c]."""
    h, w, d = q.shape
    weight, bias = weight.view(15, 15, d), bias.view(15, 15)
    out = torch.zeros(h, w, v.shape[2])
    for y in range(h):
        for x in range(w):
            rows, columns = slice(max(y - 7, 0), y + 8), slice(max(x - 7, 0), x + 8)
            keys, values = k[rows, columns], v[rows, columns]
            at = slice(max(7 - y, 0), 7 + h - y), slice(max(7 - x, 0), 7 + w - x)  # the same offsets, 0 to 14
            shares = (keys @ q[y, x] / d**0.5 + weight[at] @ q[y, x] + bias[at]).flatten().softmax(0)
            if relative_v is not None:
                values = values + relative_v.view(-1, 15, 15).permute(1, 2, 0)[at]
            out[y, x] = shares @ values.flatten(0, 1)
    return out


@pytest.mark.parametrize(("size", "heads", "with_v"), [((9, 13), 2, True), ((8, 11), 1, False), ((1, 30), 1, False)])
@pytest.mark.parametrize("shared_weights", [False, True])
def test_local_attention_equals_a_loop_over_positions(size, heads, with_v, shared_weights):
    torch.manual_seed(0)
    (h, w), d, batch = size, 4, 2
    n, q_batch = h * w, 1 if shared_weights else batch
    q, k = torch.randn(2, q_batch, n, heads * d)
    v = torch.randn(batch, n, heads * d)
    weight, bias = torch.randn(heads * 225, d), torch.randn(heads * 225)
    relative_v = torch.randn(heads, d, 225) if with_v else None
    window = LocalWindow(size, CPU, torch.float32)
    (ours,) = window.attend(q, k, (v,), (weight, bias), relative_v)
    for b in range(batch):
        for head in range(heads):
            part, rows = slice(head * d, (head + 1) * d), slice(head * 225, (head + 1) * 225)
            maps = [x[b % len(x), :, part].view(h, w, d) for x in (q, k, v)]
            truth = naive_local(*maps, weight[rows], bias[rows], relative_v[head] if with_v else None)
            assert torch.allclose(ours[b, :, part].view(h, w, d), truth, atol=2e-5)


@pytest.mark.parametrize(("q_batch", "heads"), [(1, 1), (3, 1), (1, 2), (3, 2)])
def test_attention_equals_its_definition(q_batch, heads, monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 1)  # several blocks of queries
    torch.manual_seed(0)
    q, k = torch.randn(q_batch, 300, 8), torch.randn(q_batch, 50, 8)
    values = torch.randn(3, 50, 8), torch.randn(q_batch, 50, 8)
    found = attend(q, k, values, heads)
    for v, x in zip(values, found, strict=True):
        for b in range(len(v)):
            for c in torch.arange(8).chunk(heads):
                scores = q[b % q_batch][:, c] @ k[b % q_batch][:, c].t() / len(c) ** 0.5
                assert torch.allclose(x[b][:, c], scores.softmax(1) @ v[b][:, c], atol=1e-5)
        if heads == 1:  # the way that a GPU takes
            assert torch.allclose(attention._attend_slices(q, k, v), x, atol=1e-5)


# Memory ------------------------------------------------------------------------------------------------------------


def frame(value, n=2):
    return [Tokens(torch.full((1, n, 1), float(value)), (torch.full((2, n, 3), float(value)),))]


def test_memory_is_bounded_and_keeps_references():
    memory = LongTermMemory(3)
    kept = lambda: sorted(set(memory.layer(0).key.flatten().tolist()))  # noqa: E731
    memory.append(frame(0), reference=True)
    for t in range(1, 6):
        memory.append(frame(t), reference=False)
    assert kept() == [0, 4, 5] and len(memory) == 3
    buffer = memory.layers[0].key
    memory.append(frame(6), reference=True)
    memory.append(frame(7), reference=False)
    assert kept() == [0, 6, 7] and memory.layers[0].key is buffer
    memory.append(frame(8), reference=True)
    memory.append(frame(9), reference=False)  # only references left: an ordinary frame finds no place
    assert kept() == [0, 6, 8]
    memory.append(frame(10), reference=True)  # the first reference stays
    assert kept() == [0, 8, 10]
    assert memory.rows([1]).layer(0).values[0].shape == (1, 6, 3)


def test_a_memory_of_one_frame_is_the_reference():
    memory = LongTermMemory(1)
    memory.append(frame(0), reference=True)
    memory.append(frame(1), reference=False)
    assert memory.layer(0).key.flatten().tolist() == [0, 0]


def test_memories_of_unequal_length_answer_as_one_batch():
    torch.manual_seed(0)
    parts = [(b, Tokens(torch.randn(b, m, 4), (torch.randn(b, m, 4),))) for b, m in ((2, 5), (1, 9))]
    q = torch.randn(3, 7, 4)
    (found,) = RaggedMemory(parts).read(q)
    assert torch.equal(found[:2], parts[0][1].read(q[:2])[0]) and torch.equal(found[2:], parts[1][1].read(q[2:])[0])


@pytest.mark.parametrize("name", ["aots", "deaots"])
@pytest.mark.parametrize("batch", [16, 2])
def test_a_bank_does_not_depend_on_its_company(name, batch, checkpoints):
    """Different key frames, a later second reference, one or several passes: the same logits as separately."""
    rng = np.random.default_rng(0)
    network = load_network(checkpoints(name))
    pictures = rng.integers(0, 256, (5, 65, 81, 3), dtype=np.uint8)
    labels = torch.from_numpy((rng.random((5, 4, 65, 81)) < 0.4).astype(np.int64))
    references = {0: (0, 1), 1: (2,), 2: (3, 1)}  # {frame: banks}
    with torch.no_grad():
        features = [network.encode(normalised(p)) for p in pictures]

    def run(banks):
        tracker, found = Tracker(network, 2, batch=batch), {}
        for t in range(5):
            given = [b for b in references.get(t, ()) if b in banks]
            logits = tracker.step(features[t], without=given)
            order = [b for b in tracker.banks if b not in given]
            if logits is not None:
                found |= {(t, b): x for b, x in zip(order, logits, strict=True)}
                tracker.update(labels[t, order])
            if given:
                tracker.reference(features[t], labels[t, given], given, [1] * len(given))
        return found

    together = run({0, 1, 2, 3})
    assert sorted(together) == [(1, 0), (1, 1), (2, 0), (2, 2), *((t, b) for t in (3, 4) for b in range(4))]
    for bank in range(4):
        alone = run({bank})
        assert all(torch.allclose(x, together[key], atol=2e-5) for key, x in alone.items())
        assert len(alone) == sum(b == bank for _, b in together)


# Encoders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["aott", "r50_aotl"])
def test_folding_batch_norms_changes_nothing(name):
    network = VOSNetwork(VARIANTS[name])
    network.load_state_dict(weights_of(name))
    image = torch.randn(1, 3, 49, 65)
    with torch.no_grad():
        before = network.encoder(image)
        after = network.fold().encoder(image)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(before, after, strict=True))
    assert not any("running_var" in k for k in network.state_dict())


@pytest.mark.parametrize("name", VARIANTS)
def test_features_have_the_strides_of_the_variant(name):
    variant = VARIANTS[name]
    h, w = (49, 65) if variant.align_corners else (48, 64)
    with torch.device("meta"):
        maps = meta_network(name).encoder(torch.empty(1, 3, h, w))
    for x, channels, stride in zip(maps, variant.channels, (4, 8, 16, 16), strict=True):
        assert x.shape == (1, channels, -(-h // stride), -(-w // stride))


# Checkpoints -------------------------------------------------------------------------------------------------------


def layouts(weights):
    prefixed = {f"module.{k}": v for k, v in weights.items()}
    return {
        "official": {"state_dict": weights, "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}},
        "with scaler": {"state_dict": weights, "optimizer": {}, "scaler": {"scale": 65536.0, "_growth_tracker": 1}},
        "bare": weights,
        "distributed": {"state_dict": prefixed},
        "bare distributed": prefixed,
        "model": {"model": weights},
        "average": {"ema": weights, "state_dict": {k: torch.zeros_like(v) for k, v in weights.items()}},
        "half": {k: v.half() if v.is_floating_point() else v for k, v in weights.items()},
        "batch norms not frozen": {**weights, "encoder.features.0.1.num_batches_tracked": torch.tensor(7)},
    }


@pytest.mark.parametrize("layout", layouts({}))
def test_every_layout_loads(layout, tmp_path):
    weights = weights_of("aott")
    torch.save(layouts(weights)[layout], tmp_path / "w.pth")
    network = load_network(tmp_path / "w.pth")
    assert network.variant.name == "aott" and not network.training
    found = network.state_dict()["LSTT.layers.0.linear_Q.weight"]
    assert torch.allclose(found, weights["LSTT.layers.0.linear_Q.weight"], atol=1e-3 if layout == "half" else 0)


def test_an_old_pickle_format_loads(tmp_path):
    torch.save({"state_dict": weights_of("aott")}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert load_network(tmp_path / "w.pth").variant.name == "aott"


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_recognised(name):
    names = recognise_variants(meta_network(name).state_dict())
    twins = {"aotb": ["aotb", "aotl"], "aotl": ["aotb", "aotl"]}
    twins |= {f"de{k}": [f"de{n}" for n in v] for k, v in twins.items()}
    assert names == twins.get(name, [name])


def test_b_is_taken_when_asked_for(checkpoints):
    assert load_network(checkpoints("aotb"), VARIANTS["aotb"]).variant.memory_gap is None


@pytest.mark.parametrize(("name", "variant"), [("AOTB_PRE_YTB_DAV.pth", "aotb"), ("my_aotb.pth", "aotl")])
def test_b_is_taken_where_the_file_is_called_as_the_official_one(checkpoints, tmp_path, name, variant):
    shutil.copy(checkpoints("aotb"), tmp_path / name)
    assert load_network(tmp_path / name).variant.name == variant


class Bomb:
    def __reduce__(self):
        return print, ("code in a pickle ran",)


def damage(kind, path):
    """Writes a file of that kind."""
    weights = weights_of("aott")
    if kind == "truncated":
        torch.save({"state_dict": weights}, path)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "code":
        torch.save({"state_dict": weights, "extra": Bomb()}, path)
    elif kind == "plain pickle with code":
        path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    elif kind == "other network":
        torch.save({"state_dict": {"backbone.conv.weight": torch.zeros(3)}}, path)
    elif kind == "no tensors":
        torch.save({"epoch": 3}, path)
    elif kind == "picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "missing and unknown":
        weights["decoder.more.weight"] = weights.pop("decoder.conv_out.weight")
        torch.save(weights, path)
    elif kind == "shape":
        torch.save({**weights, "decoder.conv_out.weight": torch.zeros(6, 128, 1, 1)}, path)
    elif kind == "four layers":
        extra = {
            k.replace("layers.0", f"layers.{i}"): v for k, v in weights.items() if "layers.0" in k for i in (1, 2, 3)
        }
        torch.save({**weights, **extra}, path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "cut short or damaged"),
        ("code", "a pickle that calls"),
        ("plain pickle with code", "it was not loaded"),
        ("other network", "holds other weights (backbone.conv.weight"),
        ("no tensors", "expected a checkpoint with tensors by name"),
        ("picture", "not a checkpoint"),
        ("empty", "not a checkpoint"),
        ("none", "no such file"),
        ("missing and unknown", "weights are missing: decoder.conv_out.weight"),
        ("missing and unknown", "unknown weights are in it: decoder.more.weight"),
        ("shape", "decoder.conv_out.weight has shape (6, 128, 1, 1), expected (11, 128, 1, 1)"),
        ("four layers", "none of the known ones"),
    ],
)
def test_bad_files_are_named(kind, words, tmp_path, capsys):
    path = tmp_path / "w.pth"
    damage(kind, path)
    with pytest.raises(InputError) as error:
        load_network(path)
    assert words in str(error.value) and str(path) in str(error.value)
    assert "ran" not in capsys.readouterr().out


def test_another_variant_than_expected_is_named(checkpoints):
    with pytest.raises(InputError, match=r"aott\.pth: holds weights of aott, expected r50_deaotl"):
        load_network(checkpoints("aott"), VARIANTS["r50_deaotl"])


def test_variants_are_found_by_the_papers_names():
    assert find_variant("SwinB-DeAOTL").encoder == "swin_base"
    with pytest.raises(InputError, match="no DEAOT variant is called 'aott'"):
        find_variant("aott", "deaot")


def test_features_of_shared_weights_stay_shared():
    """In the first block, tensors that depend on the image alone have batch size 1 for any number of sequences."""
    network = VOSNetwork(VARIANTS["deaots"]).fold()
    with torch.no_grad():
        features = network.encode(torch.randn(1, 3, 49, 65))
        _, tokens = network.refer(features, network.identify(torch.ones(3, 49, 65, dtype=torch.long), 1))
    assert [len(tokens[0].key), *map(len, tokens[0].values)] == [1, 1, 3]
    assert [len(tokens[1].key), *map(len, tokens[1].values)] == [3, 3, 3]
    assert F.cosine_similarity(*tokens[1].key[:2], dim=1).min() > 0.999  # the same masks: the same memories


@pytest.mark.parametrize(("size", "batch"), [((31, 54), 1), ((2, 3), 2), ((2, 2), 1)])
def test_enlarging_and_filtering_in_one_is_the_same_as_in_turns(size, batch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 6, *size, generator=generator)
    weight = torch.randn(5, 6, 3, 3, generator=generator)
    large = (2 * size[0] - 1, 2 * size[1] - 1)
    add = torch.randn(1, 5, *large, generator=generator)
    grown = F.interpolate(x, size=large, mode="bilinear", align_corners=True)
    expected = F.conv2d(grown, weight, padding=1) + add
    assert torch.allclose(UpsampleConv(weight)(x, add), expected, atol=2e-5)
