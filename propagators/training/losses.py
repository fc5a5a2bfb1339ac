"""The losses of AOT: bootstrapped cross-entropy and a soft Jaccard index, over the identities of a bank.

Source: Yang et al., "Associating Objects with Transformers for Video Object Segmentation", NeurIPS 2021, Sec. 5 and the
official code; Jaccard as a Tversky index, Salehi et al., MLMI 2017, with both weights 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

VOID = 255  # label of ignored pixels


def bootstrapped_cross_entropy(logits: Tensor, labels: Tensor, share: float) -> Tensor:
    """Cross-entropy of the hardest pixels of each frame.

    Args:
        logits: [B, n, H, W]; very low for identities that a frame lacks.
        labels: int64 [B, H, W], 0..n-1 or `VOID`.
        share: share of the pixels that is used, in (0, 1].

    Returns:
        [B], the mean over those pixels; void pixels among them count as 0.

    >>> float(bootstrapped_cross_entropy(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4).long(), 0.5))
    0.6931...
    """
    losses = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none").flatten(1)
    return losses.topk(int(share * losses.shape[1]), sorted=False)[0].mean(1)


def soft_jaccard(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - J with probabilities in place of masks, over the identities of the frame.

        1 - sum(p g) / (sum(p) + sum(g) - sum(p g))

    Args:
        logits, labels: as in `bootstrapped_cross_entropy`.

    Returns:
        [B], the mean over background and objects that have a pixel.
    """
    valid = (labels != VOID)[:, None]
    truth = labels[:, None] == torch.arange(logits.shape[1], device=labels.device).view(1, -1, 1, 1)
    p = logits.softmax(1) * valid
    both, area = (p * truth).flatten(2).sum(2), truth.flatten(2).sum(2)
    loss = 1 - both / (p.flatten(2).sum(2) + area - both + 1e-6)
    present = area > 0
    return (loss * present).sum(1) / present.sum(1).clamp(min=1)
