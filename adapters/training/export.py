"""From a training's result to the file that is shipped: ReferFormer, MUTR, SOC and UNINEXT."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from adapters.networks.checkpoint import open_checkpoint


def export(weights: str | Path, path: str | Path) -> Path:
    """Writes a checkpoint as fp16 safetensors, after comparing every name and shape.

    Args:
        weights: as a training leaves it.
        path: of the file, *.safetensors.

    Raises:
        InputError: the checkpoint fits none of the networks.
    """
    path, held = Path(path), open_checkpoint(weights).weights
    tensors = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in held.items()}
    assert all(torch.isfinite(v).all() for v in tensors.values()), "a weight that fp16 cannot hold"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
