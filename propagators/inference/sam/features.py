"""The features of a frame."""

from __future__ import annotations

import torch

from rvos_ensemble.propagators.core.propagator import Frame
from rvos_ensemble.propagators.inference.sam.memory.cross_attention import self_attention
from rvos_ensemble.propagators.inference.sam.network import FrameFeatures, SamNetwork
from rvos_ensemble.propagators.inference.sam.preprocessing import pixels


def features(network: SamNetwork, frame: Frame) -> FrameFeatures:
    """The features of a frame; the other sweep finds them in `frame.memo` if the memory budget allows."""
    key = "sam features", id(network)
    if key not in frame.memo:
        x = pixels(frame.image, network.image_size, network.kind)
        frame.memo[key] = encode_image(network, x.to(network.device, non_blocking=True))
    return frame.memo[key]


def encode_image(network: SamNetwork, x: torch.Tensor) -> FrameFeatures:
    """The features of an input, [1, 3, S, S]."""
    output = network.model.get_image_features(x, return_dict=True)
    maps, sizes = output.fpn_hidden_states, network.model.backbone_feature_sizes
    fine, medium, top = (
        x.permute(1, 2, 0).unflatten(2, tuple(size))
        for x, size in zip(maps, sizes, strict=True)  # from [N, 1, C]
    )
    queries = (maps[-1] + 0.1 * output.fpn_position_encoding[-1]).transpose(0, 1)
    return FrameFeatures(fine, medium, top, self_attention(network, 0, queries))
