"""Initial weights of small networks, shared by several tasks."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from rvos_ensemble.adapters.networks.backbones.swin import WindowAttention
from rvos_ensemble.adapters.networks.deformable import DeformableAttention

PRIOR_LOGIT = math.log(0.01 / 0.99)  # initial logit of every query: a probability of 1 %
WINDOW_SPREAD = (0.6, 1.2, 1.2)  # standard deviation of the initial attention in frames, rows and columns


def spread_language_model(model: nn.Module) -> nn.Module:
    """Draws the weights of a small BERT or RoBERTa so that its states differ between words from the first step on.

    The published standard deviation of 0.02 is meant for 768 channels.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    for embedding, deviation in ((model.embeddings.word_embeddings, 1.0), (model.embeddings.position_embeddings, 0.2)):
        nn.init.normal_(embedding.weight, std=deviation)
    return model


def spread_sampling_points(attention: DeformableAttention) -> None:
    """Initialises deformable attention: each head samples in its own direction, each point one cell further."""
    nn.init.zeros_(attention.sampling_offsets.weight)
    nn.init.zeros_(attention.attention_weights.weight)
    nn.init.zeros_(attention.attention_weights.bias)
    angle = torch.arange(attention.heads) * (2 * math.pi / attention.heads)
    direction = torch.stack([angle.cos(), angle.sin()], -1)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    step = torch.arange(1, attention.points + 1.0)
    offset = direction[:, None, None] * step[:, None]  # [heads, 1, points, 2]
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(offset.expand(-1, attention.levels, -1, -1).flatten())
    for linear in (attention.value_proj, attention.output_proj):
        nn.init.zeros_(linear.bias)


def spread_window_heads(network: nn.Module) -> None:
    """Initialises the position biases of a Video Swin: each head attends to a nearby place in one of three frames.

    The frames are the previous, the next and the same frame. With biases of zero a backbone had not learned motion
    after 400 steps; with these it predicted 77 to 84 % of the directions correctly after 200. In windows of one frame,
    other frames count as the same.
    """
    frame = itertools.cycle((-1.0, 1.0, 0.0))
    for attention in (m for m in network.modules() if isinstance(m, WindowAttention)):
        grid = torch.meshgrid(*(torch.arange(1.0 - extent, extent) for extent in attention.window), indexing="ij")
        offsets = torch.stack(grid, -1).flatten(0, 2)
        for bias in attention.relative_position_bias_table.data.T:
            angle, radius = torch.rand(2) * torch.tensor([2 * torch.pi, 1.5])
            centre = torch.stack([torch.tensor(next(frame)), radius * angle.cos(), radius * angle.sin()])
            distance = (offsets - centre) / torch.tensor(WINDOW_SPREAD)
            bias.copy_(-distance.square().sum(1).clamp(max=12) / 2)
