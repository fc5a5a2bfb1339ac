"""Tiny SAM 2, EdgeTAM and SAM 3 trackers with seeded weights, and the layouts in which their files are published.

The networks are those of transformers at a size that runs in milliseconds on one core. Their object scores have both
signs: the last layer of that head is amplified, and its bias lies near the median over random frames.
"""

import hashlib
import json
import os
from pathlib import Path

import torch
import transformers
from helpers.seeded import seeded

KINDS = ("sam2", "edgetam", "sam3")
CLASSES = {
    "sam2": transformers.Sam2VideoModel,
    "edgetam": transformers.EdgeTamVideoModel,
    "sam3": transformers.Sam3TrackerVideoModel,
}
SIZE = {"sam2": 128, "edgetam": 128, "sam3": 112}  # pixels; the stride is 16, of SAM 3 14
WIDTH = 128  # the smallest that works: rotary embeddings need a multiple of 64 above the 64 channels of a memory
LEVEL = {"sam2": 2.4, "edgetam": -2.2, "sam3": -1.2}  # bias of the object score; see above
SCORE_BIAS = "mask_decoder.pred_obj_score_head.proj_out.bias"
SCORE_WEIGHT = "mask_decoder.pred_obj_score_head.proj_out.weight"


def tiny_sam(kind, **changes):
    """A tiny network of a kind in eval mode, float32, on the CPU.

    Args:
        kind: one of `KINDS`.
        changes: values of its config.
    """
    return seed(CLASSES[kind](tiny_config(kind, **changes)), kind)


def seed(network, kind):
    """Fills a network of transformers with seeded weights; every tensor is drawn from its own name."""
    state = {key: _weight(key, tensor.shape) for key, tensor in network.state_dict().items()}
    for key in state:  # of SAM 3 the names may have a prefix
        if key.endswith(SCORE_WEIGHT):
            state[key] *= 10
        elif key.endswith(SCORE_BIAS):
            state[key] = torch.full_like(state[key], LEVEL[kind])
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def tiny_config(kind, **changes):
    """The config of transformers for `tiny_sam`."""
    return {"sam2": _sam2, "edgetam": _edgetam, "sam3": _sam3}[kind](**changes)


def write_folder(folder, network, shards=1):
    """Writes config.json and safetensors as transformers does, in one file or about `shards` of them."""
    bytes_of_all = sum(tensor.nbytes for tensor in network.state_dict().values())
    # the size of a shard is an upper limit, so that the number of files is at least `shards`
    network.save_pretrained(folder, max_shard_size=bytes_of_all if shards == 1 else bytes_of_all // shards)
    return Path(folder)


def write_snapshot(cache, network, repository="facebook/sam2.1-hiera-tiny", commit="0" * 40, shards=1):
    """Writes a repository as huggingface_hub caches it: blobs by hash, and links to them in a snapshot.

    Returns:
        The folder of the repository; its snapshot is snapshots/COMMIT.
    """
    root = Path(cache) / f"models--{repository.replace('/', '--')}"
    snapshot, blobs = root / "snapshots" / commit, root / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    write_folder(snapshot, network, shards)
    for file in sorted(snapshot.iterdir()):
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blob)
        file.symlink_to(os.path.relpath(blob, snapshot))
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    return root


def rewrite_config(folder, **changes):
    """Changes values of the config.json in a folder."""
    file = Path(folder) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _weight(key, shape):
    """The seeded weight; the two copies of the position embedding in a network of transformers are equal."""
    if key.endswith("positional_embedding"):
        return seeded("positional_embedding", (shape[1], shape[0])).T.contiguous() * shape[0] ** 0.5
    return seeded(key, shape)


def _hiera(size, widths, blocks, attends_globally):
    return dict(
        model_type="sam2_vision_model",
        backbone_config=dict(
            model_type="sam2_hiera_det_model",
            hidden_size=widths[0],
            num_attention_heads=1,
            image_size=[size, size],
            blocks_per_stage=blocks,
            embed_dim_per_stage=widths,
            num_attention_heads_per_stage=[1, 2, 4, 8],
            window_size_per_stage=[8, 4, 14, 7],
            global_attention_blocks=attends_globally,
            window_positional_embedding_background_size=[7, 7],
        ),
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[size // s, size // s] for s in (4, 8, 16)],
        fpn_hidden_size=WIDTH,
    )


def _shared(size, stride):
    return dict(
        image_size=size,
        prompt_encoder_config=dict(hidden_size=WIDTH, image_size=size, patch_size=stride, mask_input_channels=8),
        mask_decoder_config=dict(hidden_size=WIDTH, mlp_dim=64, iou_head_hidden_dim=32),
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=2,
        memory_attention_rope_feat_sizes=[size // stride] * 2,
        memory_encoder_hidden_size=WIDTH,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=64,
    )


def _sam2(**changes):
    size = SIZE["sam2"]
    vision = _hiera(size, [12, 24, 48, 96], [1, 2, 7, 2], [5, 7, 9])
    values = dict(_shared(size, 16), vision_config=vision, memory_attention_feed_forward_hidden_size=64)
    return transformers.Sam2VideoConfig(**(values | changes))


def _edgetam(**changes):
    """Its official backbone is one of timm, which transformers does not need; a Hiera takes its place."""
    size, side = SIZE["edgetam"], 4  # latents of a memory per side; a quarter of the feature map's, as officially
    values = dict(
        _shared(size, 16),
        vision_config=_hiera(size, [8, 16, 32, 64], [1, 1, 2, 1], [3]),
        memory_attention_mlp_hidden_size=64,
        memory_attention_rope_k_sizes=[side, side],
        perceiver_resampler_num_latents=side * side,
        perceiver_resampler_num_latents_2d=side * side,
        perceiver_resampler_mlp_intermediate_size=32,
    )
    return transformers.EdgeTamVideoConfig(**(values | changes))


def _sam3(**changes):
    size = SIZE["sam3"]
    backbone = dict(
        model_type="sam3_vit_model",
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=size,
        patch_size=14,
        window_size=4,
        global_attn_indexes=[1],
        pretrain_image_size=size // 2,
    )
    feature_sizes = [[size // 14 * n] * 2 for n in (4, 2, 1)]
    vision = dict(backbone_config=backbone, fpn_hidden_size=WIDTH, backbone_feature_sizes=feature_sizes)
    values = dict(_shared(size, 14), vision_config=vision, memory_attention_feed_forward_hidden_size=64)
    return transformers.Sam3TrackerVideoConfig(**(values | changes))


def write_original(file, names, level):
    """Writes a checkpoint of SAM 2 as the official code does, with seeded weights.

    Args:
        file: *.pt.
        names: {official name: shape}.
        level: bias of the object score.
    """
    head = "sam_mask_decoder.pred_obj_score_head.layers.2."
    state = {name: seeded(name, shape) for name, shape in names.items()}
    state[f"{head}weight"] *= 10
    state[f"{head}bias"] = torch.full_like(state[f"{head}bias"], level)
    torch.save({"model": state}, file)
    return Path(file)
