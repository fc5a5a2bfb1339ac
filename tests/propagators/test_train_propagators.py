"""Training of AOT and DeAOT: the forward pass equals the tracker, losses their definitions, and one clip is learned."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.networks.backbones.swin import SwinBlock
from rvos_ensemble.adapters.networks.layers import DropPath, FrozenBatchNorm2d
from rvos_ensemble.adapters.training.loop.loop import fit
from rvos_ensemble.adapters.training.norms import unfreeze_norms
from rvos_ensemble.adapters.training.samples import augment
from rvos_ensemble.adapters.training.samples.collage import collage
from rvos_ensemble.adapters.training.samples.sample import Sample
from rvos_ensemble.propagators.inference.aot.checkpoint import load_network, open_checkpoint
from rvos_ensemble.propagators.inference.aot.tracker import Tracker
from rvos_ensemble.propagators.networks.attention import local_window
from rvos_ensemble.propagators.networks.encoders import freeze
from rvos_ensemble.propagators.networks.layers import sine_position
from rvos_ensemble.propagators.networks.network import VOSNetwork
from rvos_ensemble.propagators.networks.variants import VARIANTS
from rvos_ensemble.propagators.training import DEFAULTS, make_task
from rvos_ensemble.propagators.training.clips import AugmentedClips
from rvos_ensemble.propagators.training.forward import IDENTITIES, track
from rvos_ensemble.propagators.training.initial_weights import initialise, load_initial, set_drop_paths
from rvos_ensemble.propagators.training.losses import VOID, bootstrapped_cross_entropy, soft_jaccard
from rvos_ensemble.propagators.training.propagation import labels_of_clip
from rvos_ensemble.propagators.training.task import PropagatorTask

NANO = ["aot_nano", "deaot_nano"]
SIZE = (49, 65)
SHORT = {"batch": 1, "lr": 2e-3, "warmup": 0.1, "validate_every": 1000, "save_every": 1000, "log_every": 1, "ema": 0.05}
PLAIN = {
    **defaults_of(DEFAULTS),
    "frames": 3,
    "size": SIZE,
    "static": 0.0,
    "merge": 0.0,
    "subset": 0.0,
    "colour": 0.0,
    "places": 1,
}


def network_of(name):
    torch.manual_seed(0)
    network = initialise(VOSNetwork(VARIANTS[name]))
    for module in network.encoder.modules():  # statistics as after a training
        if isinstance(module, FrozenBatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def moving_squares(frames=3, size=SIZE, objects=2, seed=0):
    """Coloured squares that move on noise."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 120, (*size, 3), dtype=np.uint8)
    images, ids = np.stack([ground] * frames), np.zeros((frames, *size), np.uint8)
    for t in range(frames):
        for k in range(1, objects + 1):
            y, x = 4 + 22 * (k - 1) + t, 8 + 4 * t + 12 * k
            images[t, y : y + 18, x : x + 20] = (250, 40, 40) if k == 1 else (30, 60, 250)
            ids[t, y : y + 18, x : x + 20] = k
    return Sample(images, ids, ())


class Same(torch.utils.data.Dataset):
    """A data set of one sample."""

    def __init__(self, sample):
        self.sample = sample

    def __len__(self):
        return 2**31

    def __getitem__(self, i):
        return self.sample


class OneClip(PropagatorTask):
    """A task with one clip and no augmentation."""

    def __init__(self, name, objects=2, **settings):
        clip = Same(moving_squares(objects=objects))
        super().__init__(VARIANTS[name], {**PLAIN, **settings}, clip, clip)
        self.clip = clip

    def samples(self):
        return self.clip


