"""Initial weights of ReferFormer, MUTR and SOC."""

from __future__ import annotations

from torch import nn

from rvos_ensemble.adapters.networks.dynamic_masks import WIDTH
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS
from rvos_ensemble.adapters.training.initial_weights import PRIOR_LOGIT, spread_sampling_points, spread_window_heads


def initialise(network: RVOS) -> RVOS:
    """Draws random weights as the official codes do, except where noted; the text encoder keeps its weights."""
    for module in (network.transformer, network.controller, network.input_proj):
        for weight in module.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
    nn.init.normal_(network.transformer.level_embed)
    nn.init.zeros_(network.transformer.reference_points.bias)
    for module in network.modules():
        if hasattr(module, "sampling_offsets"):
            spread_sampling_points(module)
    spread_window_heads(network)  # not as published, where these biases are random
    # Not as published: at first masks do not depend on the pixels' offsets, whose values are large.
    first = network.controller.layers[-1].weight.data[: (network.geometry.mask_channels + 2) * WIDTH]
    first.unflatten(0, (WIDTH, -1))[:, -2:] = 0
    for head in network.class_embed:
        nn.init.constant_(head.bias, PRIOR_LOGIT)
    for i, head in enumerate(network.bbox_embed):
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
        if i == 0:
            nn.init.constant_(head.layers[-1].bias[2:], -2.0)  # small boxes at first
    return network
