"""From a training's result to the file that is shipped."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.adapters.inference.weights import read_weights, write_weights
from rvos_ensemble.propagators.inference.checkpoint import load_network


def export(weights: str | Path, path: str | Path) -> Path:
    """Writes a checkpoint as fp16 safetensors, after loading it strictly.

    Args:
        weights: as a training leaves it.
        path: of the file, *.safetensors.

    Raises:
        InputError: the checkpoint is none of AOT or DeAOT.
    """
    load_network(weights)
    return write_weights(read_weights(weights), Path(path))
