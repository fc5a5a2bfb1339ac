"""Training of the candidate network: losses equal their definition, it learns, resumes, refuses what does not fit."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.networks.backbones.mobilenetv2 import MobileNetV2
from rvos_ensemble.adapters.networks.candidates.network import CandidateNetwork
from rvos_ensemble.adapters.networks.candidates.selection import Candidates
from rvos_ensemble.adapters.training.candidates import DEFAULTS, CandidateTask, make_task, validation
from rvos_ensemble.adapters.training.candidates.losses import losses
from rvos_ensemble.adapters.training.candidates.targets import IGNORED, Targets
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.samples.sample import ENDLESS, VOID, Sample

SIZE = (64, 96)
PLAIN = {"shapes": 0, "plain": 1, "colour": 0, "light": 0, "blur": 0, "compression": 0, "window": 0.95}


def two_objects(empty=False) -> Sample:
    """A red disc and a blue square on grey noise, and a strip of void."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    ids = np.zeros(SIZE, np.uint8)
    if not empty:
        ids[np.hypot(y - 26, x - 24) < 17] = 1
        ids[(abs(y - 36) < 15) & (abs(x - 70) < 15)] = 2
    ids[:3] = VOID
    noise = np.random.default_rng(0).integers(0, 20, (*SIZE, 1))
    colours = np.zeros((256, 3), int) + 110
    colours[1:3] = (210, 60, 60), (60, 90, 200)
    return Sample((colours[ids] + noise).astype(np.uint8)[None], ids[None])


class Fixed:
    def __init__(self, sample):
        self.sample = sample

    def __len__(self):
        return ENDLESS

    def __getitem__(self, i):
        return self.sample


def training(held_out=None, **settings) -> CandidateTask:
    values = {**defaults_of(DEFAULTS), **PLAIN, "channels": 16, "short_side": 64, "size": list(SIZE), **settings}
    clips = Fixed(two_objects())
    return CandidateTask(values, clips, clips, held_out or {})


@pytest.fixture(scope="module")
def task():
    made = training()
    made.network.eval()  # norms that do not change
    return made


@torch.no_grad()
def test_losses_are_their_definitions(task):
    images, parts = task.collate([two_objects(), two_objects(empty=True)])
    found = losses(task.network, images, Targets(*parts))
    cells, targets = task.network(images), Targets(*parts)
    total, count = 0.0, int((targets.owner >= 0).sum())
    for b, row, column in np.ndindex(*targets.owner.shape):
        owner = int(targets.owner[b, row, column])
        p = float(cells.objectness[b, row, column].sigmoid())
        if owner >= 0:
            total += 0.25 * (1 - p) ** 2 * -np.log(p)
        elif owner != IGNORED:
            total += 0.75 * p**2 * -np.log(1 - p)
    assert float(found["objectness"]) == pytest.approx(total / count, rel=1e-4)
    means = {"dice": [], "cross_entropy": [], "quality": []}
    for own in (0, 1):
        values = {key: [] for key in means}
        for row, column in (targets.owner[0] == own).nonzero().tolist():
            logits = task.network.masks(cells, 0, torch.tensor([row]), torch.tensor([column]))[0]
            p = logits.sigmoid() * ~targets.void[0]
            truth = targets.masks[own]
            values["dice"].append(3 * (1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)))
            every = F.binary_cross_entropy(p, truth, reduction="none")
            values["cross_entropy"].append(every.mean())
            mask, true = p > 0.5, truth > 0.5
            iou = (mask & true).sum() / (mask | true).sum()
            q = cells.quality[0, row, column].sigmoid()
            values["quality"].append(-(iou * q.log() + (1 - iou) * (1 - q).log()))
        for key in means:
            means[key].append(float(torch.stack(values[key]).mean()))
    for key, both in means.items():
        assert float(found[key]) == pytest.approx(np.mean(both), rel=1e-4)


