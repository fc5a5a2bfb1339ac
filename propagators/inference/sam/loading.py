"""Loads a network of SAM 2, EdgeTAM or SAM 3 from the files in which it is published."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import transformers
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.hashing import path_hash

CLASSES = {
    "sam2": transformers.Sam2VideoModel,
    "edgetam": transformers.EdgeTamVideoModel,
    "sam3": transformers.Sam3TrackerVideoModel,
}


def load_sam(path: str | Path, kind: str) -> nn.Module:
    """The network in a folder, in eval mode, float32, on the CPU.

    Args:
        path: a folder in the Hugging Face layout.
        kind: "sam2", "edgetam" or "sam3".

    Raises:
        InputError: no such folder.
    """
    folder = user_path(path)
    if not os.path.isdir(folder):
        raise InputError(f"{path}: no such folder, expected one with config.json and model.safetensors")
    network = CLASSES[kind].from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    return network.eval().requires_grad_(False)


def fingerprint(path: str | Path) -> str:
    """A hash of the content of the weights and the config."""
    return path_hash(user_path(path))
