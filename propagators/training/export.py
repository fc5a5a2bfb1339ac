"""From a training's result to the file that is shipped."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from adapters.networks.weights import read_weights
from propagators.networks.checkpoint import load_network


def export(weights: str | Path, path: str | Path) -> Path:
    """Writes a checkpoint as fp16 safetensors, after loading it strictly.

    Args:
        weights: as a training leaves it.
        path: of the file, *.safetensors.

    Raises:
        InputError: the checkpoint is none of AOT or DeAOT.
    """
    variant, path = load_network(weights).variant, Path(path)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in read_weights(weights).items()}
    # a scale of a batch norm that fp16 cannot hold would come back as infinite
    assert all(torch.isfinite(v).all() for v in tensors.values())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary, metadata={"variant": variant.name})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