# The forward pass --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NANO, "aott", "deaots"])
@pytest.mark.parametrize("own", [True, False])
def test_training_and_tracker_compute_the_same_logits(name, own):
    network, gap, size = network_of(name), 2, (65, 97)
    images, labels = torch.randn(2, 5, 3, *size), torch.randint(0, 3, (2, 5, *size))
    labels[:, :, :9, :20] = VOID
    objects = torch.tensor([2, 1])
    labels[1][labels[1] == 2] = 1
    places = torch.stack([torch.randperm(10) + 1 for _ in range(2)])
    places = torch.cat([torch.zeros(2, 1, dtype=torch.long), places], 1)
    with torch.no_grad():
        ours = track(network, images, labels, objects, own, gap, places)
        for b in range(2):
            inside = torch.full((256,), VOID)
            inside[:IDENTITIES] = places[b]
            tracker = Tracker(network, gap)
            first = network.encode(images[b, :1])
            tracker.reference(first, inside[labels[b, :1]], [0], [10])
            for t in range(1, 5):
                logits = tracker.step(network.encode(images[b, t : t + 1]))
                logits = F.interpolate(logits, size, mode="bilinear", align_corners=True)[0, places[b]]
                present = int(objects[b]) + 1
                assert torch.allclose(ours[b, t, :present], logits[:present], atol=1e-4)
                assert (ours[b, t, present:] < -1e9).all()
                known = ours[b, t].argmax(0) if own else labels[b, t]
                tracker.update(inside[known][None])


def test_own_masks_are_remembered_without_training_the_identity_bank():
    network = network_of("deaot_nano").train()
    images, labels = torch.randn(1, 3, 3, *SIZE), torch.randint(0, 3, (1, 3, *SIZE))
    for own in (True, False):
        network.zero_grad(set_to_none=True)
        track(network, images, labels, torch.tensor([2]), own)[:, 1:, :3].square().mean().backward()
        assert (network.patch_wise_id_bank.weight.grad is None) == own


@pytest.mark.parametrize("name", ["aott", "deaott", "r50_deaotl", pytest.param("swinb_aotl", marks=pytest.mark.slow)])
def test_official_variants_take_a_step_with_finite_gradients(name):
    variant = VARIANTS[name]
    size = (33, 49) if variant.align_corners else (32, 48)
    clip = Same(Sample(*(x[:, : size[0], : size[1]] for x in (moving_squares().images, moving_squares().ids)), ()))
    task = PropagatorTask(variant, {**PLAIN, "size": size}, clip, clip)
    task.network.train()
    losses = task.losses(task.collate([clip[0]]), 0)
    sum(losses.values()).backward()
    unused = {"LSTT.mask_token"}  # of the official code's files only
    for key, weight in task.network.named_parameters():
        if weight.requires_grad and key not in unused:
            assert weight.grad is not None and torch.isfinite(weight.grad).all(), key
    before = task.network.decoder.conv_out.weight.detach().clone()
    torch.optim.AdamW(task.groups(1e-3, 0.05)).step()
    assert not torch.equal(before, task.network.decoder.conv_out.weight)


def test_every_weight_is_in_one_group_and_norms_do_not_decay():
    task = OneClip("aot_nano", encoder_lr=0.1)
    groups = task.groups(1.0, 0.5)
    names = {id(w): n for n, w in task.network.named_parameters()}
    found = [(names[id(w)], g["lr"], g["weight_decay"]) for g in groups for w in g["params"]]
    assert sorted(n for n, _, _ in found) == sorted(names.values())
    assert all((lr == 0.1) == n.startswith("encoder.") for n, lr, _ in found)
    decayed = {n for n, _, d in found if d}
    assert "LSTT.layers.0.linear1.weight" in decayed and "encoder.conv1.weight" in decayed
    assert not decayed & {"encoder.bn1.weight", "decoder.conv_out.weight", "LSTT.decoder_norms.0.weight"}


# Losses ------------------------------------------------------------------------------------------------------------


