"""Training of UNINEXT: matching and losses equal their definitions, all weights learn, and the shipped weights."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights, shipped
from rvos_ensemble.adapters.networks.deformable import DeformableAttention
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.uninext.uninext import UninextFeatures
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.samples.sample import Sample
from rvos_ensemble.adapters.training.uninext import DEFAULTS, UninextTask, make_task, simota
from rvos_ensemble.adapters.training.uninext.batches import batch_of
from rvos_ensemble.adapters.training.uninext.losses import losses
from rvos_ensemble.adapters.training.uninext.task import predict

SIZE = (64, 112)


def clip_of(frames=1, size=(96, 168), empty=False):
    """A red disc and a blue square on grey; the square moves; it is not visible in the last frame if `empty`."""
    y, x = np.mgrid[: size[0], : size[1]]
    images, ids = [], []
    for t in range(frames):
        own = np.zeros(size, np.uint8)
        own[np.hypot(y - 42, x - 45) < 34] = 1
        if not (empty and t == frames - 1):
            own[(abs(y - 54) < 32) & (abs(x - 124 + 5 * t) < 32)] = 2
        noise = np.random.default_rng(t).integers(0, 20, (*size, 1))
        images.append(np.uint8([[120, 120, 120], [210, 60, 60], [60, 90, 200]])[own] + noise.astype(np.uint8))
        ids.append(own)
    return Sample(np.stack(images), np.stack(ids), (("the red disc", 1), ("the blue square", 2)))


class Fixed:
    """A data set of one clip."""

    def __init__(self, clip):
        self.clip = clip

    def __len__(self):
        return 10**6

    def __getitem__(self, i):
        return self.clip


def training(clip=None, score=None, held_out=None, **settings):
    given = {
        **defaults_of(DEFAULTS),
        "sizes": [SIZE],
        "validate_size": SIZE,
        "text_layers": 1,
        "text_width": 32,
        **settings,
    }
    return UninextTask(given, Fixed(clip or clip_of()), held_out, score)


@pytest.fixture(scope="module")
def task():
    """A task after two steps, so that no weight is zero, and a batch with an invisible object."""
    made = training()
    samples = [(clip_of(2, empty=True), [0, 1], 0.0)]
    batch = made.collate(samples)
    optimizer = torch.optim.Adam(made.network.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        sum(made.losses(batch, 0).values()).backward()
        optimizer.step()
    return made, batch


# ------------------------------------------------------------------------------------------------ matching and losses
def corners(box):
    cx, cy, w, h = box
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def overlap(a, b):
    """IoU and generalised IoU."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = corners(a), corners(b)
    both = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
    either = a[2] * a[3] + b[2] * b[3] - both
    around = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return both / either, both / either - (around - either) / around


def naive_match(logits, boxes, target, most):
    """SimOTA's rule for one image and one object, query by query."""
    costs, ious = [], []
    x1, y1, x2, y2 = corners(target)
    for logit, box in zip(logits, boxes, strict=True):
        p = 1 / (1 + np.exp(-logit))
        class_cost = -0.25 * (1 - p) ** 2 * np.log(p) + 0.75 * p**2 * np.log(1 - p)
        inside = x1 < box[0] < x2 and y1 < box[1] < y2
        near = abs(box[0] - target[0]) < 2.5 / 32 and abs(box[1] - target[1]) < 2.5 / 32
        iou, giou = overlap(box, target)
        ious.append(iou)
        costs.append(class_cost - 3 * giou + 100 * (not (inside and near)) + 10000 * (not (inside or near)))
    count = max(1, int(sum(sorted(ious)[::-1][:most])))
    return set(np.argsort(costs)[:count].tolist())


@pytest.mark.parametrize("most", [3, 10])
def test_queries_are_matched_by_the_rule(most):
    rng = np.random.default_rng(most)
    target = rng.uniform(0.3, 0.6, (8, 4))
    near = target[:, None] + rng.normal(0, 1, (8, 6, 4)) * np.linspace(0.005, 0.1, 8)[:, None, None]
    boxes = np.concatenate([rng.uniform(0.1, 0.7, (8, 9, 4)), near], 1)
    logits = rng.normal(0, 2, (8, 15))
    there = torch.tensor([True] * 7 + [False])
    found = simota.match(*(torch.from_numpy(x).float() for x in (logits, boxes, target)), there, most)
    wanted = [naive_match(*row, most) for row in zip(logits, boxes, target, strict=True)]
    assert [set(row.nonzero().flatten().tolist()) for row in found] == [*wanted[:7], set()]
    assert len({len(w) for w in wanted}) > 1  # several counts were tried


