"""The names of the weights of SAM 2: those of the official code, and those of transformers.

Every weight of one has one of the other, with two exceptions: the official code has the four point embeddings as four
weights, and transformers holds the frequencies of the position encoding twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

TRUNK = "image_encoder.trunk."  # of every official SAM 2, and of nothing else
POINTS = "prompt_encoder.point_embed"  # four of them: outside, inside, two corners of a box
FREQUENCIES = "prompt_encoder.shared_embedding.positional_embedding", "shared_image_embedding.positional_embedding"

# parts of official names and what they are called in transformers; each applies once, in this order
PARTS = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"\.(norm\w*)\.", r".layer_\1."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.gamma$", ".scale"),
)
MLP = re.compile(r"(.*(?:\.mlp|_head|_mlps\.\d+|object_pointer_proj))\.layers\.(\d+)\.(\w+)$")
MASK_DOWNSAMPLER = re.compile(r"(memory_encoder\.mask_downsampler)\.encoder\.(\d+)\.(\w+)$")


def is_original(weights: Iterable[str]) -> bool:
    """Whether these are weights of SAM 2 by their official names."""
    return any(name.startswith(TRUNK + "blocks.") for name in weights)


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by their names in transformers.

    Args:
        weights: by their official names; those that transformers does not know keep theirs.
    """
    names = {name: _renamed_part(name) for name in weights}
    last = _last_layers(names.values())
    result = {_renamed_layer(new, last): weights[old] for old, new in names.items()}
    points = [f"{POINTS}.{n}.weight" for n in range(4)]
    if result.keys() >= set(points):
        result[f"{POINTS}.weight"] = torch.cat([result.pop(name) for name in points])  # [4, C]
    if FREQUENCIES[0] in result:
        result[FREQUENCIES[1]] = result[FREQUENCIES[0]]
    return result


def _renamed_part(name: str) -> str:
    """A name with its parts renamed; numbers of layers are unchanged."""
    for pattern, replacement in PARTS:
        name = re.sub(pattern, replacement, name, count=1)
    return name


def _last_layers(names: Iterable[str]) -> dict[str, int]:
    """{multilayer perceptron or mask downsampler: the number of its last layer}."""
    last: dict[str, int] = {}
    for name in names:
        if match := MLP.match(name) or MASK_DOWNSAMPLER.match(name):
            last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    return last


def _renamed_layer(name: str, last: Mapping[str, int]) -> str:
    """A name in which transformers calls the first and the last layer of a module differently."""
    if match := MLP.match(name):
        part, number, end = match[1], int(match[2]), match[3]
        layer = "proj_in" if number == 0 else "proj_out" if number == last[part] else f"layers.{number - 1}"
        return f"{part}.{layer}.{end}"
    if match := MASK_DOWNSAMPLER.match(name):  # convolution, norm, activation for each layer, then a last convolution
        part, number, end = match[1], int(match[2]), match[3]
        if number == last[part]:
            return f"{part}.final_conv.{end}"
        return f"{part}.layers.{number // 3}.{('conv', 'layer_norm', 'activation')[number % 3]}.{end}"
    return name