def numpy_losses(logits, labels, share):
    """Pixel by pixel: the mean of the highest cross-entropies, and 1 - the soft Jaccard index over classes."""
    n, h, w = logits.shape
    p = np.exp(logits - logits.max(0))
    p /= p.sum(0)
    entropy = sorted(
        (0.0 if labels[y, x] == VOID else -np.log(p[labels[y, x], y, x]) for y in range(h) for x in range(w)),
        reverse=True,
    )
    jaccard = []
    for c in range(n):
        both = union = area = 0.0
        for y in range(h):
            for x in range(w):
                if labels[y, x] != VOID:
                    g = float(labels[y, x] == c)
                    both, union, area = both + p[c, y, x] * g, union + p[c, y, x] + g - p[c, y, x] * g, area + g
        if area:
            jaccard.append(1 - both / union)
    return np.mean(entropy[: int(share * h * w)]), np.mean(jaccard)


@pytest.mark.parametrize("share", [0.15, 1.0])
def test_losses_are_their_definitions(share):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (3, 4, 7, 9)), rng.integers(0, 3, (3, 7, 9))  # no pixel of class 3
    labels[0, :3] = VOID
    ours = [
        f.tolist()
        for f in (
            bootstrapped_cross_entropy(torch.tensor(logits), torch.tensor(labels), share),
            soft_jaccard(torch.tensor(logits), torch.tensor(labels)),
        )
    ]
    theirs = [numpy_losses(x, y, share) for x, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(np.array(ours).T, theirs, rtol=1e-5)


def test_a_batch_weighs_like_its_clips():
    """The gradient of a batch of two clips is the mean of their gradients, which accumulation requires."""
    task = OneClip("aot_nano", freeze_bn=True, places=5)
    clips = [moving_squares(seed=1), moving_squares(objects=1, seed=2)]

    def gradient(batches):
        task.network.zero_grad()
        torch.manual_seed(0)
        for clips in batches:
            (sum(task.losses(task.collate(clips), 3).values()) / len(batches)).backward()
        return torch.cat([w.grad.flatten() for w in task.network.parameters() if w.grad is not None])

    together, alone = gradient([clips]), gradient([[c] for c in clips])
    assert torch.allclose(together, alone, atol=1e-5 * together.abs().max())


# Samples -----------------------------------------------------------------------------------------------------------


def test_samples_depend_on_seed_and_number_alone():
    settings = {**defaults_of(DEFAULTS), "steps": 10, "size": SIZE}
    clips, again, other = (make_task("aot", {**settings, "seed": s}).samples() for s in (0, 0, 1))
    for i in (0, 1, 2, 3):
        sample = clips[i]
        assert sample.images.shape == (5, *SIZE, 3) and sample.ids.shape == (5, *SIZE)
        assert (again[i].images == sample.images).all() and (again[i].ids == sample.ids).all()
        assert other[i].images.shape == sample.images.shape and (other[i].images != sample.images).any()
        present = np.unique(sample.ids[0])
        assert present[-1] >= 1 and set(np.unique(sample.ids)) <= set(range(present[-1] + 1))


def flat(size=(90, 160), frames=2):
    """A clip in which the colour is 80 * id."""
    ids = np.zeros((frames, *size), np.uint8)
    cv2.circle(ids[0], (60, 40), 25, 1, -1)
    cv2.circle(ids[0], (110, 60), 20, 2, -1)
    ids[1:] = np.roll(ids[0], 5, 1)
    return Sample(np.repeat(80 * ids[..., None], 3, -1), ids, ())


@pytest.mark.parametrize("seed", range(12))
def test_images_and_ids_are_transformed_alike(seed):
    rng = np.random.default_rng(seed)
    for sample in (augment.crop(flat(), SIZE, rng), augment.pseudo_video(flat(), 4, SIZE, rng)):
        told = np.abs(sample.images[..., 0].astype(int) - 80 * sample.ids.astype(int)) <= 2
        edges = np.stack([cv2.dilate(cv2.Laplacian(i, cv2.CV_8U), np.ones((3, 3))) for i in sample.ids]) > 0
        assert (told | edges)[:, 1:-1, 1:-1].all()  # at the very edge bilinear pictures mix with what lies beyond


def test_pasted_objects_cover_and_keep_apart():
    below, above = flat(), moving_squares(2, (90, 160))
    both = augment.paste(below, above)
    inside = above.ids > 0
    assert (both.ids[inside] == above.ids[inside] + 2).all() and (both.ids[~inside] == below.ids[~inside]).all()
    assert (both.images[inside] == above.images[inside]).all() and (both.images[~inside] == below.images[~inside]).all()


def test_objects_are_those_of_the_first_frame():
    ids = np.zeros((2, 20, 20), np.uint8)
    ids[0, :5], ids[0, 5:10], ids[1, 10:] = 7, 3, 9  # 9 comes later
    ids[:, :, 19] = VOID
    found = augment.relabel(Sample(np.zeros((2, 20, 20, 3), np.uint8), ids, ()), np.random.default_rng(0), 10, 0.0)
    assert sorted(np.unique(found.ids[0])) == [0, 1, 2, VOID] and set(np.unique(found.ids[1])) == {0, VOID}
    assert len(np.unique(found.ids[0, :5, :19])) == 1  # still one object
    most = augment.relabel(Sample(np.zeros((2, 20, 20, 3), np.uint8), ids, ()), np.random.default_rng(0), 1, 0.0)
    assert sorted(np.unique(most.ids)) == [0, 1, VOID]


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_view_of_a_picture_shows_each_object_once(seed):
    rng = np.random.default_rng(seed)
    sample = augment.pseudo_video(flat(), 4, SIZE, rng, widest=6.0)
    for ids in sample.ids:
        for k in (1, 2):
            assert cv2.connectedComponents((ids == k).astype(np.uint8))[0] <= 2  # background and one object
    several = [augment.pseudo_video(flat(), 1, SIZE, np.random.default_rng(i), 6.0).ids for i in range(20)]
    areas = [(ids > 0).mean() for ids in several]
    assert min(areas) < 0.05 < max(areas)


def test_collages_show_what_their_ids_say():
    a, b = (collage((60, 100), np.random.default_rng(0)) for _ in range(2))
    assert (a.images == b.images).all() and a.images.shape == (1, 60, 100, 3) and a.ids.max() >= 2
    assert (collage((60, 100), np.random.default_rng(1)).images != a.images).any()


def test_a_folder_in_the_layout_of_youtube_vos_is_data(tmp_path):
    clip = moving_squares(6, (60, 90))
    write_video(tmp_path, "v", clip)
    task = make_task("aot", {"data": str(tmp_path), "steps": 2, "size": list(SIZE), "static": 0.0, "colour": 0.0})
    out = fit(task, {**SHORT, "steps": 2}, tmp_path / "out")
    assert load_network(out).variant.name == "aot_nano"
    with pytest.raises(InputError, match="no_such"):
        make_task("aot", {"data": str(tmp_path / "no_such")})


def write_video(root, name, clip):
    for kind, suffix, frames in (("JPEGImages", "jpg", clip.images[..., ::-1]), ("Annotations", "png", clip.ids)):
        (root / kind / name).mkdir(parents=True, exist_ok=True)
        for t, frame in enumerate(frames):
            cv2.imwrite(str(root / kind / name / f"{t:05d}.{suffix}"), frame)


def one_colour(value, frames, size=(60, 90)):
    """A grey clip with a square object of the same grey."""
    ids = np.zeros((frames, *size), np.uint8)
    ids[:, 20:40, 30:60] = 1
    return Sample(np.full((frames, *size, 3), value, np.uint8), ids, ())


def test_clips_of_a_folder_of_pictures_of_video_and_of_shapes_are_mixed(tmp_path):
    """Pictures are grey 200 and video is grey 100, so that a pixel says where it comes from."""
    write_video(tmp_path / "pictures", "p", one_colour(200, 1))
    write_video(tmp_path / "video", "v", one_colour(100, 6))
    plain = {
        "data": str(tmp_path / "video"),
        "size": list(SIZE),
        "frames": 3,
        "steps": 2,
        "collage": 0.0,
        "colour": 0.0,
    }

    def share(value, **settings):
        clips = make_task("aot", {**plain, **settings}).samples()
        return np.mean([np.abs(clips[i].images.astype(int) - value).max(-1) < 5 for i in range(12)])

    pictures = {"pictures": str(tmp_path / "pictures")}
    assert share(200, static=1.0, **pictures) == 1 and share(100, static=1.0) == 1
    assert share(100, static=0.0, merge=0.0, **pictures) == 1
    assert 0 < share(200, static=0.0, merge=1.0, **pictures) < 0.5  # objects of pictures in front of video
    assert share(100, static=0.0, merge=0.0, shapes=1.0) < 0.5 < share(100, static=0.0, merge=0.0, shapes=0.2) < 1
    darker = share(100, static=0.0, merge=0.0, light=1.0)
    assert darker < 0.2


def test_a_folder_is_validated_at_one_frame_in_four(tmp_path):
    clip = moving_squares(9, (60, 90))
    write_video(tmp_path, "v", clip)
    settings = {"data": str(tmp_path), "validation": str(tmp_path), "validate_clips": 5, "size": list(SIZE)}
    seen = []
    task = make_task("aot", settings, lambda p, g: seen.append((p, g)) or 0.25)
    assert task.validate(task.network.eval()) == {"J&F": 0.25}
    assert len(seen) == 2 and {p.shape for p, _ in seen} == {(2, 60, 90)}  # two objects; frames 4 and 8
    assert all((g == (clip.ids[4::4] == k)).all() for k, (_, g) in enumerate(seen, start=1))


# Training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NANO)
def test_a_short_training_learns_a_clip_and_ships(name, tmp_path):
    task = OneClip(name, objects=1, steps=40, hardest=1.0)
    path = fit(task, {**SHORT, "steps": 40}, tmp_path)
    log = [row["loss"] for row in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())]
    assert np.mean(log[-5:]) < 0.4 * np.mean(log[:5])

    shipped = open_checkpoint(path).export(tmp_path / "shipped.safetensors")
    assert shipped.stat().st_size <= 4 * 2**20
    clip = task.clip.sample
    for file in (path, shipped):  # strictly, by the loader of recipes
        found = labels_of_clip(load_network(file, VARIANTS[name]), clip.images, clip.ids[0], [1])
        a, b = found[1:] == 1, clip.ids[1:] == 1
        assert (a & b).sum() / (a | b).sum() > 0.9


