"""Where the tokens of UNINEXT's image levels lie, and which of them are padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rvos_ensemble.adapters.networks.layers import Size, sine_wave


@dataclass(frozen=True)
class Layout:
    """Positions of the tokens of a frame; the same for all frames of a clip.

    Args:
        sizes: of the four levels.
        padding: bool [1, S], True for the cells of the input's padding; None without padding.
        share: float [4, 2], the share of the width and height of each level that is not padding.
        position: float [S, C], sine embedding of each cell.
        centre: float [S, 2], of each cell (x, y), in 0..1 of the image without its padding.
        box: float [S, 4], the logits of the box that each cell proposes, infinite for cells that may propose none.
    """

    sizes: list[Size]
    padding: Tensor | None
    share: Tensor
    position: Tensor
    centre: Tensor
    box: Tensor

    @classmethod
    def of(cls, masks: Sequence[Tensor], channels: int) -> Layout:
        """The layout of levels.

        Args:
            masks: bool [h, w] per level, True inside the image, False in its padding.
            channels: of the sine embeddings.
        """
        share, position, centre, box = [], [], [], []
        for level, mask in enumerate(masks):
            h, w = mask.shape
            inside = torch.stack([mask[0].sum(), mask[:, 0].sum()]).float()  # cells (x, y) that are not padding
            share.append(inside / torch.tensor([w, h], device=mask.device))
            rows, columns = mask.cumsum(0, dtype=torch.float32), mask.cumsum(1, dtype=torch.float32)
            # In a column of padding every count is 0 and this is -0.5 / 1e-6 * 2 pi; float32 resolves it to 0.25 only,
            # so float64 would change the masks: the convolutions of the mask head carry padding into the image.
            rows = (rows - 0.5) / (rows[-1:] + 1e-6) * (2 * math.pi)
            columns = (columns - 0.5) / (columns[:, -1:] + 1e-6) * (2 * math.pi)
            waves = [sine_wave(rows, channels // 2), sine_wave(columns, channels // 2)]
            position.append(torch.cat(waves, -1).flatten(0, 1))
            y, x = (torch.arange(n, dtype=torch.float32, device=mask.device) + 0.5 for n in (h, w))
            centre.append((torch.stack([x.expand(h, w), y[:, None].expand(h, w)], -1) / inside).flatten(0, 1))
            box.append(torch.cat([centre[-1], torch.full_like(centre[-1], 0.05 * 2**level)], -1))
        valid = torch.cat([mask.flatten() for mask in masks])
        boxes = torch.cat(box)
        proposes = valid & ((boxes > 0.01) & (boxes < 0.99)).all(-1)
        boxes = torch.log(boxes / (1 - boxes)).masked_fill(~proposes[:, None], math.inf)
        sizes = [tuple(mask.shape) for mask in masks]
        padding = None if bool(valid.all()) else ~valid[None]
        return cls(sizes, padding, torch.stack(share), torch.cat(position), torch.cat(centre), boxes)
