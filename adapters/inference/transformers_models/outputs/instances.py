"""From the queries of a segmenter to the instances of a frame, scored as the processors of transformers do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.inference.transformers_models.outputs.answer import Instance

COARSE = (384, 384)  # where the processor of Mask2Former rates masks


@dataclass(frozen=True)
class Choice:
    """Which instances are kept.

    Attributes:
        threshold: the lowest score.
        most: their number at most; the best are kept.
        min_area: smallest area of a mask, a share of the frame.
        labels: numbers of the classes that count; None for all.
    """

    threshold: float = 0.0
    most: int | None = None
    min_area: float = 0.0
    labels: Sequence[int] | None = None


def classify(logits: Tensor, choice: Choice) -> Iterator[tuple[int, float, int]]:
    """The queries that may become instances: (number of the query, probability of its best class, the class).

    The processor of Mask2Former lists a query once for each of its best classes; here it counts once, because the same
    mask twice is no second object. A score is at most the probability of the class, so that queries below the threshold
    are left out before their masks are computed.

    Args:
        logits: [Q, C + 1]; the last class is "no object".
        choice: with the threshold and the classes that count.
    """
    probabilities = logits.float().softmax(-1)[:, :-1].cpu()
    if choice.labels is not None:
        allowed = torch.zeros(probabilities.shape[1], dtype=torch.bool)
        allowed[list(choice.labels)] = True
        probabilities = probabilities.where(allowed, 0)
    best = probabilities.max(-1)
    for query, (probability, label) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
        if probability >= choice.threshold and probability > 0:
            yield query, probability, label


def of_mask2former(
    classes: Tensor,
    masks: Tensor,
    size: tuple[int, int],
    choice: Choice,
    upsample: Literal["bilinear", "nearest"] = "bilinear",
) -> list[Instance]:
    """The instances of Mask2Former and OneFormer in a frame, best first.

    Args:
        classes: logits [Q, C + 1].
        masks: logits [Q, h, w] over the whole frame.
        size: (H, W) of the frame.
        choice: which are kept.
        upsample: "bilinear" resizes the logits; "nearest" resizes the binary masks of 384 x 384 pixels, as transformers
            does.

    Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022;
        https://github.com/facebookresearch/Mask2Former (instance_inference).
    """
    rated = []
    for query, probability, label in classify(classes, choice):
        rough = resized(masks[query], COARSE)
        score = probability * quality(rough)
        rated.append((score, label, rough > 0 if upsample == "nearest" else masks[query]))
    rated = [entry for entry in rated if entry[0] >= choice.threshold]
    best_first = sorted(rated, key=lambda entry: -entry[0])  # stable: among equal scores the first query wins
    return keep(((score, label, _at_size(x, size)) for score, label, x in best_first), choice)


def of_eomt(
    classes: Tensor,
    masks: Tensor,
    padded: tuple[int, int],
    inside: tuple[int, int],
    size: tuple[int, int],
    choice: Choice,
) -> list[Instance]:
    """The instances of EoMT in a frame, best first; masks are rated at the frame's size.

    Args:
        classes: logits [Q, C + 1].
        masks: logits [Q, h, w] over the padded input.
        padded: (h, w) of the input.
        inside: (h, w) of the frame inside it.
        size: (H, W) of the frame.
        choice: which are kept.

    Source: Kerssies et al., "Your ViT is Secretly an Image Segmentation Model", CVPR 2025.
    """
    rated = []
    for query, probability, label in classify(classes, choice):
        logits = resized(resized(masks[query], padded)[: inside[0], : inside[1]], size)
        score = probability * quality(logits)
        if score >= choice.threshold:
            rated.append((score, label, (logits > 0).cpu().numpy()))
    return keep(sorted(rated, key=lambda entry: -entry[0]), choice)


def keep(best_first: Iterable[tuple[float, int, np.ndarray]], choice: Choice) -> list[Instance]:
    """The first `most` instances whose masks are large enough."""
    kept: list[Instance] = []
    for score, label, mask in best_first:
        if len(kept) == choice.most:
            break
        if np.count_nonzero(mask) >= max(1, choice.min_area * mask.size):
            kept.append(Instance(mask, score, label))
    return kept


def quality(logits: Tensor) -> float:
    """The mean probability inside a mask with the logits [h, w]; 0 for an empty one."""
    inside = (logits > 0).float()
    return float((logits.sigmoid() * inside).sum() / (inside.sum() + 1e-6))


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits or probabilities [h, w] at another size, float32, bilinearly."""
    return F.interpolate(x.float()[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0]


def _at_size(x: Tensor, size: tuple[int, int]) -> np.ndarray:
    """A mask, bool [h, w], by nearest neighbour, or its logits, bilinearly, at another size: bool [H, W]."""
    if x.dtype == torch.bool:
        x = F.interpolate(x.float()[None, None], size=tuple(size), mode="nearest")[0, 0]
        return (x > 0).cpu().numpy()
    return (resized(x, size) > 0).cpu().numpy()