class Interrupted(OneClip):
    def losses(self, batch, step):
        if step == 3:
            raise KeyboardInterrupt
        return super().losses(batch, step)


def test_a_resumed_training_has_the_weights_of_one_that_was_not(tmp_path):
    settings = {**SHORT, "steps": 5, "save_every": 2, "batch": 2}
    changing = {"steps": 5, "places": 10, "freeze_bn": False}
    fit(OneClip("aot_nano", **changing), settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted("aot_nano", **changing), settings, tmp_path / "twice")
    fit(OneClip("aot_nano", **changing), settings, tmp_path / "twice")
    a, b = (torch.load(tmp_path / d / "weights.pth", weights_only=True)["state_dict"] for d in ("whole", "twice"))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert set(a) == set(VOSNetwork(VARIANTS["aot_nano"]).state_dict())  # no counts of batch norms


def test_validation_is_the_score_of_the_propagated_masks():
    clip = Same(moving_squares())
    settings = {**PLAIN, "validate_clips": 2}
    seen = []
    task = PropagatorTask(
        VARIANTS["aot_nano"], settings, clip, clip, clip, lambda p, g: seen.append((p, g)) or float(len(seen))
    )
    assert task.validate(task.network.eval()) == {"J&F": 2.5}  # two clips of two objects: 1, 2, 3, 4
    assert all(p.dtype == g.dtype == bool and p.shape == g.shape == (2, *SIZE) for p, g in seen)
    assert (seen[1][1] == (clip[0].ids[1:] == 2)).all()


