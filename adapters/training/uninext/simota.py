"""The losses of UNINEXT, with the matching of SimOTA: several queries that lie on an object are matched to it.

Source: Ge et al., "YOLOX", 2021, section 2.1; Yan et al., UNINEXT, CVPR 2023, whose weights
and costs are used here. An expression has one object per frame, so that no query is matched twice.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.training.losses import dice, focal, giou

# A box is near an object if their centres are at most this far apart, as a share of the image's width and height.
CENTRE = 2.5 / 32
# Additional costs of a box whose centre is not both near and inside the object, and of one that is neither.
FAR, NEITHER = 100.0, 10000.0
WEIGHTS = {"class": 2.0, "box": 5.0, "giou": 2.0, "iou": 1.0, "mask": 2.0, "dice": 5.0}  # as published


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (cx, cy, width, height) [..., 4] that broadcast; [...].

    >>> iou(torch.tensor([0.5, 0.5, 0.5, 0.5]), torch.tensor([0.5, 0.5, 0.5, 1.0]))
    tensor(0.5000)
    """
    low = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    both = (high - low).clamp(min=0).prod(-1)
    return both / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both).clamp(min=1e-9)


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, target: Tensor, visible: Tensor, most: int = 10) -> Tensor:
    """The matched queries, bool [B, Q]: those of lowest cost, as many as the sum of the best IoUs, at least one.

    Args:
        logits: [B, Q].
        boxes: [B, Q, 4].
        target: [B, 4], the true boxes.
        visible: bool [B], whether the object is visible.
        most: number of IoUs that are summed, and maximum number of matched queries.
    """
    target = target[:, None]
    distance = (boxes[..., :2] - target[..., :2]).abs()
    inside, near = (distance < target[..., 2:] / 2).all(-1), (distance < CENTRE).all(-1)
    cost = focal(logits, logits.new_ones(())) - focal(logits, logits.new_zeros(())) - 3 * giou(boxes, target)
    cost = cost + FAR * ~(inside & near) + NEITHER * ~(inside | near)
    most = min(most, logits.shape[1])
    count = iou(boxes, target).topk(most, 1).values.sum(1).int().clamp(min=1)  # [B]
    rank = cost.argsort(1).argsort(1)
    return (rank < count[:, None]) & visible[:, None]


def box_losses(
    logits: Tensor, boxes: Tensor, target: Tensor, matched: Tensor, overlap: Tensor | None = None
) -> dict[str, Tensor]:
    """Class and box losses, each divided by the number of matched queries.

    Args:
        logits: [B, Q], whether the query is the object.
        boxes: [B, Q, 4].
        target: [B, 4].
        matched: bool [B, Q], from `match`.
        overlap: [B, Q], logits of the predicted IoU of each box; None for proposals, which predict none.

    Returns:
        {"class", "box", "giou"} and "iou", weighted scalars.
    """
    row, query = matched.nonzero(as_tuple=True)
    count = max(len(row), 1)
    box, truth = boxes[row, query], target[row]
    losses = {
        "class": focal(logits, matched).sum() / count,
        "box": (box - truth).abs().sum() / count,
        "giou": (1 - giou(box, truth)).sum() / count,
    }
    if overlap is not None:
        true_iou = iou(box, truth).detach()
        losses["iou"] = F.binary_cross_entropy_with_logits(overlap[row, query], true_iou, reduction="sum") / count
    return {name: WEIGHTS[name] * loss for name, loss in losses.items()}


def mask_losses(masks: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Weighted mask losses {"mask", "dice"}, each divided by the number of matched queries.

    Args:
        masks: logits [M, h, w] of the matched queries.
        truth: [M, h, w], 0..1.
    """
    count = max(len(masks), 1)
    masks, truth = masks.flatten(1), truth.flatten(1)
    losses = {"mask": focal(masks, truth).mean(1).sum() / count, "dice": dice(masks, truth).sum() / count}
    return {name: WEIGHTS[name] * loss for name, loss in losses.items()}
