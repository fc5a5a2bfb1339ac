"""UNINEXT's losses: several queries may answer for one object, as many as lie on it (SimOTA).

Source: Ge et al., "YOLOX", 2021, section 2.1; Yan et al., UNINEXT, CVPR 2023, whose code this follows in weights and
costs. One expression has one object in a frame, so that no query can be wanted by two.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.training.losses import dice, focal, giou

CENTRE = 2.5 / 32  # how far from the object's centre, in the image's width or height, a box's centre is near it
FAR, NEITHER = 100.0, 10000.0  # costs of a box whose centre is not near and inside, or neither of the two
WEIGHTS = {"class": 2.0, "box": 5.0, "giou": 2.0, "iou": 1.0, "mask": 2.0, "dice": 5.0}  # as published


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (cx, cy, width, height) [..., 4] whose shapes broadcast; [...].

    >>> iou(torch.tensor([0.5, 0.5, 0.5, 0.5]), torch.tensor([0.5, 0.5, 0.5, 1.0]))
    tensor(0.5000)
    """
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    both = (high - low).clamp(min=0).prod(-1)
    return both / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both).clamp(min=1e-9)


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, target: Tensor, there: Tensor, most: int = 10) -> Tensor:
    """The queries that answer, bool [B, Q]: the cheapest ones, as many as the best IoUs sum up to, at least one.

    Args:
        logits: [B, Q].
        boxes: [B, Q, 4].
        target: [B, 4], the true boxes.
        there: bool [B], whether there is an object at all.
        most: this many IoUs are summed, and so many queries answer at most.
    """
    target = target[:, None]
    away = (boxes[..., :2] - target[..., :2]).abs()
    inside, near = (away < target[..., 2:] / 2).all(-1), (away < CENTRE).all(-1)
    cost = focal(logits, logits.new_ones(())) - focal(logits, logits.new_zeros(())) - 3 * giou(boxes, target)
    cost = cost + FAR * ~(inside & near) + NEITHER * ~(inside | near)
    most = min(most, logits.shape[1])
    count = iou(boxes, target).topk(most, 1).values.sum(1).int().clamp(min=1)  # [B]
    rank = cost.argsort(1).argsort(1)
    return (rank < count[:, None]) & there[:, None]


def box_losses(
    logits: Tensor, boxes: Tensor, target: Tensor, answers: Tensor, overlap: Tensor | None = None
) -> dict[str, Tensor]:
    """Losses of classes and boxes, each per query that answers.

    Args:
        logits: [B, Q], whether it is the object.
        boxes: [B, Q, 4].
        target: [B, 4].
        answers: bool [B, Q], from `match`.
        overlap: [B, Q], logits of the IoU that a query believes its box to have; None for proposals, which say none.

    Returns:
        {"class", "box", "giou"} and "iou", weighted scalars.
    """
    row, query = answers.nonzero(as_tuple=True)
    count = max(len(row), 1)
    box, truth = boxes[row, query], target[row]
    losses = {
        "class": focal(logits, answers).sum() / count,
        "box": (box - truth).abs().sum() / count,
        "giou": (1 - giou(box, truth)).sum() / count,
    }
    if overlap is not None:
        real = iou(box, truth).detach()
        losses["iou"] = F.binary_cross_entropy_with_logits(overlap[row, query], real, reduction="sum") / count
    return {name: WEIGHTS[name] * loss for name, loss in losses.items()}


def mask_losses(masks: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Losses of masks, {"mask", "dice"}, weighted scalars, each per query that answers.

    Args:
        masks: logits [M, h, w] of the queries that answer.
        truth: [M, h, w], 0..1, what they are to be.
    """
    count = max(len(masks), 1)
    masks, truth = masks.flatten(1), truth.flatten(1)
    losses = {"mask": focal(masks, truth).mean(1).sum() / count, "dice": dice(masks, truth).sum() / count}
    return {name: WEIGHTS[name] * loss for name, loss in losses.items()}