def test_losses_of_boxes_by_their_definition():
    logits, overlaps = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, 9.0]])
    boxes, target = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]]), torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    answers_ = torch.tensor([[True, False]])
    found = {k: float(v) for k, v in simota.box_losses(logits, boxes, target, answers_, overlaps).items()}
    p, q, o = (1 / (1 + np.exp(-x)) for x in (0.5, -1.0, 0.3))
    assert found["class"] == pytest.approx(
        2 * (-0.25 * (1 - p) ** 2 * np.log(p) - 0.75 * q**2 * np.log(1 - q)), rel=1e-5
    )
    assert found["box"] == pytest.approx(5 * 0.2, rel=1e-5)
    assert found["giou"] == pytest.approx(2 * 0.5, rel=1e-5)
    assert found["iou"] == pytest.approx(-(0.5 * np.log(o) + 0.5 * np.log(1 - o)), rel=1e-5)


def test_an_invisible_object_has_no_matched_query():
    logits, boxes, target = torch.zeros(1, 4), torch.rand(1, 4, 4), torch.zeros(1, 4)
    answers_ = simota.match(logits, boxes, target, torch.tensor([False]))
    assert not answers_.any()
    found = simota.box_losses(logits, boxes, target, answers_, logits)
    assert found["box"] == found["giou"] == found["iou"] == 0 < found["class"]
    assert all(v == 0 for v in simota.mask_losses(torch.zeros(0, 3, 3), torch.zeros(0, 3, 3)).values())


def test_a_batch_pairs_every_picture_with_every_sentence(task):
    made, _ = task
    clip = clip_of(2, empty=True)
    batch = batch_of([clip, clip_of(1)], [[1, 0], [0]], made.tokenizer, SIZE)
    assert batch["picture"].tolist() == [0, 0, 1, 1, 2]
    assert batch["visible"].tolist() == [True, True, False, True, True]
    assert batch["masks"].shape == (5, 16, 28)
    assert float(batch["masks"][0].mean()) == pytest.approx(float((clip.ids[0] == 2).mean()), abs=1e-5)
    rows, columns = np.nonzero(clip.ids[0] == 2)
    x1, x2, y1, y2 = columns.min() / 168, (columns.max() + 1) / 168, rows.min() / 96, (rows.max() + 1) / 96
    assert batch["boxes"][0].tolist() == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], abs=1e-6)
    words = made.tokenizer.decode(batch["ids"][0].tolist(), skip_special_tokens=False)
    assert words.startswith("[CLS] the blue square [SEP]")


# -------------------------------------------------------------------------------------------------------- what learns
def test_every_term_is_finite_and_every_weight_learns(task):
    made, batch = task
    network = made.network.train()
    terms = made.losses(batch, 0)
    assert terms.keys() == simota.WEIGHTS.keys()
    weights = [w for w in network.parameters() if w.requires_grad]
    for name, term in terms.items():
        assert torch.isfinite(term) and term > 0, name
        found = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
        assert any(g is not None and g.abs().sum() > 0 for g in found), name
    network.zero_grad()
    sum(terms.values()).backward()
    still = {n for n, w in network.named_parameters() if w.grad is None or not w.grad.abs().sum() > 0}
    assert {n for n in still if not n.endswith(("key.bias", "l_proj.bias"))} == set()  # a softmax is invariant to these
    assert all(torch.isfinite(w.grad).all() for w in weights if w.grad is not None)


def test_training_and_inference_compute_the_same_masks(task):
    """Both implementations of sampling; all layers and queries, compared with the last layer and the selected query."""
    made, batch = task
    network = copy.deepcopy(made.network).eval()
    frames, layout, size = network.prepare(batch["frames"])
    words = network.language_model(input_ids=batch["ids"], attention_mask=(~batch["padding"]).long())
    tokens = network.tokens(frames)
    found = network.decode(tokens[batch["picture"]], layout, words.last_hidden_state, batch["padding"])
    fits, iou = network.rate(found, -1)
    scores = (fits.sigmoid() * iou.sigmoid()).sqrt()
    best = scores.argmax(1)
    last, rows = found.layers[-1], torch.arange(len(best))
    canvas = network.mask_features(found, layout)
    masks = network.mask_logits(canvas, last.state[rows, best][:, None], last.centres[rows, best][:, None], size)
    assert masks.requires_grad
    for b, picture in enumerate(batch["picture"].tolist()):
        features = UninextFeatures(tokens[picture : picture + 1].detach(), layout, size)
        said = Text(words.last_hidden_state[b : b + 1].detach(), batch["padding"][b : b + 1])
        answer = network.answer(features, said)
        assert int(answer.query) == int(best[b])
        for ours, theirs in (
            (scores[b], answer.query_scores[0, 0]),
            (last.boxes[b, best[b]], answer.boxes[0, 0]),
            (masks[b, 0], answer.logits[0, 0]),
        ):
            assert (ours - theirs).abs().max().item() <= 1e-4 * theirs.abs().max().item()