def test_void_costs_nothing(task):
    sample = two_objects()
    hidden = Sample(sample.images, np.where(sample.ids == 2, VOID, sample.ids))
    images, parts = task.collate([hidden])
    targets = Targets(*parts)
    before = losses(task.network, images, targets)
    assert len(targets.masks) == 1 and (targets.owner == IGNORED).any()
    pixels = targets.void[:, None].repeat_interleave(4, 2).repeat_interleave(4, 3)
    cells = task.network(images)
    cells.objectness.retain_grad(), cells.features.retain_grad()

    class Same:
        masks = task.network.masks

        def __call__(self, images):
            return cells

    sum(losses(Same(), images, targets).values()).backward()
    assert pixels.any() and (cells.features.grad[:, :, targets.void[0]] == 0).all()
    assert (cells.objectness.grad[targets.owner == IGNORED] == 0).all() and cells.objectness.grad.any()
    assert all(torch.isfinite(value) for value in before.values())


@pytest.mark.parametrize("empty", [False, True])
def test_gradients(empty):
    made = training()
    batch = made.collate([two_objects(empty)])
    found = made.losses(batch, 0)
    sum(found.values()).backward()
    grads = {name: p.grad for name, p in made.network.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None or not torch.isfinite(grad).all()] == []
    if empty:
        assert not any(found[key].detach() for key in ("dice", "cross_entropy", "quality"))
        assert found["objectness"].detach() > 0 and not grads["kernels.weight"].any()
    else:
        assert [name for name, grad in grads.items() if not grad.any()] == []


def test_it_learns_a_frame():
    frame = two_objects()
    made = training(held_out={"Frame": [frame]})
    batch = made.collate([frame])
    optimizer = torch.optim.AdamW(made.network.parameters(), 3e-3)
    for step in range(40):
        optimizer.zero_grad()
        sum(made.losses(batch, step).values()).backward()
        optimizer.step()
    found = made.validate(copy.deepcopy(made.network).eval())
    assert found["Frame IoU@3"] > 0.75 and found["Frame R50@10"] == 1


# A run, and what it starts from ---------------------------------------------------------------------------------------


def test_an_interrupted_run_resumes_with_the_same_numbers(tmp_path):
    values = {"steps": 2, "batch": 1, "save_every": 1, "log_every": 1, "validate_every": 2, "device": "cpu"}
    whole = loop.fit(training(held_out={"Frame": [two_objects()]}), values, tmp_path / "whole")
    broken = training()
    make = broken.losses
    broken.losses = lambda batch, step: {k: v * (1 if step < 1 else float("nan")) for k, v in make(batch, step).items()}
    with pytest.raises(FloatingPointError):
        loop.fit(broken, values, tmp_path / "parts")
    parts = loop.fit(training(held_out={"Frame": [two_objects()]}), values, tmp_path / "parts")
    a, b = (open_checkpoint(path, "candidates") for path in (whole, parts))
    assert a.weights.keys() == b.weights.keys() and all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    assert "a candidate network of width 16 (adapter `objects`)" in a.describe()
    assert '"Frame IoU@10"' in (tmp_path / "whole" / "log.jsonl").read_text()
    exported = open_checkpoint(a.export(tmp_path / "w.safetensors"), "candidates")
    assert exported.variant == (16, 64) and not any(p.requires_grad for p in exported.network().parameters())
    again = training(weights=str(whole), channels=64, short_side=96)
    assert torch.equal(again.network.kernels.weight, a.weights["kernels.weight"])
    assert int(again.network.short_side) == 96


def test_it_starts_from_an_encoder(tmp_path):
    torch.manual_seed(5)
    encoder = MobileNetV2()
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    made = training(weights=str(tmp_path / "encoder.pth"))
    for name, value in made.network.backbone.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name])
    groups = made.groups(1e-3, 0.1)
    trained = {id(p) for group in groups for p in group["params"]}
    own = dict(made.network.named_parameters())
    frozen = {name for name, p in own.items() if id(p) not in trained}
    assert {name.split(".")[2] for name in frozen} == {"0", "1", "2", "3"}
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rates[id(own["backbone.features.4.conv.0.0.weight"])] == pytest.approx(2e-4)
    assert rates[id(own["kernels.weight"])] == 1e-3


