"""What a sequence keeps of its reference frames: their pixels for matching, and the means of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rvos_ensemble.propagators.networks.cfbi.matching import reference_columns
from rvos_ensemble.propagators.networks.cfbi.sizes import Level

EPSILON = 1e-5  # pixels


class References:
    """The union of the reference frames of one sequence.

    Args:
        levels: of the network.
        stride: of the reference pixels at the first level; None for the level's own.
        min_pixels: background and object are thinned out by the stride where they have more than `min_pixels` stride^2
            pixels.

    Attributes:
        columns: at each level the pixels of background and object, see `matching.reference_columns`.
    """

    def __init__(self, levels: Sequence[Level], stride: int | None = None, min_pixels: int = 0):
        strides = [level.stride for level in levels]
        self.levels, self.strides = levels, [stride or strides[0], *strides[1:]]
        self.min_pixels = min_pixels
        self.columns: list[list[Tensor]] = []
        self.sums: Tensor | None = None  # [2, 2, C + 1]: background and object, inside and outside, and pixel counts

    def add(self, embeddings: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
        """Adds a frame.

        Args:
            embeddings: [C, h, w] at each level.
            masks: bool [h, w] at each level.
        """
        columns = []
        for level, stride, x, mask in zip(self.levels, self.strides, embeddings, masks, strict=True):
            members = [self._thinned(m, stride) for m in (~mask, mask)]
            columns.append([reference_columns(x[: level.channels], m) for m in members])
            if not columns[1:]:
                # the official code thins the masks of these sums too, but with a minimum of pixels only
                counted = members if self.min_pixels else [~mask, mask]
                sums = _sums(x, torch.stack(counted))
                self.sums = sums if self.sums is None else self.sums + sums
        joined = zip(self.columns, columns, strict=True) if self.columns else ()
        self.columns = [[torch.cat(p, 1) for p in zip(*pair, strict=True)] for pair in joined] or columns

    def means(self) -> Tensor:
        """The means of the embeddings inside and outside each of background and object, [2, 2 C]."""
        return (self.sums[..., :-1] / (self.sums[..., -1:] + EPSILON)).flatten(1)

    def _thinned(self, mask: Tensor, stride: int) -> Tensor:
        """Every stride-th row and column of a mask that has enough pixels."""
        if stride == 1 or mask.sum() <= self.min_pixels * stride**2:
            return mask
        grid = torch.zeros_like(mask)
        grid[::stride, ::stride] = True
        return mask & grid


def means_of(embedding: Tensor, masks: Tensor) -> Tensor:
    """The means of an embedding inside and outside the background and the object of S sequences.

    Args:
        embedding: [C, h, w].
        masks: bool [S, h, w], the objects.

    Returns:
        [2 S, 2 C], the background of the first sequence, its object, the background of the second, ...
    """
    sums = _sums(embedding, torch.stack([~masks, masks], 1).flatten(0, 1))
    return (sums[..., :-1] / (sums[..., -1:] + EPSILON)).flatten(1)


def _sums(embedding: Tensor, masks: Tensor) -> Tensor:
    """Sums of an embedding [C, h, w] inside and outside masks [B, h, w], and the pixels: float32 [B, 2, C + 1]."""
    x = embedding.float().flatten(1)
    x = torch.cat([x, x.new_ones(1, x.shape[1])]).t()  # [h w, C + 1]
    both = torch.stack([masks, ~masks], 1).flatten(2).to(x.dtype)  # [B, 2, h w]; a difference of sums is not exactly 0
    return both @ x
