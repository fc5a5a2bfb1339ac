"""From logits of identity banks to probabilities and labels, and back to what the network takes in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.propagators.networks.decoder import resize
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS

CLAMP = 1e-5  # of merged probabilities, as in the official soft aggregation


def probabilities(logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Probabilities of every identity at the output's size.

    Args:
        logits: [B, 1 + objects, h, w], background first.
        size: (H, W) of the output.
        align_corners: as in the network's variant.

    Returns:
        float32 [B, 1 + objects, H, W]; they sum to 1.
    """
    logits = logits.float()
    if logits.shape[1] == 2:  # one object: the softmax is a sigmoid of the difference, half the resizing
        p = resize(logits[:, 1:] - logits[:, :1], size, align_corners).sigmoid()
        return torch.cat([1 - p, p], 1)
    return resize(logits, size, align_corners).softmax(1)


def merge_banks(p: Tensor) -> Tensor:
    """Banks of one picture, 10 objects each, as one softmax: the official soft aggregation.

    Args:
        p: [B, 11, H, W], from `probabilities`; objects that a bank has not have probability 0.

    Returns:
        [1 + 10 B, H, W]: background (the product of all) and all objects; unnormalised, for argmax.
    """
    if len(p) == 1:
        return p[0]
    return torch.cat([p[:, 0].prod(0, keepdim=True), *p[:, 1:]]).clamp(CLAMP, 1 - CLAMP)


def split_labels(labels: Tensor, objects: int) -> tuple[Tensor, list[int]]:
    """Labels of any number of objects as banks of 10.

    Args:
        labels: [H, W], 0 for background, else 1..objects.
        objects: how many there are.

    Returns:
        ([B, H, W] labels 0..10 per bank, [B] number of objects of each).

    >>> split_labels(torch.tensor([[0, 9, 12]]), 12)
    (tensor([[[0, 9, 0]],
    <BLANKLINE>
            [[0, 0, 2]]]), [10, 2])
    """
    starts = range(0, max(objects, 1), MAX_OBJECTS)
    parts = [torch.where((labels > s) & (labels <= s + MAX_OBJECTS), labels - s, 0) for s in starts]
    return torch.stack(parts), [min(MAX_OBJECTS, objects - s) for s in starts]


def nearest(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels [B, H, W] at another size, nearest as the official engine has it (the pixel at floor(i * H / size))."""
    return F.interpolate(labels[:, None].float(), size=tuple(size), mode="nearest")[:, 0]
