"""Memory attention: the features of a frame, conditioned on the memory of every sequence.

All sequences have the same image, so that the first self-attention is computed once per frame (`FrameFeatures`). What
follows runs in one batch over the sequences; only the cross-attention runs separately for sequences whose memories
differ in size, which they do near the key frames.

The keys of the cross-attention are 256 channels wide, but they and the values are linear maps of memories with 64
channels. Attention weights sum to 1, so that the map of the values is applied after the weighted mean of the memories:
softmax(q k') (M W' + b) = (softmax(q k') M) W' + b. This saves three eighths of the products of the cross-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.propagators.inference.sam.attention import attention
from rvos_ensemble.propagators.inference.sam.memory.bank import MemoryBank, MemoryFrame
from rvos_ensemble.propagators.inference.sam.network import FrameFeatures, SamNetwork
from rvos_ensemble.propagators.inference.sam.rotation import rotated


@dataclass(frozen=True)
class Cohort:
    """The memories of sequences that remember equally many frames and pointers.

    Attributes:
        rows: their R rows in the batch.
        frames: number of spatial memories F.
        values: [R, M, 64], M = F n + tokens of the pointers.
        keys: [R, M, 64], the values with position encodings.
    """

    rows: list[int]
    frames: int
    values: Tensor
    keys: Tensor


def condition(network: SamNetwork, features: FrameFeatures, banks: Sequence[MemoryBank], t: int, span: int) -> Tensor:
    """The features of frame t for every sequence.

    Args:
        network: the network.
        features: of the frame.
        banks: the memories of B sequences, none of them empty.
        t: index of the frame.
        span: the distance in frames that the position encoding of object pointers maps to 1.

    Returns:
        [B, C, h, w].
    """
    cohorts = _cohorts(network, banks, t, span)
    x = features.queries.expand(len(banks), -1, -1)  # [B, N, C]
    for n, layer in enumerate(network.model.memory_attention.layers):
        if n:
            x = self_attention(network, n, x)
        x = x + _cross_attention(network, layer, x, cohorts)
        x = x + _mlp(layer, layer.layer_norm3(x))
    x = network.model.memory_attention.layer_norm(x)
    return x.transpose(1, 2).unflatten(2, network.grid)


def self_attention(network: SamNetwork, n: int, x: Tensor) -> Tensor:
    """The self-attention of layer n with its residual, [B, N, C]."""
    layer = network.model.memory_attention.layers[n]
    normed, module = layer.layer_norm1(x), layer.self_attn
    by = network.constants.query_rotation
    queries, keys = (rotated(_heads(p(normed), module), by) for p in (module.q_proj, module.k_proj))
    result = F.scaled_dot_product_attention(queries, keys, _heads(module.v_proj(normed), module))
    return x + module.o_proj(result.transpose(1, 2).flatten(2))


def _cross_attention(network: SamNetwork, layer: nn.Module, x: Tensor, cohorts: Sequence[Cohort]) -> Tensor:
    """The cross-attention of a layer to the memories, without its residual, [B, N, C]."""
    module, constants = layer.cross_attn_image, network.constants
    projected = module.q_proj(layer.layer_norm2(x))
    queries = rotated(_heads(projected, module), constants.query_rotation)  # [B, heads, N, D]
    means = queries.new_empty(*queries.shape[:3], cohorts[0].values.shape[-1])  # [B, heads, N, 64]
    for cohort in cohorts:
        keys = _heads(module.k_proj(cohort.keys), module)  # [R, heads, M, D]
        spatial = cohort.frames * len(constants.key_rotation)
        placed = keys[:, :, :spatial].unflatten(2, (cohort.frames, -1))  # [R, heads, F, n, D]
        keys = torch.cat([rotated(placed, constants.key_rotation).flatten(2, 3), keys[:, :, spatial:]], 2)
        values = cohort.values[:, None].expand(-1, keys.shape[1], -1, -1).to(keys.dtype)
        means[cohort.rows] = attention(queries[cohort.rows], keys, values)
    weight = module.v_proj.weight.unflatten(0, (module.num_attention_heads, -1))  # [heads, D, 64]
    result = means.to(weight.dtype) @ weight.transpose(1, 2)  # [B, heads, N, D]
    return module.o_proj(result.transpose(1, 2).flatten(2) + module.v_proj.bias)


def _heads(x: Tensor, module: nn.Module) -> Tensor:
    """[B, N, heads * D] as [B, heads, N, D]."""
    return x.unflatten(-1, (module.num_attention_heads, -1)).transpose(1, 2)


def _mlp(layer: nn.Module, x: Tensor) -> Tensor:
    """The feed-forward network of a layer, which EdgeTAM holds in a module of its own."""
    return layer.mlp(x) if hasattr(layer, "mlp") else layer.linear2(layer.activation(layer.linear1(x)))


def _cohorts(network: SamNetwork, banks: Sequence[MemoryBank], t: int, span: int) -> list[Cohort]:
    """Groups sequences by the size of their memories."""
    groups: dict[tuple[int, int], list[tuple[int, list, list]]] = {}
    for row, bank in enumerate(banks):
        frames, pointers = bank.memories(t), bank.pointers(t)
        groups.setdefault((len(frames), len(pointers)), []).append((row, frames, pointers))
    result = []
    for (count, _), members in groups.items():
        spatial, spatial_keys = _spatial(network, [frames for _, frames, _ in members])
        tokens, token_keys = _pointers(network, [pointers for _, _, pointers in members], span)
        values, keys = torch.cat([spatial, tokens], 1), torch.cat([spatial_keys, token_keys], 1)
        result.append(Cohort([row for row, _, _ in members], count, values, keys))
    return result


def _spatial(network: SamNetwork, frames: Sequence[Sequence[tuple[int, MemoryFrame]]]) -> tuple[Tensor, Tensor]:
    """Spatial memories of R sequences without and with position encodings, [R, F n, 64] each."""
    values = torch.stack([torch.stack([entry.features for _, entry in row]) for row in frames]).float()  # [R, F, n, 64]
    places = torch.tensor([[place for place, _ in row] for row in frames], device=values.device)
    temporal = network.model.memory_temporal_positional_encoding[places][:, :, 0]  # [R, F, 1, 64]
    keys = values + (network.constants.memory_position + temporal)
    return values.flatten(1, 2), keys.flatten(1, 2)


def _pointers(
    network: SamNetwork, pointers: Sequence[Sequence[tuple[int, Tensor]]], span: int
) -> tuple[Tensor, Tensor]:
    """Tokens of the P object pointers of R sequences without and with position encodings, [R, P C / 64, 64] each."""
    model = network.model
    values = torch.stack([torch.stack([pointer for _, pointer in row]) for row in pointers]).float()  # [R, P, C]
    tokens = values.unflatten(2, (-1, model.mem_dim))  # [R, P, C / 64, 64]
    keys = tokens
    if model.config.enable_temporal_pos_encoding_for_object_pointers:
        distances = torch.tensor([[d for d, _ in row] for row in pointers], device=values.device)
        encoded = sine_encoding(distances / span, model.hidden_dim)
        keys = tokens + model.temporal_positional_encoding_projection_layer(encoded)[:, :, None]
    return tokens.flatten(1, 2), keys.flatten(1, 2)


def sine_encoding(x: Tensor, channels: int, temperature: float = 10000) -> Tensor:
    """Sines, then cosines of numbers at wavelengths that increase geometrically, [..., channels]."""
    half = channels // 2
    exponent = 2 * torch.div(torch.arange(half, device=x.device), 2, rounding_mode="floor") / half
    angles = x[..., None].float() / temperature**exponent
    return torch.cat([angles.sin(), angles.cos()], -1)