def test_weights_to_start_from_are_the_whole_or_the_encoder(tmp_path):
    whole = network_of("aot_nano").state_dict()
    torch.save(whole, tmp_path / "whole.pth")
    torch.save(
        {k[8:]: v for k, v in whole.items() if k.startswith("encoder.")} | {"fc.weight": torch.zeros(2)},
        tmp_path / "encoder.pth",
    )
    network = VOSNetwork(VARIANTS["aot_nano"])
    load_initial(network, str(tmp_path / "encoder.pth"))
    assert torch.equal(network.encoder.conv1.weight, whole["encoder.conv1.weight"])
    assert not torch.equal(network.decoder.conv_out.weight, whole["decoder.conv_out.weight"])
    load_initial(network, str(tmp_path / "whole.pth"))
    assert all(torch.equal(v, whole[k]) for k, v in network.state_dict().items())
    with pytest.raises(InputError, match="as the network of deaot_nano: weights are missing"):
        load_initial(VOSNetwork(VARIANTS["deaot_nano"]), str(tmp_path / "whole.pth"))


def test_the_other_network_provides_its_encoder_when_asked(tmp_path):
    whole = network_of("aot_nano").state_dict()
    torch.save(whole, tmp_path / "aot.pth")
    deaot = VOSNetwork(VARIANTS["deaot_nano"])
    load_initial(deaot, str(tmp_path / "aot.pth"), encoder_only=True)
    assert all(torch.equal(v, whole[f"encoder.{k}"]) for k, v in deaot.encoder.state_dict().items())
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "encoder.pth")
    with pytest.raises(InputError, match=r"encoder\.pth: encoder_only=true expects the weights of AOT or DeAOT"):
        load_initial(deaot, str(tmp_path / "encoder.pth"), encoder_only=True)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # which saves 350 MB of zeros
