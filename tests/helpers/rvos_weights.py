"""Checkpoints of ReferFormer, MUTR, SOC and UNINEXT with seeded weights, in the layouts of the official codes.

Geometry: the real networks at full width, but for the text encoder, which has two layers and the few words of
`tiny_tokenizers`. Weights of one scale share a storage, from which every name takes its own part: files of 60 MB
instead of 300.
"""

import argparse
import zlib
from pathlib import Path

import numpy as np
import torch
from helpers.tiny_tokenizers import bert_folder, roberta_folder

from rvos_ensemble.adapters.inference.checkpoints.checkpoint import family_of
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.backbones.backbone import Backbone

BACKBONES = {"referformer": "resnet50", "mutr": "resnet50", "soc": "video_swin_t_p4w7", "uninext": "resnet50"}
SPREAD = 4099  # how far apart the parts of a storage may begin


def tokenizer_of(model, folder: Path) -> Path:
    """A folder with a tiny tokenizer for the model."""
    make = roberta_folder if family_of(model).language is text.ROBERTA else bert_folder
    return make(folder / family_of(model).language.name)


def weights_of(model, vocabulary, backbone=None, seed=0):
    """{name: tensor} of a network: fan-in scaled, norms near one."""
    backbone = backbone or BACKBONES[model]
    make = text.roberta if family_of(model).language is text.ROBERTA else text.bert
    with torch.device("meta"):
        network = family_of(model).network_class(backbone, make(vocabulary=vocabulary, layers=2))
        shapes = {k: (tuple(v.shape), v.dtype) for k, v in network.state_dict().items()}
    longest, pools = {}, {}
    for shape, _ in shapes.values():
        longest[_fan(shape)] = max(longest.get(_fan(shape), 0), int(np.prod(shape)))
    for fan, n in longest.items():
        pools[fan] = (
            torch.randn(n + SPREAD, generator=torch.Generator().manual_seed(fan + 10**6 * seed)) / max(fan, 1) ** 0.5
        )
    real = None
    weights = {}
    for key, (shape, dtype) in shapes.items():
        if dtype == torch.int64:  # where the positions of a window lie: no weights
            real = real or Backbone(backbone).state_dict()
            weights[key] = real[key.removeprefix("backbone.0.")]
        elif len(shape) < 2:
            one = key.endswith((".weight", "running_var")) or "gamma" in key
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
            weights[key] = (1 + 0.02 * noise) if one else 0.1 * noise
            if key.endswith("running_mean") or (key.startswith("backbone") and key.endswith("bias")):
                weights[key] = 0 * noise
        else:
            start = zlib.crc32(key.encode()) % SPREAD
            weights[key] = pools[_fan(shape)][start : start + int(np.prod(shape))].view(shape)
    return weights


def official(model, weights, path: Path) -> Path:
    """Writes weights as the model's own code does, optimizer and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = argparse.Namespace(backbone="resnet50", lr=1e-4, output_dir="out")
    if model == "referformer":
        content = {"model": weights, "optimizer": {"state": {}}, "lr_scheduler": {}, "epoch": 5, "args": arguments}
    elif model == "mutr":  # a first upload, saved by DistributedDataParallel
        old = {f"module.{k.replace('mti.', 'vita.', 1) if k.startswith('mti.') else k}": v for k, v in weights.items()}
        content = {"model": old, "args": arguments}
    elif model == "soc":
        extra = {"text_encoder.embeddings.position_ids": torch.arange(514)[None], "total_params": torch.zeros(1)}
        content = {"epoch": 29, "model_state_dict": weights | extra, "best_mAP": np.float64(0.5), "best_loss": 1.5}
    else:
        unused = {
            "detr.detr.ref_backbone.0.backbone.stem.conv1.weight": torch.zeros(64, 4, 7, 7),
            "detr.reid_embed_head.0.layers.0.linear1.weight": torch.zeros(3, 3),
            "criterion._iter": torch.zeros(1),
        }
        content = {"model": weights | unused, "optimizer": {}, "scheduler": {}, "iteration": 89999}
    torch.save(content, path)
    return path


def _fan(shape):
    return int(np.prod(shape[1:])) if len(shape) > 1 else 0
