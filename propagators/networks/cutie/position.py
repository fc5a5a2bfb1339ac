"""Sine embeddings of the pixels of a map, as Cutie's object transformer and object summariser use them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.layers import Size

SCALE, TEMPERATURE = 32, 128  # of positions in 0..1, and the ratio of the longest wave to the shortest


class PixelPosition(nn.Module):
    """Embeddings of `channels` channels: columns in the first half of them, rows in the second."""

    def __init__(self, channels: int):
        super().__init__()
        width = -(-channels // 4) * 2  # channels of one axis
        steps = torch.arange(0, width, 2, dtype=torch.float32)
        self.register_buffer("inv_freq", 1 / TEMPERATURE ** (steps / width))
        self.latest: tuple[tuple[Size, torch.device], Tensor] | None = None

    def forward(self, size: Size) -> Tensor:
        """Embeddings [1, h * w, C] of a map of that size."""
        key = tuple(size), self.inv_freq.device
        if self.latest is None or self.latest[0] != key:
            (h, w), (rows, columns) = size, map(self._wave, size)
            both = torch.cat([columns.expand(h, w, -1), rows[:, None].expand(h, w, -1)], 2)
            self.latest = key, both.flatten(0, 1)[None]
        return self.latest[1]

    def _wave(self, n: int) -> Tensor:
        """Embeddings [n, C / 2] of n places along one axis."""
        place = torch.arange(n, dtype=torch.float32, device=self.inv_freq.device)
        angle = (place / (place[-1] + 1e-6) * SCALE)[:, None] * self.inv_freq
        return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
