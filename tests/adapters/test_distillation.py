"""Distillation of a network of single frames into a video backbone: displacements, what is trained, and the result."""

import numpy as np
import pytest
import torch
from test_train_segmenters import training
from test_train_uninext import clip_of

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.networks.backbones.swin import Swin, WindowAttention
from rvos_ensemble.adapters.training.initial_weights import spread_window_heads
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.segmenters import make_task
from rvos_ensemble.adapters.training.segmenters.distillation import HALF, true_displacements
from rvos_ensemble.adapters.training.segmenters.losses import losses


@pytest.fixture(scope="module")
def teacher_and_task(tmp_path_factory):
    """A file of a teacher, and a task that uses it."""
    path = tmp_path_factory.mktemp("teacher") / "weights.pth"
    torch.save(training("soc", seed=3).checkpoint(training("soc", seed=3).network.state_dict()), path)
    task = training("soc", "video_swin_nano", clip_of(4), teacher=str(path), freeze_norms=False)
    return path, task


def square(places, size=20, shape=(100, 160)):
    """A square at (x, y) in each frame; None: not visible."""
    masks = torch.zeros(1, len(places), *shape)
    for mask, place in zip(masks[0], places, strict=True):
        if place:
            mask[place[1] : place[1] + size, place[0] : place[0] + size] = 1
    return masks


def test_displacements_are_those_of_the_objects():
    steps, known = true_displacements(square([(10, 30), (40, 30), (40, 28), None, (5, 5)]))
    long, short = 0.3 / (0.3 + HALF), 0.02 / (0.02 + HALF)
    assert torch.allclose(steps[0, 0], torch.tensor([0, 0, long, 0])), "the first frame has no predecessor"
    assert torch.allclose(steps[0, 1], torch.tensor([long, 0, 0, -short])), "from the left, then slightly upward"
    assert known[0].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_the_displacement_of_a_half_occluded_object_is_unknown():
    masks = square([(10, 30), (40, 30)])
    masks[0, 1, :, :50] = 0
    assert not true_displacements(masks)[1].any()
    assert not true_displacements(square([(10, 30), (40, 30)], size=3))[1].any(), (
        "nor that of an object of a few pixels"
    )


def test_displacements_are_the_same_at_any_size_and_backwards():
    masks = square([(10, 30), (40, 34), (80, 50)])
    steps, known = true_displacements(masks)
    larger, _ = true_displacements(masks.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.allclose(steps, larger, atol=1e-5)
    backwards, known_too = true_displacements(masks.flip(1))
    to_and_from = backwards.flip(1)[..., [2, 3, 0, 1]]
    assert torch.allclose(to_and_from, -steps, atol=1e-5)
    assert (known_too.flip(1)[..., [2, 3, 0, 1]] == known).all()


def test_heads_attend_to_different_places_in_three_frames():
    torch.manual_seed(0)
    body = Swin(24, (2, 4, 8, 16), (2, 2, 2, 1), video=True)
    spread_window_heads(body)
    at = []
    for attention in (m for m in body.modules() if isinstance(m, WindowAttention)):
        z, y, x = np.unravel_index(attention.relative_position_bias_table.argmax(0).numpy(), (15, 13, 13))
        at += zip(z - 7, y - 6, x - 6, strict=True)
    at = np.array(at)
    assert np.bincount(at[:, 0] + 1).tolist() == [15, 14, 15] and abs(at[:, 1:]).max() <= 2
    assert len({tuple(place) for place in at}) > 15
    index = body.layers[0].blocks[0].attn.relative_position_index
    bias = body.layers[0].blocks[0].attn.bias(8 * 49)[0, 0]
    query = 4 * 49 + 24  # the middle of the fifth frame
    assert bias[query].argmax() // 49 == 5 and index.shape == (392, 392), (
        "the first head attends to a neighbouring frame"
    )


def test_distillation_trains_the_backbone_and_keeps_the_rest(teacher_and_task, tmp_path):
    path, task = teacher_and_task
    batch = task.collate([task.samples()[0]])
    before = {k: v.clone() for k, v in task.network.state_dict().items()}
    first = {k: v.item() for k, v in task.losses(batch, 0).items()}
    settings = {"batch": 1, "steps": 40, "lr": 3e-3, "clip": 1.0, "ema": 0.0, "validate_every": 40, "save_every": 40}
    loop.fit(task, settings, tmp_path)
    last = {k: v.item() for k, v in task.losses(batch, 0).items()}
    assert set(last) == {"hint", "motion"} and all(last[k] < 0.6 * first[k] for k in last)
    assert task.network.distillation.accuracy(task.network, batch) > 0.8, "it overfits this clip"

    changed = {k for k, v in task.network.state_dict().items() if not torch.equal(v, before[k])}
    assert all(k.startswith(("backbone.", "input_proj.", "spatial_decoder.", "distillation.")) for k in changed)
    teacher = torch.load(path)["model"]
    held = [
        k for k in teacher if k.startswith(("text_encoder.", "transformer.", "voc.")) and teacher[k].is_floating_point()
    ]
    assert len(held) > 50 and all(torch.equal(before[k], teacher[k]) for k in held), (
        "all other weights are the teacher's"
    )

    made = open_checkpoint(tmp_path / "weights.pth")
    assert (made.family.name, made.backbone) == ("soc", "video_swin_nano"), (
        "strictly: without the heads of the distillation"
    )
    small = open_checkpoint(made.export(tmp_path / "small.safetensors"))
    left_out = {k.removeprefix("backbone.0.body.") for k in made.weights.keys() - small.weights.keys()}
    assert len(left_out) == 7 and all(k.endswith("attn.relative_position_index") for k in left_out)
    again = small.network("last").backbone[0].body.state_dict()
    assert all(torch.equal(again[k], made.weights["backbone.0.body." + k]) for k in left_out), (
        "computed from the window size"
    )
    resumed = training("soc", "video_swin_nano", clip_of(4), weights=str(tmp_path / "weights.pth"))
    own = resumed.network.backbone[0].body.layers[1].blocks[0].attn.qkv.weight
    assert torch.equal(own, task.network.backbone[0].body.layers[1].blocks[0].attn.qkv.weight)
    assert all(v.isfinite() for v in losses(resumed.network, resumed.collate([resumed.samples()[0]])).values())


def test_validation_measures_masks_and_motion(teacher_and_task):
    _, task = teacher_and_task
    task.score = lambda found, true: float((found == true).mean())
    task.settings = task.settings | {"validate_clips": 1}
    with torch.no_grad():
        found = task.validate(task.network.eval())
    assert set(found) == {"J&F", "Motion"} and 0 <= found["Motion"] <= 1


def test_a_teacher_of_another_kind_is_refused(teacher_and_task):
    path, _ = teacher_and_task
    with pytest.raises(InputError, match="holds weights of soc, expected mutr"):
        training("mutr", "video_swin_nano", teacher=str(path))


def test_frames_lie_close_together_with_a_teacher(teacher_and_task):
    path, _ = teacher_and_task
    small = {"variant": "video_swin_nano", "text_width": 32, "text_layers": 1}
    assert make_task("soc", {**small, "teacher": str(path)}).clips.spread is False
    assert make_task("soc", small).clips.spread is True
