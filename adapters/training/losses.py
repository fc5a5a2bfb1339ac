"""Losses of referring segmentation, and the matching of queries to expressions.

An expression refers to one object per clip, the same in every frame, so that the Hungarian assignment of one target to
Q queries is the argmin of the queries' costs over the whole clip: no solver is needed.

Source: Wu et al., "Language as Queries for Referring Video Object Segmentation" (ReferFormer), CVPR 2022, eq. 5-7, with
the weights of its code; MUTR, SOC and UNINEXT take theirs from the same family. Lin et al., "Focal Loss for Dense
Object Detection", ICCV 2017; Milletari et al., "V-Net", 3DV 2016 (dice); Rezatofighi et al., "Generalized Intersection
over Union", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

WEIGHTS = {
    "class": 2.0,
    "box": 5.0,
    "giou": 2.0,
    "mask": 2.0,
    "dice": 5.0,
}  # of ReferFormer's losses and costs


@dataclass(frozen=True)
class ExpressionTargets:
    """The true objects of E expressions in T frames.

    Args:
        masks: float [E, T, h, w], the share of each predicted pixel that the object covers.
        boxes: float [E, T, 4], (cx, cy, width, height) in 0..1; zeros where the object is not visible.
        visible: bool [E, T], whether the object is visible in the frame.
    """

    masks: Tensor
    boxes: Tensor
    visible: Tensor

    @classmethod
    def of(cls, masks: Tensor, size: tuple[int, int]) -> ExpressionTargets:
        """Makes targets from masks bool [E, T, H, W] for predictions of `size` (h, w)."""
        visible = masks.flatten(2).any(2)
        return cls(F.interpolate(masks.float(), size, mode="area"), boxes_of(masks), visible)


def boxes_of(masks: Tensor) -> Tensor:
    """The bounding boxes (cx, cy, width, height), in 0..1, of masks bool [..., h, w]; zeros for empty masks.

    >>> boxes_of(torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0]]).bool())
    tensor([0.5000, 0.7500, 0.5000, 0.5000])
    """
    ends = []
    for axis in (-2, -1):  # occupied columns, then occupied rows
        line = masks.any(axis)
        index = torch.arange(line.shape[-1], device=line.device)
        low = torch.where(line, index, line.shape[-1]).amin(-1)
        high = torch.where(line, index + 1, 0).amax(-1)
        ends.append((low / line.shape[-1], high / line.shape[-1]))
    (x1, x2), (y1, y2) = ends
    boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)
    return boxes.where(masks.flatten(-2).any(-1)[..., None], 0.0)


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss of every element.

    Args:
        logits: float [...].
        target: 0..1, with a shape that broadcasts with the logits.
        alpha: weight of positive targets; negative ones have the weight 1 - alpha.
        gamma: focusing exponent that reduces the loss of well-classified elements.
    """
    logits, target = torch.broadcast_tensors(logits.float(), target.to(torch.float32))
    p = logits.sigmoid()
    wrong = p + target - 2 * p * target
    weight = (1 - alpha) + (2 * alpha - 1) * target
    return weight * wrong**gamma * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of masks, logits [..., n] against 0 or 1; one common pixel is added for small objects; [...]."""
    p, target = torch.broadcast_tensors(logits.float().sigmoid(), target.to(torch.float32))
    both = (p * target).sum(-1)
    return 1 - (2 * both + 1) / (p.sum(-1) + target.sum(-1) + 1)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU, in -1..1, of boxes (cx, cy, width, height) [..., 4] that broadcast; [...].

    >>> giou(torch.tensor([0.5, 0.5, 0.5, 0.5]), torch.tensor([0.5, 0.5, 0.5, 1.0]))
    tensor(0.5000)
    """
    (a1, a2), (b1, b2) = ((x[..., :2] - x[..., 2:] / 2, x[..., :2] + x[..., 2:] / 2) for x in (a, b))
    both = (torch.minimum(a2, b2) - torch.maximum(a1, b1)).clamp(min=0).prod(-1)
    either = (a2 - a1).prod(-1) + (b2 - b1).prod(-1) - both
    around = (torch.maximum(a2, b2) - torch.minimum(a1, b1)).prod(-1)
    tiny = torch.finfo(around.dtype).tiny
    return both / either.clamp(min=tiny) - (around - either) / around.clamp(min=tiny)


@dataclass(frozen=True)
class QueryPredictions:
    """The predictions of Q queries of one decoder layer for E expressions in T frames.

    Args:
        logits: [E, T, Q], whether the query is the object; the best of several classes.
        boxes: [E, T, Q, 4].
        masks: logits [E, Q, T, h, w].
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor


@torch.no_grad()
def match(predictions: QueryPredictions, target: ExpressionTargets, weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    """The query with the lowest cost over the clip for each expression, int64 [E].

    Args:
        predictions: of Q queries.
        target: of the expressions.
        weights: weights of the costs, as in `WEIGHTS`.
    """
    logits, visible = predictions.logits.float(), target.visible[..., None].float()  # [E, T, Q], [E, T, 1]
    score = focal(logits, logits.new_ones(())) - focal(logits, logits.new_zeros(()))
    score = (score * visible).sum(1) / visible.sum(1).clamp(min=1)  # mean over the frames that show the object
    boxes = target.boxes[:, :, None]
    box = (predictions.boxes - boxes).abs().sum(-1).mean(1)
    overlap = (giou(predictions.boxes, boxes) * visible).mean(1)
    masks, truth = predictions.masks.flatten(2), target.masks.flatten(1)[:, None]  # [E, Q, T h w], [E, 1, T h w]
    cost = {"class": score, "box": box, "giou": -overlap, "mask": focal(masks, truth).mean(2)}
    cost["dice"] = dice(masks, truth)
    return sum(weights[name] * part for name, part in cost.items()).argmin(1)


def clip_losses(
    predictions: QueryPredictions,
    masks: Tensor,
    query: Tensor,
    target: ExpressionTargets,
    weights: Mapping[str, float] = WEIGHTS,
) -> dict[str, Tensor]:
    """The weighted losses of one decoder layer, each a mean over the expressions.

    All queries get the class loss: the matched query is positive in the frames that show the object. Only the matched
    query gets box losses (in the frames that show the object) and mask losses (in all frames; the mask is empty where
    the object is not visible).

    Args:
        predictions: of Q queries; their masks are used by `match` only.
        masks: masks of the matched queries, logits [E, T, h, w].
        query: the matched queries, int64 [E].
        target: of the expressions.
        weights: weights of the losses, as in `WEIGHTS`.

    Returns:
        {"class", "box", "giou", "mask", "dice"}: scalars.
    """
    rows = torch.arange(len(query), device=query.device)
    visible = target.visible.float()  # [E, T]
    count = visible.sum().clamp(min=1)
    positive = F.one_hot(query, predictions.logits.shape[2])[:, None] * visible[..., None]  # [E, T, Q]
    boxes = predictions.boxes[rows, :, query].float()  # [E, T, 4]
    masks, truth = masks.flatten(1), target.masks.flatten(1)
    losses = {
        "class": focal(predictions.logits, positive).sum() / count,
        "box": ((boxes - target.boxes).abs().sum(-1) * visible).sum() / count,
        "giou": ((1 - giou(boxes, target.boxes)) * visible).sum() / count,
        "mask": focal(masks, truth).mean(),
        "dice": dice(masks, truth).mean(),
    }
    return {name: weights[name] * loss for name, loss in losses.items()}
