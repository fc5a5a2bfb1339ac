"""From a training's result to the file that is shipped: fp16, opened first as a run would open it."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from adapters.networks import grounding, urvos
from adapters.networks.checkpoint import open_checkpoint
from adapters.networks.weights import read_weights, write_weights


def export(weights: str | Path, path: str | Path) -> Path:
    """Writes a checkpoint as fp16 safetensors, after comparing every name and shape.

    Args:
        weights: as a training leaves it.
        path: of the file, *.safetensors.

    Raises:
        InputError: the checkpoint fits none of the networks.
    """
    return write_weights(checked(weights), Path(path))


def checked(path: str | Path) -> dict[str, Tensor]:
    """The weights of ReferFormer, MUTR, SOC, UNINEXT, URVOS or a grounding network, all of them and no others."""
    weights = read_weights(path)
    if grounding.recognise(weights):
        return grounding.open_grounding(path)[0].state_dict()
    if "vocabulary" in weights:
        return urvos.load(path).state_dict()
    return open_checkpoint(path).weights