def test_gradients_of_sampling_are_those_of_both_ways():
    """Numerical gradients of `embedding_bag`, used in inference, equal those of `grid_sample`, used in training."""
    torch.manual_seed(0)
    attention, sizes = DeformableAttention(16, 2, 2, 2).double(), [(4, 6), (2, 3)]
    query, tokens = torch.randn(1, 5, 16).double(), torch.randn(1, 30, 16).double().requires_grad_()
    reference = torch.rand(1, 5, 2).double()
    attention(query, reference, tokens, sizes).square().sum().backward()
    step = 1e-3
    for i, c in itertools.product((0, 9, 27), (0, 7)):
        values = []
        for sign in (1, -1):
            moved = tokens.detach().clone()
            moved[0, i, c] += sign * step
            with torch.no_grad():
                values.append(float(attention(query, reference, moved, sizes).square().sum()))
        assert float(tokens.grad[0, i, c]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_overfits_a_clip():
    made, steps = training(), 130
    batch = made.collate([(made.clips[0], [0, 1], 0.0)])
    optimizer = torch.optim.Adam(made.network.parameters())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 10) * (1 - step / steps)
        optimizer.zero_grad()
        sum(losses(made.network, batch).values()).backward()
        nn.utils.clip_grad_norm_(made.network.parameters(), 5.0)
        optimizer.step()
    clip = made.clips[0]
    with torch.no_grad():
        found = predict(made.network.eval(), made.tokenizer, clip, SIZE)
    for mask, (sentence, own) in zip(found, clip.expressions, strict=True):
        truth = clip.ids == own
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9, sentence


class Killed(Exception):
    pass


def test_an_interrupted_run_resumes_with_the_same_numbers(tmp_path):
    given = {"steps": 4, "batch": 2, "lr": 1e-3, "save_every": 2, "validate_every": 4, "log_every": 1, "device": "cpu"}
    settings = {**defaults_of(loop.DEFAULTS), **given}
    small = {"sizes": [SIZE, (48, 84)], "expressions": 1}
    loop.fit(training(**small), settings, tmp_path / "whole")

    killed = training(**small)
    learn = killed.losses

    def losses_until_killed(batch, step):
        if step == 3:
            raise Killed
        return learn(batch, step)

    killed.losses = losses_until_killed
    with pytest.raises(Killed):
        loop.fit(killed, settings, tmp_path / "parts")
    loop.fit(training(**small), settings, tmp_path / "parts")
    whole, parts = (read_weights(tmp_path / name / "weights.pth") for name in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    assert open_checkpoint(tmp_path / "whole" / "weights.pth", "uninext").backbone == "convnext_nano"


def test_validation_scores_every_expression():
    seen = []

    def score(found, truth):
        seen.append((found.shape, truth.any()))
        return 0.25

    made = training(score=score, held_out=Fixed(clip_of(4)), validate_clips=2)
    with torch.no_grad():
        assert made.validate(made.network.eval()) == {"J&F": 0.25}
    assert seen == [((2, 96, 168), True)] * 4
    assert training().validate(made.network) == {}


@pytest.mark.parametrize("settings", [{"variant": "uninext_large"}, {"layers": 3}])
def test_settings_that_do_not_exist_are_refused(settings):
    with pytest.raises(InputError, match="|".join(map(str, settings.values())) + "|layers"):
        make_task("uninext", settings)


# ---------------------------------------------------------------------------------------------------- shipped weights
def test_the_shipped_weights_fit_strictly(tmp_path):
    path = shipped()["uninext_nano"]
    assert path.stat().st_size <= 4 * 2**20 and path.with_suffix(".md").is_file()
    found = open_checkpoint(path, "uninext")
    assert found.ignored == 0
    network = found.network()
    assert all(torch.isfinite(w).all() for w in network.parameters())
    weights = read_weights(path)
    weights.pop("detr.mask_head.lay1.weight")
    torch.save({"model": weights}, tmp_path / "less.pth")
    with pytest.raises(InputError, match="weights are missing: detr"):
        open_checkpoint(tmp_path / "less.pth", "uninext")
