"""The memory encoder, in one batch over the sequences of a frame."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.propagators.inference.sam.memory.perceiver import perceive
from rvos_ensemble.propagators.inference.sam.network import FrameFeatures, SamNetwork


def propagated_masks(network: SamNetwork, logits: Tensor) -> Tensor:
    """Masks of propagated frames as the memory encoder reads them, soft.

    Args:
        network: the network.
        logits: [B, 4h, 4w].

    Returns:
        [B, M, M] in 0..1.
    """
    size = (network.image_size,) * 2
    x = F.interpolate(logits[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
    return _fitted(network, x).sigmoid()


def given_masks(network: SamNetwork, masks: Tensor, official: bool) -> Tensor:
    """Masks of key frames as the memory encoder reads them, hard.

    The official code keeps the mask at a quarter of the resolution and enlarges it again; transformers 5.24 keeps all
    of it.

    Args:
        network: the network.
        masks: [B, S, S], 0 or 1.
        official: as the official code does it.

    Returns:
        [B, M, M], 0 or 1.
    """
    logits = masks * 20 - 10  # as the official code has
    if official:
        small = F.interpolate(logits[:, None], scale_factor=0.25, mode="bilinear", antialias=True)
        logits = F.interpolate(small, size=logits.shape[-2:], mode="bilinear")[:, 0]
    return (_fitted(network, logits) > 0).float()


def _fitted(network: SamNetwork, logits: Tensor) -> Tensor:
    """Logits [B, S, S] at the size of the memory encoder's input, which differs in SAM 3: [B, M, M]."""
    if network.mask_size == network.image_size:
        return logits
    size = (network.mask_size,) * 2
    return F.interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False, antialias=True)[:, 0]


def encode(network: SamNetwork, features: FrameFeatures, masks: Tensor, present: Tensor) -> Tensor:
    """The spatial memories of a frame.

    Args:
        network: the network.
        features: of the frame.
        masks: [B, M, M] in 0..1.
        present: bool [B], whether the object is visible.

    Returns:
        [B, n, 64]: bfloat16 as in the official code, float32 for EdgeTAM.
    """
    model, encoder, config = network.model, network.model.memory_encoder, network.config
    x = masks[:, None] * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
    x = encoder.feature_projection(features.top) + encoder.mask_downsampler(x)
    x = encoder.projection(encoder.memory_fuser(x))  # [B, 64, h, w]
    if model.occlusion_spatial_embedding_parameter is not None:
        absent = (~present).to(x.dtype)[:, None, None, None]
        x = x + absent * model.occlusion_spatial_embedding_parameter[..., None, None]
    if network.kind != "edgetam":
        return x.to(torch.bfloat16).flatten(2).transpose(1, 2).contiguous()
    shape = torch.Size((1, *x.shape[1:]))
    return perceive(model.spatial_perceiver, x, encoder.position_encoding(shape, x.device, torch.float32)).float()
