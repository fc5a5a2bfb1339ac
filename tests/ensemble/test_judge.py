"""The judge: its network against naive loops, its training samples, its files, and the step `judge`."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.ops import OPS
from safetensors.torch import save_file

import run_ensemble
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.networks.grounding.judge import Judge
from rvos_ensemble.adapters.networks.grounding.variants import JUDGES
from rvos_ensemble.adapters.training import judge as training
from rvos_ensemble.adapters.training.judge.samples import MevisReferring, ReferringClip, RenderedReferring, tracklets_of
from rvos_ensemble.adapters.training.judge.task import area_under_curve
from rvos_ensemble.adapters.training.loop import loop

SIZE, T = (48, 64), 6
TINY = {"variant": "judge_nano", "size": [48, 80], "dropout": 0.0, "held_out": 2, "looks": 2, "frames": 6}
TEXTS = ("the red star", "the one that turns back", "the disc that moves up and the blue one")
IMAGES = SimpleNamespace(
    size=SIZE,
    read=lambda t: np.random.default_rng(t).integers(0, 256, (*SIZE, 3), np.uint8),
    fingerprint=lambda: "noise",
)
CLIP = Clip("v", tuple(map(str, range(T))), tuple(Expression("v", str(i), s) for i, s in enumerate(TEXTS)), IMAGES)


def network(seed=0) -> Judge:
    torch.manual_seed(seed)
    judge = Judge(JUDGES["judge_nano"].network())
    with torch.no_grad():
        for weight in judge.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return judge.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    save_file(network().state_dict(), path)
    return str(path)


def box(top, left, frames=range(T), side=12) -> MaskSequence:
    masks = np.zeros((T, *SIZE), bool)
    for t in frames:
        masks[t, top : top + side, left + 2 * t : left + 2 * t + side] = True
    return MaskSequence.binary(masks)


# ------------------------------------------------------------------------------------------------------------ network
def inputs(p=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    judge = network()
    masks = torch.rand(4, p, 6, 8, generator=random) * (torch.rand(4, p, 1, 1, generator=random) < 0.7)
    masks[0] = torch.rand(p, 6, 8, generator=random)  # every tracklet is visible somewhere
    frames = torch.randn(4, 3, *SIZE, generator=random)
    words = judge.matcher.words([[2, 5, 20, 3], [2, 5, 6, 8, 40, 3]], JUDGES["judge_nano"].language)
    return judge, frames, masks, words, torch.randn(p, judge.matcher.points, 4, generator=random)


@torch.no_grad()
def test_a_tracklet_is_the_mean_of_the_frames_that_show_it():
    judge, frames, masks, words, paths = inputs()
    pooled = judge.pool(frames, masks)
    per_frame = judge.matcher.pool(frames, masks)
    for p in range(masks.shape[1]):
        shown = [t for t in range(4) if masks[t, p].sum() > 0]
        assert pooled[:, p, -1].tolist() == [float(t in shown) for t in range(4)]
        mean = sum(per_frame[t, p] for t in shown) / len(shown)
        got = pooled[:, p, :-1].sum(0) / pooled[:, p, -1].sum()
        assert torch.allclose(got, mean, atol=1e-5)
    objects = torch.stack([pooled[:, p, :-1].sum(0) / pooled[:, p, -1].sum() for p in range(3)])
    matches, presence = judge(pooled, words, paths)
    assert torch.allclose(matches, judge.matcher(objects[None], words, paths)[:, 0], atol=1e-5)
    expected = [judge.scale * max(row.tolist()) + judge.bias for row in matches]
    assert torch.allclose(presence, torch.stack(expected), atol=1e-5)


@torch.no_grad()
def test_the_order_of_tracklets_does_not_matter():
    judge, frames, masks, words, paths = inputs()
    _, presence = judge(judge.pool(frames, masks), words, paths)
    _, other = judge(judge.pool(frames, masks[:, [2, 0, 1]]), words, paths[[2, 0, 1]])
    assert torch.allclose(presence, other, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------ samples
def test_matches_of_tracklets():
    ids = np.zeros((T, 40, 60), np.uint8)
    ids[:, 5:15, 5:15], ids[:, 20:30, 30:45], ids[:, 5:15, 40:55] = 1, 2, 3
    expressions = [("one", (1,)), ("two", (2, 3)), ("nothing", ())]
    for seed in range(8):
        masks, match = tracklets_of(
            ReferringClip(np.zeros((T, 40, 60, 3), np.uint8), ids, expressions),
            expressions,
            np.random.default_rng(seed),
        )
        assert masks.shape[:2] == (T, match.shape[1]) and masks.shape[2:] == (40, 60) and match.shape[0] == 3
        assert match.sum(1).tolist() == [1, 3, 0], "an object; two objects and their union; nothing"
        for e, (_, own) in enumerate(expressions):
            for p in np.flatnonzero(match[e]):
                inside = ids[masks[:, p]]
                assert np.isin(inside, own).mean() > 0.7, "the outline may be wrong, but not the object"


@pytest.mark.parametrize("split", ["train", "val"])
def test_rendered_samples_depend_on_seed_and_number_alone(split):
    clips = RenderedReferring(3, 6, (48, 80), split)
    one, again, other = clips[4], RenderedReferring(3, 6, (48, 80), split)[4], clips[5]
    assert np.array_equal(one.images, again.images) and one.expressions == again.expressions
    assert not np.array_equal(one.images, other.images)
    counts = [len(own) for _, own in one.expressions]
    assert counts.count(0) == len(counts) / 2 and max(counts) >= 2, "half refer to nothing, some to several objects"
    assert {k for _, own in one.expressions for k in own} <= set(range(1, int(one.ids.max()) + 1))


def test_samples_of_a_folder_in_the_layout_of_mevis(tmp_path):
    Shapes(root=str(tmp_path), benchmark="mevis", split="train", clips=2, frames=8, size=[64, 96]).prepare()
    (tmp_path / "valid_u").rename(tmp_path / "train")
    clips = MevisReferring(tmp_path, 0, 6, (48, 80))
    clip = clips[0]
    assert clip.images.shape == (6, 48, 80, 3) and clip.ids.shape == (6, 48, 80)
    assert len(clip.expressions) == 10 and {len(own) for _, own in clip.expressions} >= {1, 2}
    assert set(np.unique(clip.ids)) - {0} <= set(range(1, 9))
    with pytest.raises(InputError, match="at least 9 frames"):
        MevisReferring(tmp_path, 0, 9, (48, 80))


def test_area_under_the_curve_is_the_share_of_ordered_pairs():
    random = np.random.default_rng(0)
    scores, truths = random.integers(0, 5, 40), random.random(40) < 0.3
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[truths] for n in scores[~truths]]
    assert area_under_curve(scores, truths) == pytest.approx(np.mean(pairs))


# ----------------------------------------------------------------------------------------------------------- training
def test_training_learns_a_clip_by_heart(tmp_path):
    task = training.make_task("judge", {**defaults_of(training.DEFAULTS), **TINY})
    item = task.training_clips[0]
    task.training_clips = [item] * 1000
    options = {"steps": 80, "batch": 1, "optimizer": "adam", "lr": 3e-3, "warmup": 0.1, "ema": 0.0, "device": "cpu"}
    loop.fit(task, {**options, "validate_every": 80}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    checkpoint = open_checkpoint(tmp_path / "weights.pth", "judge")
    assert checkpoint.variant == JUDGES["judge_nano"]
    small = open_checkpoint(checkpoint.export(tmp_path / "small.safetensors"))
    assert small.family.name == "judge" and "judge" in small.describe()
    _, presence = task.logits(checkpoint.network(), vars(item))
    assert ((presence > 0) == (item.match.amax(1) > 0)).float().mean() > 0.9


def test_the_command_trains_it(tmp_path, capsys):
    settings = "variant=judge_nano size=[48,80] frames=4 looks=2 steps=2 batch=1 held_out=2 device=cpu"
    assert run_ensemble.main(["train", "judge", *settings.split(), f"out={tmp_path}"]) == 0
    assert "AUC" in capsys.readouterr().out


def test_other_networks_are_named(weights):
    with pytest.raises(InputError, match=r"holds weights of grounding, expected judge; use operation `ground` for it"):
        open_checkpoint("grounding_nano", "judge")
    with pytest.raises(InputError, match=r"holds weights of judge, expected grounding; use operation `judge` for it"):
        open_checkpoint(weights, "grounding")


# --------------------------------------------------------------------------------------------------------------- step
def predictions():
    empty = MaskSequence.binary(np.zeros((T, *SIZE), bool))
    a, b = box(4, 4), box(30, 20, range(3))
    return {"soc": {"0": a, "1": empty, "2": a}, "mutr": {"0": b, "1": b, "2": a.with_(notes={"x": 1})}}


def test_the_step_sets_presence_and_keeps_the_masks(weights):
    step, given = OPS["judge"]("judged", inputs=["soc", "mutr"], weights=weights, device="cpu"), predictions()
    result = step.run(CLIP, given)
    assert list(result) == ["0", "1", "2"]
    for i, sequence in result.items():
        assert sequence.masks is given["soc"][i].masks and 0 < sequence.presence < 1
        assert sequence.notes["judged_tracklets"] == 2, "equal masks are one tracklet, empty ones are none"
        assert sequence.notes["judge"] == pytest.approx(sequence.presence, abs=1e-4)
    assert len({s.presence for s in result.values()}) == 3, "the words decide"
    alone = OPS["judge"]("judged", inputs=["soc"], weights=weights, device="cpu").run(CLIP, given)
    assert [s.presence for s in alone.values()] != [s.presence for s in result.values()], "further inputs count"


def test_objects_can_be_tracklets(weights):
    step = OPS["judge"]("judged", inputs=["soc", "tracks"], weights=weights, device="cpu")
    given = predictions()
    tracks = Objects(a=box(4, 4), b=box(30, 20, range(3)), c=box(18, 40, range(2, T), 8))
    assert step.run(CLIP, {**given, "tracks": tracks})["0"].notes["judged_tracklets"] == 3
    known = {"soc": Traits("binary"), "tracks": Traits("binary", objects=True)}
    assert not step.input_problems(CLIP, known)
    (problem,) = step.input_problems(CLIP, {"soc": known["tracks"], "tracks": known["soc"]})
    assert "input soc gives masks of objects, expected expressions" in problem


def test_nothing_is_present_where_nothing_is_segmented(weights):
    empty = MaskSequence.binary(np.zeros((T, *SIZE), bool))
    step = OPS["judge"]("judged", inputs=["soc"], weights=weights, device="cpu")
    assert {s.presence for s in step.run(CLIP, {"soc": dict.fromkeys("012", empty)}).values()} == {0.0}


def test_unknown_words_and_wrong_weights_are_reported_before_the_run(weights):
    clip = Clip("v", CLIP.frames, (Expression("v", "0", "a dog on a horse"),), IMAGES)
    problem, known = OPS["judge"]("judged", inputs=["soc"], weights=weights, device="cpu").problems(clip)
    assert "knows only the words of `shapes`, not: dog, horse (in: a dog on a horse)" in problem
    assert known.endswith("turn, turns, up, view, while, yellow")
    with pytest.raises(InputError, match="expected judge"):
        OPS["judge"]("judged", inputs=["soc"], weights="grounding_nano")


def test_the_step_changes_with_its_weights(weights, tmp_path):
    save_file(network(1).state_dict(), tmp_path / "other.safetensors")
    steps = [OPS["judge"]("judged", inputs=["soc"], weights=w) for w in (weights, str(tmp_path / "other.safetensors"))]
    assert steps[0].fingerprint(CLIP) != steps[1].fingerprint(CLIP)


def test_the_share_of_the_data_shifts_the_odds(weights):
    def odds(share):
        step = OPS["judge"]("judged", inputs=["soc"], weights=weights, no_target_share=share, device="cpu")
        p = step.run(CLIP, predictions())["0"].presence
        return p / (1 - p)

    assert odds(0.2) == pytest.approx(4 * odds(0.5), rel=1e-4)


def test_decisions_are_weighted_as_if_half_referred_to_nothing():
    task = training.make_task("judge", {**defaults_of(training.DEFAULTS), **TINY})
    batch = task.collate([task.training_clips[0]])
    before = task.losses(batch, 0)["presence"]
    task.nothing = 0.1
    match, presence = batch[0]["match"], task.logits(task.network, batch[0])[1]
    truth = match.amax(1)
    each = torch.nn.functional.binary_cross_entropy_with_logits(presence, truth, reduction="none")
    expected = torch.where(truth > 0, each * 0.5 / 0.9, each * 0.5 / 0.1).mean()
    assert task.losses(batch, 0)["presence"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert before.item() == pytest.approx(each.mean().item(), rel=1e-5)


def test_a_folder_without_expressions_that_refer_to_nothing_is_refused(tmp_path):
    Shapes(root=str(tmp_path), benchmark="mevis", split="train", clips=2, frames=8, size=[64, 96]).prepare()
    (tmp_path / "valid_u").rename(tmp_path / "train")
    meta = tmp_path / "train" / "meta_expressions_v2.json"
    content = json.loads(meta.read_text())
    for video in content["videos"].values():
        video["expressions"] = {i: e for i, e in video["expressions"].items() if e["anno_id"]}
    meta.write_text(json.dumps(content))
    with pytest.raises(InputError, match="no expression of the split train refers to nothing"):
        MevisReferring(tmp_path, 0, 6, (48, 80))
