"""Losses of referring segmentation, compared with naive implementations of their definitions."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos_ensemble.adapters.training.losses import (
    WEIGHTS,
    ExpressionTargets,
    QueryPredictions,
    boxes_of,
    clip_losses,
    dice,
    focal,
    giou,
    match,
)
from rvos_ensemble.adapters.training.uninext import simota

E, T, Q, H, W = 3, 4, 5, 6, 7


@pytest.fixture
def case():
    """Random predictions, and objects of which one is not visible in a frame."""
    generator = torch.Generator().manual_seed(3)
    masks = torch.zeros(E, T, 4 * H, 4 * W, dtype=torch.bool)
    for e in range(E):
        for t in range(T):
            masks[e, t, 4 + e : 14 + e, 2 * t : 2 * t + 9] = True
    masks[1, 2] = False
    found = QueryPredictions(
        torch.randn(E, T, Q, generator=generator),
        torch.rand(E, T, Q, 4, generator=generator) * 0.5 + 0.2,
        torch.randn(E, Q, T, H, W, generator=generator),
    )
    return found, ExpressionTargets.of(masks, (H, W))


def focal_naive(x: float, y: float, alpha=0.25, gamma=2.0) -> float:
    p = 1 / (1 + math.exp(-x))
    if y == 1:
        return -alpha * (1 - p) ** gamma * math.log(p)
    if y == 0:
        return -(1 - alpha) * p**gamma * math.log(1 - p)
    right = p * y + (1 - p) * (1 - y)  # as the official codes write it, which is the same for shares of a pixel
    cross_entropy = -y * math.log(p) - (1 - y) * math.log(1 - p)
    return (alpha * y + (1 - alpha) * (1 - y)) * (1 - right) ** gamma * cross_entropy


def corners(box):
    cx, cy, w, h = (float(n) for n in box)
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def giou_naive(a, b) -> float:
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = corners(a), corners(b)
    both = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    either = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both
    around = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return both / either - (around - either) / around


def naive(found: QueryPredictions, target: ExpressionTargets, e: int, q: int, shown: float) -> dict[str, float]:
    """The losses of expression e if query q is matched; `shown` counts visible objects of all expressions."""
    there = target.visible[e].tolist()
    parts = dict.fromkeys(WEIGHTS, 0.0)
    for t in range(T):
        for other in range(Q):
            parts["class"] += focal_naive(float(found.logits[e, t, other]), float(other == q and there[t])) / shown
        if there[t]:
            box, truth = found.boxes[e, t, q], target.boxes[e, t]
            parts["box"] += float((box - truth).abs().sum()) / shown
            parts["giou"] += (1 - giou_naive(box, truth)) / shown
    pairs = list(zip(found.masks[e, q].flatten().tolist(), target.masks[e].flatten().tolist(), strict=True))
    parts["mask"] = sum(focal_naive(x, y) for x, y in pairs) / len(pairs) / E
    p = [1 / (1 + math.exp(-x)) for x, _ in pairs]
    both = sum(a * y for a, (_, y) in zip(p, pairs, strict=True))
    parts["dice"] = (1 - (2 * both + 1) / (sum(p) + sum(y for _, y in pairs) + 1)) / E
    return parts


def cost_naive(found: QueryPredictions, target: ExpressionTargets, e: int, q: int) -> float:
    """As in ReferFormer's matcher: class over the frames that show the object, boxes over all frames."""
    seen = [t for t in range(T) if target.visible[e, t]]
    logits = found.logits[e, :, q].tolist()
    score = sum(focal_naive(logits[t], 1) - focal_naive(logits[t], 0) for t in seen) / len(seen)
    box = sum(float((found.boxes[e, t, q] - target.boxes[e, t]).abs().sum()) for t in range(T)) / T
    overlap = sum(giou_naive(found.boxes[e, t, q], target.boxes[e, t]) for t in seen) / T
    parts = naive(found, target, e, q, 1.0)
    return 2 * score + 5 * box - 2 * overlap + E * (2 * parts["mask"] + 5 * parts["dice"])


def losses_of(found: QueryPredictions, target: ExpressionTargets):
    query = match(found, target)
    return clip_losses(found, found.masks[torch.arange(E), query], query, target)


def test_match_takes_the_query_that_costs_least_over_the_clip(case):
    found, target = case
    expected = [min(range(Q), key=lambda q, e=e: cost_naive(found, target, e, q)) for e in range(E)]
    assert match(found, target).tolist() == expected
    assert len(set(expected)) > 1  # or the test could not tell the axes apart


