"""The grounding network and its step: Eq. 4-6 against naive loops, batches, files, faults, training, and a recipe."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.tiny import make_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding.grounding import Grounding
from rvos_ensemble.adapters.networks.grounding.tracklets import masked_average, paths_of, shares
from rvos_ensemble.adapters.networks.grounding.variants import VARIANTS, GroundingVariant
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.training import grounding as training
from rvos_ensemble.adapters.training.grounding.task import TrackletClips
from rvos_ensemble.adapters.training.grounding.tracklets import simulate
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.ensemble.steps.ground import Ground
from rvos_ensemble.ensemble.steps.parts.grounder import Grounder
from rvos_ensemble.propagators.core.key_frames import uniform

NANO = VARIANTS["grounding_nano"]
H, W, T = 48, 64, 5


class Noise:
    """Frames of noise."""

    size = (H, W)

    def read(self, t):
        return np.random.default_rng(t).integers(0, 256, (H, W, 3), np.uint8)

    def fingerprint(self):
        return "noise"


CLIP = Clip("v", tuple(map(str, range(T))), tuple(Expression("v", str(i), s) for i, s in enumerate(
    ("the red star", "the one that turns back", "the thing"))), Noise())  # fmt: skip


def opened(path):
    return open_checkpoint(path, "grounding")


def tracklets(n=4, seed=0) -> Objects:
    random = np.random.default_rng(seed)
    found = Objects()
    for i in range(n):
        masks = np.zeros((T, H, W), bool)
        for t in range(T):
            y, x = random.integers(0, H - 20), random.integers(0, W - 20)
            masks[t, y : y + random.integers(5, 20), x : x + random.integers(5, 20)] = True
        found[f"s/{i}"] = MaskSequence.binary(masks, random.random(T))
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """seed, variant -> a file with random weights, not all small: answers differ."""

    def make(seed=0, variant="grounding_nano"):
        path = tmp_path_factory.mktemp("weights") / f"{variant}_{seed}.safetensors"
        torch.manual_seed(seed)
        network = VARIANTS[variant].network()
        with torch.no_grad():
            for weight in network.parameters():
                weight += 0.2 * torch.randn_like(weight)
        save_file(network.state_dict(), path)
        return str(path)

    return make


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99)
)
def test_masked_average_is_equation_4(t, p, c, h, w, seed):
    random = np.random.default_rng(seed)
    features = random.normal(size=(t, c, h, w)).astype(np.float32)
    masks = (random.random((t, p, h, w)) * (random.random((t, p, h, w)) < 0.5)).astype(np.float32)
    expected = np.zeros((t, p, c))
    for i, j, k in np.ndindex(t, p, c):
        total = area = 0.0
        for y, x in np.ndindex(h, w):
            total += float(masks[i, j, y, x]) * float(features[i, k, y, x])
            area += float(masks[i, j, y, x])
        expected[i, j, k] = total / area if area else 0.0
    found = masked_average(torch.from_numpy(features), torch.from_numpy(masks)).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def naive_logits(network: Grounding, objects, words: Text, paths):
    """Eq. 5 and 6 one expression, frame and token at a time, in float64, from the weights by name."""
    w = {k: v.double().numpy() for k, v in network.state_dict().items()}

    def linear(x, name):
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    def mlp(x, name):
        return linear(np.maximum(linear(x, f"{name}.layers.0"), 0), f"{name}.layers.1")

    def norm(x, name):
        return (x - x.mean()) / math.sqrt(x.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attend(tokens, name, heads):
        size = len(tokens[0]) // heads
        rows, bias = w[f"{name}.in_proj_weight"], w[f"{name}.in_proj_bias"]
        q, k, v = ([part @ x + b for x in tokens] for part, b in zip(np.split(rows, 3), np.split(bias, 3), strict=True))
        found = []
        for i in range(len(tokens)):
            out = np.zeros_like(tokens[0])
            for h in range(heads):
                s = slice(h * size, (h + 1) * size)
                weight = np.array([math.exp(q[i][s] @ k[j][s] / math.sqrt(size)) for j in range(len(tokens))])
                out[s] = sum(a * v[j][s] for j, a in enumerate(weight / weight.sum()))
            found.append(linear(out, f"{name}.out_proj"))
        return found

    result = np.zeros((len(words), len(objects), objects.shape[1]))
    for e, t in np.ndindex(result.shape[:2]):
        tokens = [o + w["modality.weight"][0] for o in objects[t].double().numpy()]
        tokens = [x + mlp(path.double().numpy().ravel(), "path") for x, path in zip(tokens, paths, strict=True)]
        seen = words.states[e][~words.padding[e]].double().numpy()
        sentence = [x + w["modality.weight"][1] for x in seen]
        if network.encoder is None:
            outputs = [x + sum(sentence) / len(sentence) for x in tokens]
        else:
            outputs = tokens + sentence
            for n, layer in enumerate(network.encoder.layers):
                name = f"encoder.layers.{n}"
                mixed = attend(outputs, f"{name}.self_attn", layer.self_attn.num_heads)
                outputs = [norm(x + y, f"{name}.norm1") for x, y in zip(outputs, mixed, strict=True)]
                inner = [np.maximum(linear(x, f"{name}.linear1"), 0) for x in outputs]
                outputs = [
                    norm(x + linear(y, f"{name}.linear2"), f"{name}.norm2") for x, y in zip(outputs, inner, strict=True)
                ]
        result[e, t] = [mlp(x, "head")[0] for x in outputs[: len(tokens)]]
    return result


@pytest.mark.parametrize("variant", ["grounding_nano", "grounding_match_nano"])
def test_the_network_is_equations_5_and_6(weights, variant):
    network = opened(weights(1, variant)).network()
    objects, states = torch.randn(3, 4, 64), torch.randn(2, 5, 64)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    paths = torch.rand(4, network.points, 4)
    found = network(objects, Text(states, padding), paths)
    expected = naive_logits(network, objects, Text(states, padding), paths)
    assert np.abs(found.numpy() - expected).max() < 1e-4 * np.abs(expected).max()
    steps = network(objects, Text(states, padding), paths, step=2)
    assert torch.allclose(found, steps, atol=1e-5), "frames at once are a matter of memory"


def test_paths_are_where_the_masks_are():
    masks = np.zeros((8, 2, 4, 8), np.float32)
    masks[:4, 0, 0, 0] = 1  # in the upper left corner, then gone
    masks[:, 1] = 1  # everywhere
    found = paths_of(torch.from_numpy(masks), 4).numpy()
    assert np.allclose(found[0, :2], [-1, -1, math.sqrt(1 / 32), 1]) and not found[0, 2:].any()
    assert np.allclose(found[1], [0, 0, 1, 1], atol=1e-6)


def test_shares_of_cells():
    mask = np.zeros((16, 16), bool)
    mask[:8, :4] = True
    assert shares(mask, (2, 2)).tolist() == [[0.5, 0], [0, 0]]


def test_the_published_network_has_the_published_geometry():
    with torch.device("meta"):
        network = VARIANTS["grounding"].network()
    assert network.visual_proj.weight.shape == (768, 2048) and len(network.encoder.layers) == 4
    assert {layer.self_attn.num_heads for layer in network.encoder.layers} == {12}
    assert network.text_encoder.config.hidden_size == 768 and network.path is None
    assert network.map_size((360, 640)) == (12, 20)


# ----------------------------------------------------------------------------------------------------------- the step
def test_grounding_is_the_mean_over_frames_of_a_softmax_over_tracklets(weights):
    path, objects = weights(), tracklets()
    grounder = Grounder([path], device="cpu")
    found = grounder.probabilities(CLIP, objects)
    assert found.shape == (3, T, 4) and np.allclose(found.sum(2), 1, atol=1e-5)
    prediction = Ground("g", input="t", weights=path, device="cpu").run(CLIP, {"t": objects})
    for e, p in zip(CLIP.expressions, found.mean(1), strict=True):
        best = list(objects)[p.argmax()]
        assert prediction[e.id].masks is objects[best].masks
        assert prediction[e.id].notes["object"] == best
        assert prediction[e.id].notes["probability"] == pytest.approx(p.max(), abs=1e-4)


def test_frames_and_expressions_at_once_change_nothing(weights):
    path, objects = weights(), tracklets()
    whole = Grounder([path], device="cpu").probabilities(CLIP, objects)
    pieces = Grounder([path], device="cpu", frames_per_step=2).probabilities(CLIP, objects)
    assert np.allclose(whole, pieces, atol=1e-5)
    for i, e in enumerate(CLIP.expressions):  # padding of shorter sentences changes nothing either
        alone = Clip("v", CLIP.frames, (e,), CLIP.images)
        assert np.allclose(whole[i], Grounder([path], device="cpu").probabilities(alone, objects)[0], atol=1e-5)


def test_looking_at_some_frames_is_a_clip_of_those(weights):
    path, objects = weights(), tracklets()
    few = uniform(T, 3)

    class Few(Noise):
        def read(self, t):
            return super().read(few[t])

    clip = Clip("v", tuple(CLIP.frames[t] for t in few), CLIP.expressions, Few())
    cut = Objects({k: MaskSequence.binary([s.mask(t) for t in few], s.scores[few]) for k, s in objects.items()})
    expected = Grounder([path], device="cpu").probabilities(clip, cut)
    assert np.allclose(Grounder([path], device="cpu").probabilities(CLIP, objects, 3), expected, atol=1e-5)
    prediction = Ground("g", input="t", weights=path, frames=3, device="cpu").run(CLIP, {"t": objects})
    for e, p in zip(CLIP.expressions, expected.mean(1), strict=True):
        assert prediction[e.id].notes["probability"] == pytest.approx(p.max(), abs=1e-4)


def test_an_ensemble_is_the_mean_of_its_members(weights):
    a, b, objects = weights(0), weights(1, "grounding_match_nano"), tracklets()
    one, two, both = (Grounder(w, device="cpu").probabilities(CLIP, objects) for w in ([a], [b], [a, b]))
    assert np.allclose(both, (one + two) / 2, atol=1e-6)
    assert not np.allclose(one, two, atol=1e-2)


def test_the_order_of_tracklets_does_not_matter(weights):
    grounder, objects = Grounder([weights()], device="cpu"), tracklets()
    turned = Objects(reversed(objects.items()))
    found = grounder.probabilities(CLIP, objects)
    assert np.allclose(found[..., ::-1], grounder.probabilities(CLIP, turned), atol=1e-5)


def test_each_frame_chooses_among_what_it_has(weights):
    objects = tracklets(3)
    bare = objects["s/0"].with_(masks=np.zeros((T, H, W), bool))
    some = np.stack([objects["s/1"].mask(t) & (t == 2) for t in range(T)])
    there = Objects({"s/0": bare, "s/1": objects["s/1"].with_(masks=some)})
    step = Ground("g", input="o", weights=weights(), each_frame=True, device="cpu")
    for sequence in step.run(CLIP, {"o": there}).values():
        for t in range(T):
            assert np.array_equal(sequence.mask(t), some[t])
            assert sequence.scores[t] == (t == 2), "the only one that is there is certain"


def test_a_clip_without_objects_has_empty_masks(weights):
    step = Ground("g", input="o", weights=weights(), device="cpu")
    for sequence in step.run(CLIP, {"o": Objects()}).values():
        assert not sequence.scores.any() and not any(sequence.mask(t).any() for t in range(T))


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"weights": "nowhere.pth"}, "no such file"),
        ({"weights": []}, "must be given"),
        ({"weights": "grounding_nano", "frames": 0}, "expected a whole number of at least 1"),
        ({"weights": "grounding_nano", "device": "tpu"}, "expected auto, cpu, cuda"),
        ({"weights": "grounding_nano", "tokenizer": "nowhere"}, "no tokenizer there"),
        ({"weights": "grounding_nano", "wieghts": 1}, "did you mean `weights`"),
    ],
)
def test_bad_settings_are_told_before_anything_is_computed(given_, message):
    with pytest.raises(InputError, match=message):
        Ground("g", input="o", **given_)


def test_other_weights_are_refused(tmp_path, weights):
    state = VARIANTS["grounding_nano"].network().state_dict()
    torch.save({"state_dict": state}, tmp_path / "whole.pth")
    assert opened(tmp_path / "whole.pth").variant == NANO
    torch.save({k: v for k, v in state.items() if k != "head.layers.1.bias"}, tmp_path / "part.pth")
    with pytest.raises(InputError, match=r"weights are missing: head\.layers\.1\.bias"):
        opened(tmp_path / "part.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"expected a checkpoint of `run_ensemble\.py train grounding`"):
        opened(tmp_path / "other.pth")


def test_roberta_and_other_encoders_are_recognised(tmp_path):
    variant = GroundingVariant("resnet50", 128, 1, 0, text.ROBERTA, 112, 1, 64)
    torch.save(variant.network().state_dict(), tmp_path / "r.pth")
    assert opened(tmp_path / "r.pth").variant == variant


# ----------------------------------------------------------------------------------------------------------- training
TINY = {"variant": "grounding_nano", "size": [48, 80], "dropout": 0.0, "held_out": 2, "looks": 2, "frames": 4}


def test_simulated_tracklets_are_the_objects_and_what_no_sentence_means():
    ids = np.zeros((4, 40, 60), np.uint8)
    ids[:, 5:20, 5:20], ids[:, 20:35, 30:50] = 1, 2
    for seed in range(10):
        found = simulate(ids, np.random.default_rng(seed))
        assert found.shape[0] == 4 and found.shape[1] >= 2 and found.dtype == bool
        for i in (0, 1):
            for t in range(4):
                if found[t, i].any():
                    true = ids[t] == i + 1
                    assert (found[t, i] & true).sum() / (found[t, i] | true).sum() > 0.6


def test_items_depend_on_seed_and_number_alone():
    a, b = (training.make_task("grounding", {**defaults_of(training.DEFAULTS), **TINY}, None) for _ in range(2))
    one, two = a.training_clips[5], b.training_clips[5]
    assert torch.equal(one.images, two.images) and torch.equal(one.masks, two.masks) and one.rows == two.rows
    assert not torch.equal(a.training_clips[6].images, one.images)
    assert one.images.shape == (2, 3, 48, 80) and one.masks.shape[2:] == (6, 10)
    assert int(one.target.max()) < one.masks.shape[1] and len(one.rows) == len(one.target)


def test_training_learns_a_clip_by_heart(tmp_path):
    task = training.make_task("grounding", {**defaults_of(training.DEFAULTS), **TINY}, None)
    item = task.training_clips[0]
    task.training_clips = [item] * 1000
    options = {"steps": 60, "batch": 1, "optimizer": "adam", "lr": 2e-3, "warmup": 0.1, "ema": 0.0, "device": "cpu"}
    loop.fit(task, {**options, "validate_every": 60}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.2 < rows[0]["loss"]
    checkpoint = opened(tmp_path / "weights.pth")
    network = checkpoint.network()
    assert checkpoint.variant == NANO
    assert opened(checkpoint.export(tmp_path / "small.safetensors")).variant == NANO
    choice = task.logits(network, vars(item)).softmax(2).mean(1).argmax(1)
    assert torch.equal(choice, item.target)


def test_the_command_trains_it(tmp_path, capsys):
    settings = "variant=grounding_match_nano size=[48,80] frames=4 looks=2 steps=2 batch=1 held_out=2 device=cpu"
    assert run_ensemble.main(["train", "grounding", *settings.split(), f"out={tmp_path}"]) == 0
    assert opened(tmp_path / "weights.pth").variant == VARIANTS["grounding_match_nano"]
    assert "Accuracy" in capsys.readouterr().out


def test_the_shipped_network_is_well_above_chance():
    """Held-out test clips; chance is 1 / number of tracklets."""
    settings_ = {**defaults_of(training.DEFAULTS), **TINY, "size": [90, 160], "looks": 4, "frames": 8, "held_out": 12}
    task = training.make_task("grounding", settings_, None)
    task.held_out = TrackletClips(task, 7, "test")
    found = task.validate(opened("grounding_nano").network())
    assert found["Accuracy"] > 0.6 and found["Chance"] < 0.3


# ----------------------------------------------------------------------------------------------------------- a recipe
RECIPE = """# Top-down on a tiny benchmark.
data: {{dataset: ref_youtube_vos, root: {root}, split: valid}}
sources: {{proposals: {{adapter: simulated_proposals}}}}
propagators: {{flow: {{}}}}
steps:
  image_level: {{op: ground, input: proposals, weights: grounding_nano, each_frame: true}}
  candidates: {{op: candidates, inputs: proposals, k: 2}}
  tracks: {{op: propagate, input: candidates, with: flow, key_frame: given}}
  tracklets: {{op: tracklets, input: tracks, scores_from: candidates}}
  topdown: {{op: ground, input: tracklets, weights: grounding_nano}}