def test_weights_that_do_not_fit_are_refused(tmp_path):
    state = {k: v for k, v in MobileNetV2().state_dict().items() if not k.startswith("features.7.")}
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(InputError, match=r"cut.pth: as a MobileNetV2: .*features\.7\."):
        training(weights=str(tmp_path / "cut.pth"))
    state = CandidateNetwork(16, 64).state_dict()
    for name, value, message in (
        ("short_side", torch.tensor(0), "`short_side` is 0, expected"),
        ("lateral32.weight", torch.zeros(16, 8, 1, 1), "`lateral32.weight` has another shape"),
        ("scores.bias", torch.zeros(3), "scores.bias"),
    ):
        torch.save({"model": {**state, name: value}}, tmp_path / "wrong.pth")
        with pytest.raises(InputError, match=message):
            open_checkpoint(tmp_path / "wrong.pth", "candidates")


def write_videos(root, names):
    """Videos of one frame."""
    sample = two_objects()
    for name in names:
        for folder, file, content in (
            ("JPEGImages", "00000.jpg", sample.images[0]),
            ("Annotations", "00000.png", sample.ids[0]),
        ):
            (root / folder / name).mkdir(parents=True)
            Image.fromarray(content).save(root / folder / name / file)


def test_videos_whose_labels_are_parts_are_left_out(tmp_path):
    write_videos(tmp_path, ["a-person", "a-garments", "b-person"])
    values = {"data": str(tmp_path), "validation": str(tmp_path), "channels": 16, "validate_clips": 2}
    made = make_task("candidates", values)
    assert [v.masks[0].parent.name for v in made.frames.videos.videos] == ["a-person", "b-person"]
    assert len(made.held_out["Frame"]) == 3 and len(made.held_out["Collage"]) == 2
    with pytest.raises(InputError, match="leaves out every video"):
        make_task("candidates", {**values, "parts": "*"})
    with pytest.raises(InputError, match=r"`size` is \[64, 100\], expected multiples of 32"):
        make_task("candidates", {**values, "size": [64, 100]})


def test_shapes_are_rendered_for_training_and_validation():
    made = make_task("candidates", {"channels": 16, "size": [64, 96], "validate_clips": 2})
    assert made.samples()[0].ids.shape == (1, 64, 96) and len(made.held_out["Rendered"]) == 2


# Validation -----------------------------------------------------------------------------------------------------------


def test_measures_are_overlaps_with_the_first_candidates(monkeypatch):
    """Object 1 is found exactly by the fifth candidate, object 2 is never found; void does not count."""
    sample = two_objects()
    truth = torch.from_numpy(sample.ids[0] == 1)
    wrong, right = torch.full(SIZE, -1.0), torch.where(truth, 1.0, -1.0)
    right[:3] = 1  # void
    logits = torch.stack([wrong, wrong, wrong, wrong, right])
    monkeypatch.setattr(validation, "select", lambda *arguments: Candidates(logits, torch.ones(5)))
    found = validation.measures(CandidateNetwork(16, 64).eval(), [sample])
    assert found == {
        **{"IoU@3": 0, "R50@3": 0, "R70@3": 0},
        **{f"{name}@{count}": 0.5 for count in (5, 10) for name in ("IoU", "R50", "R70")},
    }
    assert validation.measures(CandidateNetwork(16, 64), []) == {}


def test_collages_are_the_same_at_every_call():
    frames = [two_objects(), two_objects()]
    a, b = (validation.collages(frames, 4) for _ in range(2))
    assert all((x.images == y.images).all() and (x.ids == y.ids).all() for x, y in zip(a, b, strict=True))
    assert any((x.ids[x.ids != VOID] > 2).any() for x in a) and validation.collages(frames[:1], 4) == []
