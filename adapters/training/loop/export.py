"""Exports the weights of a finished run as the fp16 file that the package ships."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.adapters.inference.checkpoint import DERIVED
from rvos_ensemble.adapters.inference.published import opened
from rvos_ensemble.adapters.inference.weights import write_weights


def export(weights: str | Path, path: str | Path) -> Path:
    """Writes a checkpoint as fp16 safetensors after comparing every name and shape with the network.

    Args:
        weights: the checkpoint that a training run wrote.
        path: the file to write, *.safetensors.

    Raises:
        InputError: the checkpoint does not fit any of the networks.
    """
    kept = {k: v for k, v in opened(weights)[1].items() if not k.endswith(DERIVED)}
    return write_weights(kept, Path(path))
