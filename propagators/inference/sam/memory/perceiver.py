"""The perceiver of EdgeTAM, which compresses a spatial memory to a few tokens, in one batch over the sequences.

The forward pass of transformers accepts one sequence only.

Source: Zhou et al., "EdgeTAM: On-Device Track Anything Model", arXiv 2501.07256, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def perceive(perceiver: nn.Module, x: Tensor, positions: Tensor) -> Tensor:
    """Compresses spatial memories.

    Args:
        perceiver: `spatial_perceiver` of the network.
        x: [B, 64, h, w].
        positions: [1, 64, h, w], position encoding.

    Returns:
        [B, n, 64]: tokens of the whole image, then those of a grid of windows.
    """
    return torch.cat([_whole(perceiver, x, positions), _windows(perceiver, x)], 1)


def _whole(perceiver: nn.Module, x: Tensor, positions: Tensor) -> Tensor:
    """Tokens that attend to the whole image, [B, n, 64]."""
    tokens = perceiver.latents_1d.expand(len(x), -1, -1)
    places = positions.flatten(2).transpose(1, 2).repeat(len(x), 1, 1)
    for layer in perceiver.layers:
        tokens = layer(tokens, x.flatten(2).transpose(1, 2), places)
    return perceiver.layer_norm(tokens)


def _windows(perceiver: nn.Module, x: Tensor) -> Tensor:
    """Tokens that attend to one window each, [B, n, 64] in the order of rows."""
    side = int(perceiver.num_latents_2d**0.5)
    windows = x.unflatten(3, (side, -1)).unflatten(2, (side, -1))  # [B, 64, side, h / side, side, w / side]
    windows = windows.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)  # [B n, h w / n, 64]
    tokens = perceiver.latents_2d[:, None].repeat(len(x), 1, 1)  # [B n, 1, 64]
    for layer in perceiver.layers:
        tokens = layer(tokens, windows, positional_encoding=None)
    return perceiver.layer_norm(tokens.view(len(x), side * side, -1))