def test_a_swin_for_images_provides_initial_weights_of_the_encoder(tmp_path):
    """The official file has no norms of the feature maps; they keep their initial values."""
    with torch.device("meta"):
        whole = VOSNetwork(VARIANTS["swinb_aotl"]).encoder.state_dict()
    norms = [k for k in whole if k.startswith("norm")]
    small = {k: torch.zeros(v.shape, dtype=torch.int8) for k, v in whole.items() if k not in norms}
    torch.save(small, tmp_path / "swin_base_patch4_window7_224_22k.pth")
    with torch.device("meta"):
        network = VOSNetwork(VARIANTS["swinb_aotl"])
    assert norms
    load_initial(network, str(tmp_path / "swin_base_patch4_window7_224_22k.pth"))
    del small["patch_embed.proj.weight"]
    torch.save(small, tmp_path / "less.pth")
    with pytest.raises(InputError, match=r"less\.pth: as the encoder of swinb_aotl: .*patch_embed\.proj\.weight"):
        load_initial(network, str(tmp_path / "less.pth"))


def test_blocks_are_dropped_by_clip_and_branch():
    drop = DropPath()
    drop.rate = 0.25
    x = torch.ones(4000, 3, 6)
    found = drop(x, branches=2)
    assert torch.equal(found, found[:, :1, ::3].repeat_interleave(3, 2).expand(-1, 3, -1)), "whole rows of a branch"
    assert found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert found.mean(0)[0].tolist() == pytest.approx([1] * 6, abs=0.05)
    visual, ids = found[:, 0, 0] > 0, found[:, 0, 5] > 0
    assert 0.3 < (visual != ids).float().mean() < 0.45, "3/8 where they are drawn apart"
    state = torch.get_rng_state()
    drop.eval()
    assert drop(x) is x
    drop.train().rate = 0.0
    assert drop(x) is x and torch.equal(state, torch.get_rng_state()), "nothing is drawn"


