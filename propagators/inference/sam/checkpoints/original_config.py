"""The config of transformers for weights of SAM 2 in the official layout, whose files hold no config.

Widths and numbers of layers follow from the shapes of the weights. The rest is what the YAML files of the official code
say, the same for SAM 2 and 2.1: attention heads and windows of the four image encoders, images of 1024 pixels. What 2.1
has and 2 has not, a position encoding of object pointers and an embedding of occlusion, is seen by its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.weights import shape_of

IMAGE_SIZE = 1024
STRIDE = 16
BLOCKS = "image_encoder.trunk.blocks."


class Encoder(NamedTuple):
    """What the shapes of the weights of an image encoder do not say.

    Attributes:
        name: of the size.
        width: channels of the first stage, for the name; each of the four has twice those of the one before.
        heads: attention heads of the first stage; they double as the channels do.
        windows: sides of the attention windows of the four stages.
        attends_globally: numbers of the blocks without windows.
    """

    name: str
    width: int
    heads: int
    windows: tuple[int, ...]
    attends_globally: tuple[int, ...]


ENCODERS = {  # by the numbers of blocks of their four stages; sam2/configs of the official code
    (1, 2, 7, 2): Encoder("tiny", 96, 1, (8, 4, 14, 7), (5, 7, 9)),
    (1, 2, 11, 2): Encoder("small", 96, 1, (8, 4, 14, 7), (7, 10, 13)),
    (2, 3, 16, 3): Encoder("base-plus", 112, 2, (8, 4, 14, 7), (12, 16, 20)),
    (2, 6, 36, 4): Encoder("large", 144, 2, (8, 4, 16, 8), (23, 33, 43)),
}


def original_config(weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The values of the config of transformers.

    Args:
        weights: by their official names.
        path: of the file, for messages.

    Raises:
        InputError: an image encoder whose stages are those of no published size.
    """

    def size(name: str, axis: int = 0) -> int:
        shape = shape_of(weights, name)
        return shape[axis] if len(shape) > axis else 0  # a missing weight is reported with all others

    return dict(
        image_size=IMAGE_SIZE,
        vision_config=_vision(weights, path),
        prompt_encoder_config=dict(
            hidden_size=size("sam_prompt_encoder.no_mask_embed.weight", 1),
            mask_input_channels=size("sam_prompt_encoder.mask_downscaling.3.weight"),
            image_size=IMAGE_SIZE,
        ),
        mask_decoder_config=dict(
            hidden_size=size("sam_mask_decoder.iou_token.weight", 1),
            mlp_dim=size("sam_mask_decoder.transformer.layers.0.mlp.layers.0.weight"),
            num_hidden_layers=_count(weights, "sam_mask_decoder.transformer.layers."),
            iou_head_hidden_dim=size("sam_mask_decoder.iou_prediction_head.layers.0.weight"),
        ),
        num_maskmem=size("maskmem_tpos_enc"),
        memory_attention_hidden_size=size("memory_attention.norm.weight"),
        memory_attention_num_layers=_count(weights, "memory_attention.layers."),
        memory_attention_feed_forward_hidden_size=size("memory_attention.layers.0.linear1.weight"),
        memory_attention_rope_feat_sizes=[IMAGE_SIZE // STRIDE] * 2,
        memory_encoder_hidden_size=size("memory_encoder.pix_feat_proj.weight"),
        memory_encoder_output_channels=size("memory_encoder.out_proj.weight"),
        mask_downsampler_embed_dim=size("memory_encoder.mask_downsampler.encoder.12.weight"),
        memory_fuser_num_layers=_count(weights, "memory_encoder.fuser.layers."),
        memory_fuser_embed_dim=size("memory_encoder.fuser.layers.0.dwconv.weight"),
        memory_fuser_intermediate_dim=size("memory_encoder.fuser.layers.0.pwconv1.weight"),
        enable_temporal_pos_encoding_for_object_pointers="obj_ptr_tpos_proj.weight" in weights,
        enable_occlusion_spatial_embedding="no_obj_embed_spatial" in weights,
    )


def _vision(weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The config of the image encoder."""
    hidden = [shape_of(weights, f"{BLOCKS}{n}.mlp.layers.0.weight") for n in range(_count(weights, BLOCKS))]
    stages = [(width, len(list(blocks))) for width, blocks in groupby(shape[-1] if shape else 0 for shape in hidden)]
    widths, blocks = [width for width, _ in stages], tuple(count for _, count in stages)
    if blocks not in ENCODERS or 0 in widths:
        sizes = ", ".join(f"{e.name} {list(b)}" for b, e in ENCODERS.items())
        raise InputError(
            f"{path}: weights of SAM 2 with {list(blocks)} blocks in the stages of the image encoder, expected those "
            f"of a published size ({sizes}), or a folder in the Hugging Face layout, whose config.json says the rest"
        )
    encoder, background = ENCODERS[blocks], shape_of(weights, "image_encoder.trunk.pos_embed")[-2:]
    return dict(
        model_type="sam2_vision_model",
        backbone_config=dict(
            model_type="sam2_hiera_det_model",
            hidden_size=widths[0],
            num_attention_heads=encoder.heads,
            image_size=[IMAGE_SIZE, IMAGE_SIZE],
            blocks_per_stage=list(blocks),
            embed_dim_per_stage=widths,
            num_attention_heads_per_stage=[encoder.heads * 2**n for n in range(len(blocks))],
            window_size_per_stage=list(encoder.windows),
            global_attention_blocks=list(encoder.attends_globally),
            window_positional_embedding_background_size=list(background),
            mlp_ratio=hidden[0][0] / hidden[0][1],
        ),
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[IMAGE_SIZE // s] * 2 for s in (4, 8, 16)],
        fpn_hidden_size=(shape_of(weights, "image_encoder.neck.convs.0.conv.weight") or (0,))[0],
    )


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """The number of modules in a list: of different parts that follow the prefix in the names."""
    return len({name.removeprefix(prefix).partition(".")[0] for name in weights if name.startswith(prefix)})
