"""Losses of referring segmentation, and which query answers for an expression.

An expression has one object in a clip, the same in every frame, so the Hungarian assignment of one target to Q queries
is the argmin of the queries' costs over the whole clip: no solver is needed.

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

WEIGHTS = {"class": 2.0, "box": 5.0, "giou": 2.0, "mask": 2.0, "dice": 5.0}  # of ReferFormer's loss and matching cost


@dataclass(frozen=True)
class Target:
    """The objects of E expressions in T frames.

    Args:
        masks: float [E, T, h, w], share of each predicted pixel that the object covers.
        boxes: float [E, T, 4], (cx, cy, width, height) in 0..1; zeros where the object is not in the frame.
        there: bool [E, T], whether it is.
    """

    masks: Tensor
    boxes: Tensor
    there: Tensor

    @classmethod
    def of(cls, masks: Tensor, size: tuple[int, int]) -> Target:
        """From masks [E, T, H, W] of the frames (bool), for predictions of `size` (h, w)."""
        there = masks.flatten(2).any(2)
        return cls(F.interpolate(masks.float(), size, mode="area"), boxes_of(masks), there)


def boxes_of(masks: Tensor) -> Tensor:
    """The boxes (cx, cy, width, height), in 0..1, around masks bool [..., h, w]; zeros around nothing.

    >>> boxes_of(torch.tensor([[0, 0, 0, 0], [0, 1, 1, 0]]).bool())
    tensor([0.5000, 0.7500, 0.5000, 0.5000])
    """
    ends = []
    for axis in (-2, -1):  # which columns, then which rows, hold any of it
        line = masks.any(axis)
        place = torch.arange(line.shape[-1], device=line.device)
        low = torch.where(line, place, line.shape[-1]).amin(-1)
        high = torch.where(line, place + 1, 0).amax(-1)
        ends.append((low / line.shape[-1], high / line.shape[-1]))
    (x1, x2), (y1, y2) = ends
    boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)
    return boxes.where(masks.flatten(-2).any(-1)[..., None], 0.0)


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss of every element.

    Args:
        logits: float [...].
        target: 0..1, of a shape that broadcasts with the logits.
        alpha: weight of what is to be 1; 1 - alpha is that of what is to be 0.
        gamma: how much what is nearly right is let off.
    """
    logits, target = torch.broadcast_tensors(logits.float(), target.to(torch.float32))
    p = logits.sigmoid()
    wrong = p + target - 2 * p * target
    weight = (1 - alpha) + (2 * alpha - 1) * target
    return weight * wrong**gamma * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - dice of masks [..., n], logits against 0 or 1, with one pixel of both added for small objects; [...]."""
    p, target = torch.broadcast_tensors(logits.float().sigmoid(), target.to(torch.float32))
    both = (p * target).sum(-1)
    return 1 - (2 * both + 1) / (p.sum(-1) + target.sum(-1) + 1)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU, in -1..1, of boxes (cx, cy, width, height) [..., 4] whose shapes broadcast; [...].

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
class Found:
    """What one decoder layer says of E expressions in T frames.

    Args:
        logits: [E, T, Q], that the query is the object; of several classes the best.
        boxes: [E, T, Q, 4].
        masks: logits [E, Q, T, h, w].
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor


@torch.no_grad()
def match(found: Found, target: Target, weights: Mapping[str, float] = WEIGHTS) -> Tensor:
    """The query of each expression that costs least over the clip, int64 [E]: the Hungarian assignment of one target.

    Args:
        found: of Q queries.
        target: of the expressions.
        weights: of the parts of the cost, as in `WEIGHTS`.
    """
    logits, there = found.logits.float(), target.there[..., None].float()  # [E, T, Q], [E, T, 1]
    score = focal(logits, logits.new_ones(())) - focal(logits, logits.new_zeros(()))
    score = (score * there).sum(1) / there.sum(1).clamp(min=1)  # over the frames that show the object
    boxes = target.boxes[:, :, None]
    box = (found.boxes - boxes).abs().sum(-1).mean(1)
    overlap = (giou(found.boxes, boxes) * there).mean(1)
    masks, truth = found.masks.flatten(2), target.masks.flatten(1)[:, None]  # [E, Q, T h w], [E, 1, T h w]
    cost = {"class": score, "box": box, "giou": -overlap, "mask": focal(masks, truth).mean(2)}
    cost["dice"] = dice(masks, truth)
    return sum(weights[name] * part for name, part in cost.items()).argmin(1)


def clip_losses(
    found: Found, masks: Tensor, query: Tensor, target: Target, weights: Mapping[str, float] = WEIGHTS
) -> dict[str, Tensor]:
    """The weighted losses of one decoder layer, each a mean over the expressions.

    Every query learns whether it is the object: the matched one is, in the frames that show it. Only the matched one
    learns boxes (where the object is in the frame) and masks (in all frames: empty where it is not).

    Args:
        found: of Q queries; their masks serve the matching alone and are not looked at.
        masks: of the matched queries, logits [E, T, h, w].
        query: the matched ones, int64 [E].
        target: of the expressions.
        weights: of the losses, as in `WEIGHTS`.

    Returns:
        {"class", "box", "giou", "mask", "dice"}: scalars.
    """
    rows = torch.arange(len(query), device=query.device)
    there = target.there.float()  # [E, T]
    shown = there.sum().clamp(min=1)
    wanted = F.one_hot(query, found.logits.shape[2])[:, None] * there[..., None]  # [E, T, Q]
    boxes = found.boxes[rows, :, query].float()  # [E, T, 4]
    masks, truth = masks.flatten(1), target.masks.flatten(1)
    losses = {
        "class": focal(found.logits, wanted).sum() / shown,
        "box": ((boxes - target.boxes).abs().sum(-1) * there).sum() / shown,
        "giou": ((1 - giou(boxes, target.boxes)) * there).sum() / shown,
        "mask": focal(masks, truth).mean(),
        "dice": dice(masks, truth).mean(),
    }
    return {name: weights[name] * loss for name, loss in losses.items()}
