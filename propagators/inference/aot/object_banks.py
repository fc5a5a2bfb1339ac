"""Conversions between the logits of identity banks, probabilities, and labels at the size of the input."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.propagators.networks.decoder import resize
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS

CLAMP = 1e-5  # of merged probabilities, as in the official soft aggregation


def probabilities(logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Probabilities of every identity at the size of the output.

    Args:
        logits: [B, 1 + objects, h, w], background first.
        size: (H, W) of the output.
        align_corners: see `VOSVariant.align_corners`.

    Returns:
        float32 [B, 1 + objects, H, W]; they sum to 1.
    """
    logits = logits.float()
    if logits.shape[1] == 2:  # one object: the softmax is the sigmoid of the difference, which halves the resizing
        p = resize(logits[:, 1:] - logits[:, :1], size, align_corners).sigmoid()
        return torch.cat([1 - p, p], 1)
    return resize(logits, size, align_corners).softmax(1)


def merge_banks(p: Tensor) -> Tensor:
    """Merges the B banks of one image, 10 objects each: the official soft aggregation.

    Args:
        p: [B, 11, H, W], from `probabilities`; probability 0 for objects that a bank does not have.

    Returns:
        [1 + 10 B, H, W]: background (the product over the banks) and all objects; not normalised, for argmax.
    """
    if len(p) == 1:
        return p[0]
    return torch.cat([p[:, 0].prod(0, keepdim=True), *p[:, 1:]]).clamp(CLAMP, 1 - CLAMP)


def split_labels(labels: Tensor, objects: int) -> tuple[Tensor, list[int]]:
    """Splits the labels of any number of objects into banks of 10.

    Args:
        labels: [H, W], 0 for background, otherwise 1..objects.
        objects: the number of objects.

    Returns:
        (labels 0..10 of each bank, [B, H, W]; the number of objects of each bank, B integers).

    >>> split_labels(torch.tensor([[0, 9, 12]]), 12)
    (tensor([[[0, 9, 0]],
    <BLANKLINE>
            [[0, 0, 2]]]), [10, 2])
    """
    starts = range(0, max(objects, 1), MAX_OBJECTS)
    parts = [torch.where((labels > s) & (labels <= s + MAX_OBJECTS), labels - s, 0) for s in starts]
    return torch.stack(parts), [min(MAX_OBJECTS, objects - s) for s in starts]


def nearest(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels [B, H, W] at another size, nearest as in the official engine: the pixel at floor(i * H / size)."""
    return F.interpolate(labels[:, None].float(), size=tuple(size), mode="nearest")[:, 0]


def most_probable(p: Tensor) -> Tensor:
    """argmax of [B, n, H, W] over n as float labels [B, H, W], the first of equals; on a CPU faster than `argmax`."""
    best, label = p[:, 0], torch.zeros_like(p[:, 0])
    for i in range(1, p.shape[1]):
        label = torch.where(p[:, i] > best, i, label)
        best = torch.maximum(best, p[:, i])
    return label