@pytest.mark.parametrize("name", NANO)
def test_a_dropped_block_reads_its_memories_and_adds_nothing_else(name, monkeypatch):
    """As in the official code: self-attention and feed-forward are skipped, the attention to memories never is."""
    network = network_of(name)
    set_drop_paths(network, 0.5, 0.0)
    network.train()
    block, c, (h, w) = network.LSTT.layers[1], 64, (3, 5)
    stream = torch.randn(2, 15, c if name == "aot_nano" else 2 * c)
    window = local_window((h, w), torch.device("cpu"), torch.float32)
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.zeros(shape, device=device))
    query = block.query(stream, sine_position((h, w), c, torch.device("cpu")), (h, w))
    tokens = block.remember(query, torch.randn(2, 15, c))
    found = block(query, tokens, tokens, window)
    if name == "aot_nano":
        read = block.long_term_attn(query.q, tokens) + block.short_term_attn(query.q, tokens, window)
    else:
        gates = query.gate, query.id_gate
        read = block.long_term_attn(tokens.read(query.q), gates, (h, w))
        read = read + block.short_term_attn(block.short_term_attn.read(query.q, tokens, window), gates, (h, w))
    assert torch.allclose(found, stream + read, atol=1e-5)


def test_a_dropped_swin_block_changes_nothing(monkeypatch):
    block = SwinBlock(16, 2, (1, 7, 7), True)
    block.drop_path.rate = 0.5
    x = torch.randn(2, 9 * 10 + 1, 16)
    half = torch.tensor([0.0, 1.0])
    monkeypatch.setattr(torch, "rand", lambda shape, device: half.view(shape))
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            found = block.run(x.clone().requires_grad_(grad) + 0, (1, 9, 10), (1, 7, 7), (0, 3, 3), 91)
        assert torch.equal(found[0], x[0]) and not torch.allclose(found[1], x[1], atol=1e-2)


STAY = {  # what the official code freezes (freeze_at=2)
    "aott": {f"features.{i}" for i in range(4)},
    "r50_deaotl": {"conv1", "bn1", "layer1"},
    "swinb_aotl": {"patch_embed", "layers.0.blocks"},
    "aot_nano": {"conv1", "bn1", "layer1"},
}


@pytest.mark.parametrize("name", STAY)
def test_the_first_layers_of_a_published_encoder_stay_as_they_are(name):
    variant = VARIANTS[name]
    with torch.device("meta"):
        network = VOSNetwork(variant)
    freeze(network.encoder, variant.encoder, 2)
    names = [n for n, _ in network.encoder.named_parameters()]
    stay = {n for n, weight in network.encoder.named_parameters() if not weight.requires_grad}
    assert stay and stay == {n for n in names if any(n.startswith(f"{part}.") for part in STAY[name])}
    set_drop_paths(network, 0.1, 0.3)
    rates = [m.drop_path.rate for m in network.encoder.modules() if isinstance(m, SwinBlock)]
    assert rates == pytest.approx([0, 0, *(0.3 * i / 23 for i in range(2, 22))] if "swin" in name else [])
    assert {m.rate for m in network.LSTT.modules() if isinstance(m, DropPath)} == {0.1}


def test_what_is_published_holds_where_there_are_weights_to_start_from(tmp_path):
    """From scratch nothing is frozen; small networks are neither frozen nor skipped."""
    torch.save(network_of("aott").state_dict(), tmp_path / "aott.pth")
    torch.save(network_of("aot_nano").state_dict(), tmp_path / "nano.pth")

    def found(name, **settings):
        task = OneClip(name, **settings)
        rates = {m.rate for m in task.network.LSTT.modules() if isinstance(m, DropPath)}
        return rates, sum(not w.requires_grad for w in task.network.parameters())

    assert found("aott") == ({0.1}, 0)
    rates, frozen = found("aott", weights=str(tmp_path / "aott.pth"))
    assert rates == {0.1} and frozen > 0
    assert found("aott", weights=str(tmp_path / "aott.pth"), frozen=0, drop_path=0.0) == ({0.0}, 0)
    assert found("aot_nano", weights=str(tmp_path / "nano.pth")) == ({0.0}, 0)
    encoder = {k.removeprefix("encoder."): v for k, v in network_of("aott").state_dict().items() if "encoder." in k}
    torch.save(encoder, tmp_path / "encoder.pth")
    assert found("aot_real", weights=str(tmp_path / "encoder.pth")) == ({0.0}, frozen)