def test_matching_stays_on_the_device():
    """Tensors on the meta device are as strict about devices as those of a GPU."""
    found = QueryPredictions(
        *(torch.zeros(shape, device="meta") for shape in ((2, 3, 5), (2, 3, 5, 4), (2, 5, 3, 8, 8)))
    )
    there = torch.ones(2, 3, dtype=torch.bool, device="meta")
    target = ExpressionTargets(torch.zeros(2, 3, 8, 8, device="meta"), torch.zeros(2, 3, 4, device="meta"), there)
    assert match(found, target).device.type == "meta"
    one = (torch.zeros(2, 5), torch.zeros(2, 5, 4), torch.zeros(2, 4), torch.ones(2, dtype=torch.bool))
    assert simota.match(*(x.to("meta") for x in one)).device.type == "meta"


def test_losses_are_those_of_the_definition(case):
    found, target = case
    shown = float(target.visible.sum())
    rows = [naive(found, target, e, q, shown) for e, q in enumerate(match(found, target).tolist())]
    losses = losses_of(found, target)
    for name, weight in WEIGHTS.items():
        assert float(losses[name]) == pytest.approx(weight * sum(row[name] for row in rows), rel=1e-5), name


def test_an_answer_that_is_right_costs_nothing(case):
    _, target = case
    masks = torch.full((E, Q, T, H, W), -30.0)
    target = replace(target, masks=target.masks.round())
    masks[:, 2] = 60 * target.masks - 30
    boxes = torch.full((E, T, Q, 4), 0.5)
    boxes[:, :, 2] = target.boxes
    logits = torch.full((E, T, Q), -30.0)
    logits[..., 2] = 60 * target.visible.float() - 30
    found = QueryPredictions(logits, boxes, masks)
    assert match(found, target).tolist() == [2] * E
    assert sum(losses_of(found, target).values()) < 1e-5


def test_gradients_reach_the_matched_query_alone_and_every_class_logit(case):
    found, target = case
    found = QueryPredictions(*(x.clone().requires_grad_() for x in (found.logits, found.boxes, found.masks)))
    sum(losses_of(found, target).values()).backward()
    matched = torch.zeros(E, Q).bool()
    matched[torch.arange(E), match(found, target)] = True
    assert torch.equal(found.masks.grad.flatten(2).abs().sum(2) > 0, matched)
    assert torch.equal(found.boxes.grad.abs().sum((1, 3)) > 0, matched)
    assert (found.logits.grad != 0).all()
    assert (found.boxes.grad[1, 2] == 0).all()  # the object is not visible


def test_an_object_that_is_never_visible_has_empty_target_masks_and_no_box(case):
    found, _ = case
    target = ExpressionTargets.of(torch.zeros(E, T, 4 * H, 4 * W).bool(), (H, W))
    losses = losses_of(found, target)
    assert losses["box"] == losses["giou"] == 0
    assert all(torch.isfinite(x) for x in losses.values())


def test_boxes_of_masks():
    masks = torch.zeros(2, 3, 8, 10, dtype=torch.bool)
    masks[0, 1, 2:5, 4] = True
    masks[0, 1, 7, 9] = True
    boxes = boxes_of(masks)
    assert boxes[0, 1].tolist() == pytest.approx([0.7, 0.625, 0.6, 0.75])
    assert boxes.flatten(0, 1).abs().sum(1).ne(0).tolist() == [False, True, False, False, False, False]


numbers = st.floats(0.05, 0.95)


@given(st.lists(numbers, min_size=8, max_size=8))
@settings(max_examples=50, deadline=None)
def test_giou_is_that_of_the_definition_and_symmetric(n):
    a, b = torch.tensor(n).view(2, 4)
    assert float(giou(a, b)) == pytest.approx(giou_naive(a, b), abs=1e-5)
    assert float(giou(a, b)) == pytest.approx(float(giou(b, a)), abs=1e-6)
    assert float(giou(a, a)) == pytest.approx(1, abs=1e-6)


def test_focal_and_dice_are_stable_where_logits_are_huge():
    x = torch.tensor([-1e4, 1e4], requires_grad=True)
    for y in (torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])):
        loss = focal(x, y).sum() + dice(x, y)
        assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, x)[0]).all()
