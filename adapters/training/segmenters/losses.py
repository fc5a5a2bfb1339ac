"""The losses of ReferFormer, MUTR and SOC over all decoder layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.rvos.parts import STRIDE
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS
from rvos_ensemble.adapters.training.losses import (
    WEIGHTS,
    ExpressionTargets,
    QueryPredictions,
    clip_losses,
    dice,
    focal,
    match,
)
from rvos_ensemble.adapters.training.segmenters.forward import draw


def losses(network: RVOS, batch: Mapping[str, Any], named: float = 0.0) -> dict[str, Tensor]:
    """The weighted losses by name, each summed over the decoder layers.

    Args:
        network: the network in training mode.
        batch: see `batches.collate`.
        named: weight of the loss of `named_pixels`.
    """
    words = network.language_model(input_ids=batch["ids"], attention_mask=(~batch["padding"]).long())
    features = network.encode(batch["frames"], clips=batch["clips"])
    sentences = Text(words.last_hidden_state, batch["padding"], words.pooler_output)
    layers, pixels, finest = network.learn(features, sentences)
    target = ExpressionTargets.of(batch["masks"], tuple(pixels.shape[-2:]))
    half_size = ExpressionTargets(target.masks[..., ::2, ::2], target.boxes, target.visible)
    total: dict[str, Tensor] = {}
    for layer in layers:
        with torch.no_grad():
            every = torch.arange(network.queries, device=pixels.device).expand(len(target.boxes), -1)
            masks = draw(network, layer, pixels[..., ::2, ::2], every, features.size, stride=2 * STRIDE)
        predictions = QueryPredictions(layer.logits.amax(-1), layer.boxes, masks)
        query = match(predictions, half_size)
        mask = draw(network, layer, pixels, query[:, None], features.size)[:, 0]
        for name, loss in clip_losses(predictions, mask, query, target).items():
            total[name] = total.get(name, 0) + loss
    if named:
        total["named"] = named * (named_pixels(finest, target) + named_pixels(pixels, target))
    return total


def named_pixels(maps: Tensor, target: ExpressionTargets) -> Tensor:
    """Focal and Dice loss of the first channel of feature maps, taken as logits of the expression's mask.

    Queries choose among the objects that the maps show. While the maps do not yet mark the object that the words name,
    all queries converge to the object that is easiest to draw, and mask losses correct this slowly: on `shapes` it took
    thousands of steps.

    Args:
        maps: [E * T, C, h, w].
        target: of the expressions.
    """
    logits = maps[:, 0].unflatten(0, target.visible.shape)  # [E, T, h, w]
    masks = F.interpolate(target.masks, logits.shape[-2:], mode="area")
    overlap = dice(logits.flatten(1), masks.flatten(1)).mean()
    return WEIGHTS["mask"] * focal(logits, masks).mean() + WEIGHTS["dice"] * overlap
