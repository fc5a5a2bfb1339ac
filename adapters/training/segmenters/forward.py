"""The masks of ReferFormer, MUTR and SOC during training and validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.inference.logits import grow
from rvos_ensemble.adapters.inference.tokenization import tokenize
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.dynamic_masks import Kernels, dynamic_masks
from rvos_ensemble.adapters.networks.layers import Size
from rvos_ensemble.adapters.networks.rvos.parts import STRIDE, QueryOutputs
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS
from rvos_ensemble.adapters.training.samples.sample import Sample
from rvos_ensemble.adapters.training.segmenters.batches import input_frames

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def draw(network: RVOS, layer: QueryOutputs, pixels: Tensor, query: Tensor, size: Size, stride: int = STRIDE) -> Tensor:
    """Mask logits of selected queries.

    Args:
        network: the network that computed the queries.
        layer: the output of one decoder layer for E expressions in T frames.
        pixels: mask features [E * T, mask_channels, h, w].
        query: int64 [E, K].
        size: (H, W) of the network's input.
        stride: input pixels per feature pixel; the first feature lies at input pixel 2, as at the full stride.

    Returns:
        [E, K, T, h, w].
    """
    frames = layer.states.shape[1]

    def select(x: Tensor) -> Tensor:  # [E, T, Q, C] to [E * T, K, C]
        return x.gather(2, query[:, None, :, None].expand(-1, frames, -1, x.shape[3])).flatten(0, 1)

    kernels = Kernels.split(network.controller(select(layer.states)), network.geometry.mask_channels)
    centres = select(layer.centres) * torch.tensor(size[::-1], device=pixels.device) + (stride - STRIDE) // 2
    return dynamic_masks(pixels, kernels, centres, stride).unflatten(0, (-1, frames)).transpose(1, 2)


def predict(network: RVOS, clip: Sample, tokenizer: Tokenizer, short_side: int) -> np.ndarray:
    """The predicted masks of all expressions of a clip, bool [E, T, H, W]."""
    device = next(network.parameters()).device
    rows = tokenize(tokenizer, text.ROBERTA, [sentence for sentence, _ in clip.expressions])
    words = text.encode(network.language_model, text.ROBERTA, rows)
    answer = network.answer(network.encode(input_frames(clip, short_side).to(device)), words)
    logits = answer.logits.float().cpu().numpy()
    return np.stack([[grow(frame, clip.ids.shape[1:]) > 0 for frame in expression] for expression in logits])