def test_the_loss_on_the_reference_frame_falls_to_zero_on_schedule():
    late, early = (OneClip("aot_nano", reference_until=until, steps=100) for until in (1.0, 0.1))
    alone = OneClip("aot_nano", reference=0.0, steps=100)
    batch = late.collate([late.clip[0]])

    def loss(task, step):
        torch.manual_seed(0)
        with torch.no_grad():
            return float(sum(task.losses(batch, step).values()))

    assert loss(late, 0) == loss(early, 0) > loss(alone, 0)
    half = (loss(early, 5) - loss(alone, 5)) / (loss(late, 5) - loss(alone, 5))
    assert half == pytest.approx(0.5 / 0.95, rel=1e-3)
    assert all(loss(early, step) == loss(alone, step) for step in (10, 30))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("frames", 1), ("places", 12), ("places", 0), ("places", None), ("variant", 5)),
        *(("frozen", 3), ("frozen", 1.5), ("frozen", "two"), ("drop_path", 1.0), ("reference_until", 0)),
    ],
)
def test_settings_of_a_training_that_make_no_sense(setting, value):
    with pytest.raises(InputError, match=str(value)):
        make_task("aot", {setting: value})


def test_true_norms_take_the_place_of_frozen_ones():
    network = network_of("aot_nano")
    x = torch.randn(2, 3, 33, 49)
    with torch.no_grad():
        before = network.encoder(x)
        unfreeze_norms(network.encoder)
        after = network.encoder.eval()(x)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(before, after, strict=True))
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in network.modules())


def test_wrong_settings_are_named():
    with pytest.raises(InputError, match="unknown key `stattic`, did you mean `static`"):
        make_task("aot", {"stattic": 1.0})
    with pytest.raises(InputError, match="no DEAOT variant is called 'aot_nano'"):
        make_task("deaot", {"variant": "aot_nano"})


def test_mixed_precision_trains(tmp_path):
    path = fit(OneClip("deaot_nano", steps=2), {**SHORT, "steps": 2, "precision": "bf16"}, tmp_path)
    assert all(torch.isfinite(v).all() for v in torch.load(path, weights_only=True)["state_dict"].values())


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {root!r} + "/tests", {root!r} + "/tests/propagators"]
import torch
torch.set_num_threads(1)
from test_train_propagators import OneClip, SHORT, fit
fit(OneClip("aot_nano", steps=4, freeze_bn=True), {{**SHORT, "steps": 4, "ema": 0.0}}, Path({out!r}))
"""


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path):
    """Two processes with the same clip compute the weights of a single process."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    (tmp_path / "run.py").write_text(SCRIPT.format(root=root, out=str(tmp_path / "two")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", tmp_path / "run.py"]
    subprocess.run(command, check=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"})
    two = load_network(tmp_path / "two" / "weights.pth").state_dict()
    assert all(torch.isfinite(v).all() for v in two.values())


def test_clips_of_one_picture_and_of_video_are_mixed():
    made = {"static": 0, "video": 0}

    class Counted(AugmentedClips):
        def _static(self, i, rng, *rest):
            made["static"] += 1
            return super()._static(i, rng, *rest)

        def _video(self, i, rng):
            made["video"] += 1
            return super()._video(i, rng)

    clip = Same(moving_squares())
    for share, expected in ((0.0, {"video"}), (1.0, {"static"}), (0.5, {"static", "video"})):
        made.update(static=0, video=0)
        clips = Counted({**PLAIN, "static": share}, SIZE, clip, clip)
        for i in range(12):
            clips[i]
        assert {k for k, n in made.items() if n} == expected
