"""Initial weights of UNINEXT."""

from __future__ import annotations

from torch import nn

from rvos_ensemble.adapters.networks.deformable import DeformableAttention
from rvos_ensemble.adapters.networks.uninext.early_fusion import BiAttention
from rvos_ensemble.adapters.networks.uninext.uninext import Uninext
from rvos_ensemble.adapters.training.initial_weights import PRIOR_LOGIT, spread_sampling_points


def initialise(network: Uninext) -> Uninext:
    """Draws random weights as the official code does."""
    detr = network.detr.detr
    for module in (detr.transformer, detr.input_proj, network.detr.controller):
        for weight in module.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
    for module in network.detr.mask_head.children():
        nn.init.kaiming_uniform_(module.weight, a=1)
    for module in network.modules():
        if isinstance(module, DeformableAttention):
            spread_sampling_points(module)
        elif isinstance(module, BiAttention):
            for child in module.children():
                nn.init.zeros_(child.bias)
    fusion = detr.transformer.fusion
    for gamma in (fusion.gamma_v, fusion.gamma_l):
        nn.init.constant_(gamma, 1 / len(detr.transformer.encoder.layers))
    nn.init.normal_(detr.transformer.level_embed)
    for head in detr.class_embed:
        nn.init.constant_(head.bias0 if hasattr(head, "bias0") else head.body.bias, PRIOR_LOGIT)
    for head in detr.bbox_embed:
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
    return network
