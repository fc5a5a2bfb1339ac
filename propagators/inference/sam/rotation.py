"""Rotary position encodings of two dimensions as complex numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def rotation(embedding: nn.Module, positions: Tensor) -> Tensor:
    """The rotation of every position.

    Args:
        embedding: the module that gives cosine and sine, each one repeated for both members of a pair of channels.
        positions: int [N, 2], x and y.

    Returns:
        complex64 [N, D / 2].
    """
    cos, sin = embedding(positions.float(), positions)  # [1, N, D] each
    return torch.complex(cos[0, :, ::2].contiguous(), sin[0, :, ::2].contiguous())


def rotated(x: Tensor, by: Tensor) -> Tensor:
    """Rotates pairs of neighbouring channels.

    Args:
        x: [..., N, D].
        by: complex64 [N, D / 2].

    Returns:
        [..., N, D] of the dtype of x.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * by).flatten(-2).to(x.dtype)
