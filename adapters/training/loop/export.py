"""From a training's result to the file that is shipped: fp16, opened first as a run would open it."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.adapters.inference.checkpoint import DERIVED
from rvos_ensemble.adapters.inference.published import opened
from rvos_ensemble.adapters.inference.weights import write_weights


def export(weights: str | Path, path: str | Path) -> Path:
    """Writes a checkpoint as fp16 safetensors, after comparing every name and shape.

    Args:
        weights: as a training leaves it.
        path: of the file, *.safetensors.

    Raises:
        InputError: the checkpoint fits none of the networks.
    """
    kept = {k: v for k, v in opened(weights)[1].items() if not k.endswith(DERIVED)}
    return write_weights(kept, Path(path))
