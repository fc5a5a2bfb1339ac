"""Loads a network of SAM 2, EdgeTAM or SAM 3 from the folders and files in which it is published."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints import registry
from rvos_ensemble.adapters.inference.checkpoints.family import Checkpoint
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights, stranger
from rvos_ensemble.propagators.inference import families


def load_sam(path: str | Path, kind: str) -> nn.Module:
    """The network in a folder or file, in eval mode, float32, on the CPU.

    Args:
        path: a folder in the Hugging Face layout, a folder of the cache of huggingface_hub, or a checkpoint of the
            official code of SAM 2.
        kind: "sam2", "edgetam" or "sam3".

    Raises:
        InputError: see `open_sam`.
    """
    return open_sam(path, kind).network()


def open_sam(path: str | Path, kind: str) -> Checkpoint:
    """Recognises and checks a folder or file, see `load_sam`; only names and shapes are read.

    Raises:
        InputError: nothing there, a damaged or incomplete one, weights of another network, or weights that do not fit
            their config; with what to do.
    """
    known = registry.families(families)
    family = known[kind]
    weights = read_weights(path, family.expects, folders=True)
    if family.recognises(weights):
        return family.check(weights, path)
    other = registry.recognise(weights, known.values())
    if other is not None:
        raise InputError(f"{path}: holds weights of {other.name}, expected {kind}; use {other.used_by} for it")
    raise InputError(f"{path}: {stranger(weights)}, expected {family.expects}")
