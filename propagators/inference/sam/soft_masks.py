"""Mask logits of the network as soft masks of the clip's size, with the signals of the network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from rvos_ensemble.propagators.inference.host_copy import AsyncHostCopy, HostMask
from rvos_ensemble.propagators.inference.sam.mask_decoder import Outcome


def soft_masks(outcome: Outcome, size: tuple[int, int]) -> Iterator[SoftMask]:
    """The masks of B sequences.

    Logits are resized as the processors do before they threshold at 0, so that probability > 0.5 equals their masks.

    Args:
        outcome: of B sequences.
        size: (H, W).
    """
    # halves are rounded down, as `masks.quantise` does: 255 - floor(255 (1 - p) + 0.5), in few passes over the pixels
    negative = F.interpolate(-outcome.logits[:, None].float(), size=size, mode="bilinear", align_corners=False)
    masks = AsyncHostCopy(negative.sigmoid_().mul_(255).add_(0.5).to(torch.uint8).bitwise_not_())
    numbers = AsyncHostCopy(torch.stack([outcome.scores.float().sigmoid(), outcome.ious.float().clamp(0, 1)], 1))
    return (SoftMask(masks, numbers, row) for row in range(len(outcome.scores)))


class SoftMask(HostMask):
    """The mask of one sequence in a batch; reading it or its signals waits for the copy.

    Args:
        masks: uint8 [B, 1, H, W].
        numbers: float32 [B, 2], object score and predicted IoU.
        row: index of the sequence in the batch.
    """

    def __init__(self, masks: AsyncHostCopy, numbers: AsyncHostCopy, row: int):
        super().__init__(masks, row, 0)
        self.numbers = numbers

    @property
    def signals(self) -> dict[str, float]:
        """See `propagators.core.propagator.Sweep.step`."""
        score, iou = self.numbers.numpy()[self.index[0]].tolist()
        return {"object_score": score, "predicted_iou": iou}