output: topdown
engine: {{workers: 1}}
"""


@pytest.fixture
def topdown(tmp_path):
    tiny = make_tiny(tmp_path, ("a",))
    tiny.recipe.write_text(RECIPE.format(root=tiny.root))
    meta = tiny.root / "meta_expressions" / "valid" / "meta_expressions.json"
    meta.write_text(re.sub(r"block \d", "the red disc", meta.read_text()))
    return tiny


def test_other_networks_have_another_fingerprint():
    one, other = (Grounder([name]).fingerprint for name in ("grounding_nano", "grounding_nano_1"))
    both = Grounder(["grounding_nano", "grounding_nano_1"]).fingerprint
    assert len({one, other, both}) == 3 and one == Grounder(["grounding_nano"]).fingerprint


def test_words_that_a_small_network_does_not_know_are_told_before_the_run(topdown, capsys):
    meta = topdown.root / "meta_expressions" / "valid" / "meta_expressions.json"
    meta.write_text(meta.read_text().replace("the red disc", "a person on a horse", 1))
    assert run_ensemble.main(["check", *topdown.arguments]) == 2
    told = capsys.readouterr()
    assert "step topdown: clip 'a': grounding_nano knows only the words of `shapes`" in told.out + told.err
    assert "a person on a horse" in told.out + told.err


def test_the_recipe_runs_resumes_and_reports(topdown, capsys):
    assert run_ensemble.main(topdown.arguments) == 0
    printed = capsys.readouterr().out
    assert "topdown" in printed and "<- output" in printed and "tracks" not in printed.split("grounded")[0]
    scores = json.loads((topdown.out / "metrics.json").read_text())["steps"]
    assert set(scores) == {"image_level", "topdown"}, "objects have no score of their own"
    page = (topdown.out / "report.html").read_text()
    assert "topdown" in page
    assert run_ensemble.main(topdown.arguments) == 0
    assert "0 clips done, 1 reused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("output=tracklets", "output tracklets gives masks of objects, expected expressions"),
        ("steps.topdown.input=image_level", "input image_level gives masks of expressions, expected objects"),
        ("steps.vote={op: vote, inputs: [tracks, topdown], threshold: 1}", "input tracks gives masks of objects"),
        ("steps.tracks.scores_from=[topdown]", "gives masks of"),
    ],
)
def test_objects_and_expressions_are_not_mixed(topdown, capsys, change, message):
    if change.startswith("steps.tracks"):
        change = "steps.tracks.scores_from=[image_level]"
    assert run_ensemble.main([*topdown.arguments, change]) == 2
    assert message in capsys.readouterr().err


def test_ablations_of_the_recipe(topdown, capsys):
    assert run_ensemble.main(["ablate", *topdown.arguments, "ablate.tracklets.keep=[1,2]"]) == 0
    assert "keep" in capsys.readouterr().out


def test_the_ladder_of_a_recipe_of_objects(topdown, capsys):
    """Steps that give objects have no score and are no rung; what the output does not need is not taken out."""
    assert run_ensemble.main(["ablate", *topdown.arguments, "ablate=steps"]) == 0
    printed = capsys.readouterr().out
    rows = pd.read_csv(topdown.out / "ablation.csv").label.tolist()
    assert rows[1:3] == ["+ image_level: ground", "+ topdown: ground"] and "without tracklets" in rows
    assert not {"+ tracks: propagate", "without image_level"} & set(rows)
    assert "without topdown the recipe does not hold: output tracklets gives masks of objects" in printed


def test_sources_of_objects_are_left_out_but_not_scored(topdown):
    """Their names are numbers, as those of expressions are, and mean something else."""
    two = ["sources.more={adapter: simulated_proposals, seed: 1}", "steps.candidates.inputs=[proposals,more]"]
    assert run_ensemble.main(["ablate", *topdown.arguments, *two, "ablate=sources"]) == 0
    rows = pd.read_csv(topdown.out / "ablation.csv")
    assert rows.label.tolist()[1:] == [f"{what} {n}" for what in ("without", "only") for n in ("proposals", "more")]
    assert set(rows.expressions) == {3}


@pytest.mark.slow
def test_the_shipped_recipe_climbs_its_ladder(tmp_path):
    """Held-out clips: tracklets are worth more than frames, and NMS does not cost what they gained."""
    arguments = ["recipe=topdown", f"out={tmp_path / 'out'}", f"data.root={tmp_path / 'shapes'}", "data.clips=4"]
    assert run_ensemble.main(arguments) == 0
    scores = {k: v["J&F"] for k, v in json.loads((tmp_path / "out/metrics.json").read_text())["steps"].items()}
    assert scores["image_level"] < scores["image_level_aot"] < scores["topdown"], scores
