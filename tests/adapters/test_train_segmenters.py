"""Training of ReferFormer, MUTR and SOC: it computes the masks of inference, it learns, and the shipped weights."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_train_uninext import Fixed, clip_of

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.datasets.shapes.sentences import VOCABULARY
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.checkpoints.weights import shipped
from rvos_ensemble.adapters.inference.tokenization import load_tokenizer
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.training.language import word_tokenizer
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.losses import ExpressionTargets, QueryPredictions, match
from rvos_ensemble.adapters.training.samples.rendered import RenderedClips
from rvos_ensemble.adapters.training.segmenters import DEFAULTS, SegmenterTask, make_task
from rvos_ensemble.adapters.training.segmenters.forward import draw, predict
from rvos_ensemble.adapters.training.segmenters.losses import losses, named_pixels

NAMES = ("referformer", "mutr", "soc")
BACKBONES = ("resnet_nano", "video_swin_nano")
SHORT = 64


def training(name, backbone="resnet_nano", clip=None, score=None, **settings):
    given = {
        **defaults_of(DEFAULTS),
        "short_side": SHORT,
        "text_layers": 1,
        "text_width": 32,
        "expressions": 2,
        **settings,
    }
    return SegmenterTask(name, backbone, given, Fixed(clip or clip_of(3)), Fixed(clip_of(3)), score)


def iou(prediction, truth):
    return (prediction & truth).sum() / (prediction | truth).sum()


@pytest.fixture(scope="module", params=[(n, b) for n in NAMES for b in BACKBONES], ids="-".join)
def made(request):
    """A task without weights of zero, and a batch."""
    task = training(*request.param)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in task.network.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return task, task.collate([task.samples()[0]])


def test_training_and_inference_compute_the_same_masks(made):
    task, batch = made
    network = task.network.eval()
    with torch.no_grad():
        words = network.language_model(input_ids=batch["ids"], attention_mask=(~batch["padding"]).long())
        said = Text(words.last_hidden_state, batch["padding"], words.pooler_output)
        features = network.encode(batch["frames"])
        layers, dots, _ = network.learn(features, said)
        answer = network.answer(network.encode(batch["frames"], 2), said, 2, masks_for="all")
        every = torch.arange(network.queries).expand(2, -1)
        masks = draw(network, layers[-1], dots, every, features.size)
    scale = answer.logits.abs().max()
    assert (masks - answer.logits).abs().max() < 1e-4 * scale and scale > 0.01
    assert torch.allclose(layers[-1].boxes.transpose(1, 2), answer.boxes, atol=1e-5)
    assert torch.allclose(layers[-1].logits.sigmoid().mean(1).amax(-1), answer.query_scores, atol=1e-5)
    rough = draw(network, layers[-1], dots[..., ::2, ::2], every, features.size, stride=8)
    assert (rough - masks[..., ::2, ::2]).abs().max() < 1e-4 * scale


def test_the_losses_of_a_batch_are_those_of_its_clips(made):
    task, one = made
    other = task.collate([task.samples()[0]])
    other["frames"], other["masks"] = other["frames"].flip(-1), other["masks"].flip(-1)
    both = {k: torch.cat([one[k], other[k]]) for k in ("frames", "masks", "ids", "padding")} | {"clips": 2}
    task.network.eval()  # or batch norms would see other batches
    with torch.no_grad():
        apart, together = [losses(task.network, batch) for batch in (one, other)], losses(task.network, both)
    for name in ("mask", "dice"):  # means over expressions; the others are means over the frames of both clips
        assert together[name] == pytest.approx(sum(x[name] for x in apart).item() / 2, rel=1e-4)


def test_every_weight_learns(made):
    task, batch = made
    network = task.network.train()
    network.zero_grad()
    sum(task.losses(batch, 0).values()).backward()
    idle = {k for k, w in network.named_parameters() if w.grad is None or not (w.grad != 0).any()}
    left_out = ("lvf.",)  # used by the loss that is left out
    unread = ("word_embeddings", "position_embeddings", "pooler", "bbox_embed")  # of words that do not occur, ...
    assert not {k for k in idle if not k.startswith(left_out) and not any(part in k for part in unread)}


@pytest.mark.parametrize("name", ["soc", *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n != "soc")])
def test_overfits_a_clip(name, tmp_path):
    task = training(name, clip=clip_of(2), score=iou, freeze_norms=False, validate_clips=1)
    task.held_out = task.clips
    settings = {"steps": 90, "lr": 3e-3, "warmup": 0.1, "ema": 0.05, "clip": 1.0, "validate_every": 90}
    loop.fit(task, {**settings, "batch": 1, "save_every": 90, "log_every": 15}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert rows[-1]["J&F"] > 0.9
    found = open_checkpoint(tmp_path / "weights.pth")  # strictly: every weight, and no other
    assert found.family.name == name and found.layer == "last"


def test_an_interrupted_run_resumes_with_the_same_numbers(tmp_path):
    settings = {"batch": 1, "steps": 4, "save_every": 2, "lr": 1e-3, "validate_every": 4}

    def run(folder, **other):
        task = training("soc")
        loop.fit(task, {**settings, **other}, folder)
        return task.network.state_dict()

    whole = run(tmp_path / "whole")

    class Killed(Exception):
        pass

    task = training("soc")
    usual = task.losses

    def dies(batch, step):
        if step == 3:
            raise Killed
        return usual(batch, step)

    task.losses = dies
    with pytest.raises(Killed):
        loop.fit(task, settings, tmp_path / "parts")
    resumed = run(tmp_path / "parts")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_queries_are_matched_by_their_masks():
    """The query with the correct mask is matched although another one has a higher score."""
    masks = torch.full((1, 2, 1, 4, 4), -9.0)
    masks[0, 1, 0, :2] = 9.0
    target = ExpressionTargets.of(masks[:, 1] > 0, (4, 4))
    found = QueryPredictions(torch.tensor([[[1.0, 0.0]]]), target.boxes[:, :, None].expand(-1, -1, 2, -1), masks)
    assert match(found, target).tolist() == [1]


def test_maps_that_show_the_named_object_cost_nothing():
    """The loss depends on the first channel only, at any size of the map."""
    masks = torch.zeros(2, 3, 8, 8).bool()
    masks[0, :, :4], masks[1, 1:, 4:, 4:] = True, True
    target = ExpressionTargets.of(masks, (4, 4))
    for size in ((4, 4), (2, 2)):
        right = 40 * ExpressionTargets.of(masks, size).masks.flatten(0, 1) - 20
        maps = torch.stack([right, torch.randn(right.shape)], 1)
        assert named_pixels(maps, target) < 1e-3 < 1 < named_pixels(-maps, target)


def test_a_network_starts_from_what_it_shares_with_another(tmp_path):
    other = training("soc").network.state_dict()
    torch.save({"model": other}, tmp_path / "soc.pth")
    task = training("referformer", seed=1, pretrained=str(tmp_path / "soc.pth"))
    own = task.network.state_dict()
    shared = [k for k in own if k in other and own[k].shape == other[k].shape and own[k].dim()]
    assert len(shared) > 0.6 * len(own) and all(torch.equal(own[k], other[k]) for k in shared)
    assert any(k.startswith("transformer.decoder") for k in shared)
    with pytest.raises(InputError, match=r"text_encoder.* has shape"):
        training("referformer", text_width=64, pretrained=str(tmp_path / "soc.pth"))


def test_published_variants_train_slower_below_and_keep_their_language_model():
    task = training("referformer")
    task.small = False
    groups = task.groups(1e-3, 0.1)
    assert {g["weight_decay"] for g in groups} == {0.0, 0.1}
    rate = {id(w): g["lr"] for g in groups for w in g["params"]}
    of = {k: rate.get(id(w)) for k, w in task.network.named_parameters()}
    assert {v for k, v in of.items() if k.startswith("backbone.")} == {5e-4}
    assert {v for k, v in of.items() if k.startswith("text_encoder.")} == {None}
    assert {v for k, v in of.items() if not k.startswith(("backbone.", "text_encoder."))} == {1e-3}


@pytest.mark.slow
def test_a_published_variant_takes_a_step():
    clip = clip_of(2)
    settings = {**defaults_of(DEFAULTS), "tokenizer": str(text.ROBERTA.small), "short_side": SHORT, "expressions": 2}
    with pytest.raises(InputError, match="the text encoder of variant resnet50 is not trained"):
        SegmenterTask("referformer", "resnet50", settings, Fixed(clip), None, None)
    task = SegmenterTask("referformer", "resnet50", settings | {"text_lr": 0.1}, Fixed(clip), None, None)
    batch = task.collate([task.samples()[0]])
    optimizer = torch.optim.AdamW(task.groups(1e-4, 5e-4))
    before = losses(task.network, batch)
    sum(before.values()).backward()
    optimizer.step()
    with torch.no_grad():
        assert sum(losses(task.network, batch).values()) < sum(before.values())


# Shipped files -----------------------------------------------------------------------------------------------------


def test_the_shipped_tokenizer_knows_every_word_of_shapes():
    tokenizer = load_tokenizer(text.ROBERTA, str(text.ROBERTA.small))
    assert json.loads(tokenizer.to_str()) == json.loads(word_tokenizer(VOCABULARY).to_str())
    assert tokenizer.encode("The RED star").tokens == ["<s>", "the", "red", "star", "</s>"]
    assert tokenizer.encode("a zebra").tokens == ["<s>", "a", "<unk>", "</s>"]


def test_settings_that_do_not_exist_are_named():
    with pytest.raises(InputError, match="no variant 'soc_mini', expected soc_nano or one of resnet50"):
        make_task("soc", {"variant": "soc_mini"})
    with pytest.raises(InputError, match="unknown key `frame`, did you mean `frames`"):
        make_task("soc", {"frame": 3})


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_load_strictly_and_find_something(name):
    if f"{name}_nano" not in shipped():
        pytest.skip(f"{name}_nano is not shipped yet")
    file = shipped()[f"{name}_nano"]
    assert file.stat().st_size < 4e6 and file.with_suffix(".md").is_file()
    network = open_checkpoint(file, name).network("auto").eval()
    clip = RenderedClips(5, 4, (180, 320), "val", "easy", spread=True)[0]
    with torch.no_grad():
        found = predict(network, clip, load_tokenizer(text.ROBERTA, str(text.ROBERTA.small)), 96)
    things = np.mean([((clip.ids > 0) & mask).sum() / mask.sum() for mask in found if mask.any()])
    assert things > 2 * (clip.ids > 0).mean()  # the masks cover objects, not background


@pytest.mark.parametrize(("name", "knows"), [("soc", True), ("mutr", False)])
def test_which_networks_know_the_order_of_frames(name, knows):
    """A clip played backward shows the same objects in the same places: only networks that use motion differ."""
    network = open_checkpoint(shipped()[f"{name}_nano"], name).network("auto").eval()
    tokenizer = load_tokenizer(text.ROBERTA, str(text.ROBERTA.small))
    clips, right, same = RenderedClips(5, 8, (180, 320), "val", spread=True), [], []
    for clip in (clips[i] for i in range(12)):
        directions = tuple((sentence, own) for sentence, own in clip.expressions if "that moves" in sentence)
        if not directions:
            continue
        clip = replace(clip, expressions=directions)
        backwards = replace(clip, images=clip.images[::-1], ids=clip.ids[::-1])
        with torch.no_grad():
            found, again = (predict(network, c, tokenizer, 96) for c in (clip, backwards))
        for (_, own), mask, other in zip(directions, found, again[:, ::-1], strict=True):
            covered = [mask[clip.ids == k].sum() / max(1, (clip.ids == k).sum()) for k in range(1, 7)]
            right.append(np.argmax(covered) == own - 1)
            same.append((mask == other).all())
    assert len(right) > 8
    assert np.mean(same) < 0.2 and np.mean(right) > 0.7 if knows else all(same)
