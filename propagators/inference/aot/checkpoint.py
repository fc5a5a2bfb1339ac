"""Opens a checkpoint of AOT or DeAOT: recognises its family and variant, and checks every weight."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.family import Checkpoint
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights, stranger
from rvos_ensemble.propagators.inference.families.aot import AOTFamily
from rvos_ensemble.propagators.inference.families.deaot import DeAOTFamily
from rvos_ensemble.propagators.networks.network import VOSNetwork
from rvos_ensemble.propagators.networks.variants import VARIANTS, VOSVariant


def load_network(path: str | Path, variant: VOSVariant | None = None) -> VOSNetwork:
    """The network with the weights of a file, ready for inference on the CPU (see `VOSNetwork.fold`).

    Args:
        path: {'state_dict', 'optimizer', 'scaler'?} as the official code saves it, raw or averaged (EMA), a bare state
            dict, or either under the names `model` and `ema`; keys with or without `module.`.
        variant: the expected one; None accepts any.

    Raises:
        InputError: no file, a damaged one, weights of another network or variant; a pickle that tries to run code is
            not loaded.
    """
    return open_checkpoint(path, variant).network()


def open_checkpoint(path: str | Path, variant: VOSVariant | None = None) -> Checkpoint:
    """Recognises and checks a file, see `load_network`; only names and shapes are read."""
    weights = read_weights(path, AOTFamily.expects)
    for family in (AOTFamily(), DeAOTFamily()):
        if family.recognises(weights):
            return family.check(weights, path, variant)
    wanted = variant.name if variant else f"one of {', '.join(VARIANTS)}"
    raise InputError(f"{path}: {stranger(weights)}, expected weights of {wanted}")
