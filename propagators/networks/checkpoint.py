"""Loads the weights of AOT and DeAOT from files as the official code writes them; says what is wrong with others."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from adapters.sequence import InputError
from propagators.networks.network import VOSNetwork
from propagators.networks.variants import VARIANTS, Variant

CONTAINERS = ("state_dict_ema", "ema_state_dict", "ema", "state_dict", "model")  # averaged weights come first
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
SHOWN = 5  # keys named in an error


def load_network(path: str | Path, variant: Variant | None = None) -> VOSNetwork:
    """The network with the weights of a file, ready for inference on the CPU (see `VOSNetwork.fold`).

    Args:
        path: {'state_dict', 'optimizer', 'scaler'?} as the official code saves it, raw or averaged (EMA), a bare state
            dict, or either under the names `model` and `ema`; keys with or without `module.`.
        variant: expected; None takes what is recognised from the file. Variants B and L of MobileNetV2 have the same
            weights and differ in the memory gap only; None takes L.

    Raises:
        InputError: no file, damaged, no weights of these networks, or those of another variant; a pickle that wants to
            run code is not loaded.
    """
    weights = read_weights(Path(path))
    names = recognise(weights)
    if not names:
        raise InputError(f"{path}: {_surprise(weights)}, expected weights of {_wanted(variant)}")
    if variant is not None and variant.name not in names:
        raise InputError(f"{path}: holds weights of {' or '.join(names)}, expected {variant.name}")
    variant = variant or VARIANTS[names[-1]]
    problems = _mismatches(weights, variant)
    if problems:
        raise InputError(f"{path}: recognised as {variant.name}, but {problem}" for problem in problems)
    network = _empty(variant)
    network.load_state_dict({k: weights[k].float() if weights[k].is_floating_point() else weights[k] for k in weights})
    return network.fold()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their plain names; nothing in the file is executed.

    Raises:
        InputError: no file, damaged, no tensors by name, or a pickle that needs more than tensors to load.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a checkpoint of AOT or DeAOT")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None:
            raise InputError(f"{path}: not a checkpoint, or a damaged one") from error
        raise InputError(
            f"{path}: a pickle that calls {named[1]}, which is more than tensors need; it was not loaded. "
            "Save its state dict alone if you trust where it comes from"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise InputError(f"{path}: not a checkpoint, or one that is cut short or damaged ({reason})") from error
    for name in CONTAINERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not any(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{path}: holds {type(found).__name__}, expected a checkpoint with tensors by name")
    # trained without freezing them, batch norms also count batches; nothing needs the count
    return {_plain(k): v for k, v in found.items() if isinstance(v, Tensor) and not k.endswith("num_batches_tracked")}


def recognise(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the variants that have these weights' encoder, family and number of layers; L after B."""

    def width(key: str) -> int:
        return len(weights[key]) if key in weights else 0

    encoder = {
        "mobilenetv2": "encoder.features.0.0.weight" in weights,
        "resnet50": "encoder.layer3.5.conv1.weight" in weights and "encoder.layer3.6.conv1.weight" not in weights,
        "resnet101": "encoder.layer3.22.conv1.weight" in weights,
        "swin_base": width("encoder.patch_embed.proj.weight") == 128,
        "swin_large": width("encoder.patch_embed.proj.weight") == 192,
    }
    family = "deaot" if "LSTT.layers.0.linear_QV.weight" in weights else "aot"
    layers = len({k.split(".")[2] for k in weights if k.startswith("LSTT.layers.")})
    return [v.name for v in VARIANTS.values() if encoder[v.encoder] and (v.family, v.layers) == (family, layers)]


def _plain(key: str) -> str:
    while key.startswith(PREFIXES):
        key = key.partition(".")[2]
    return key


@lru_cache(maxsize=2)
def _shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {k: tuple(v.shape) for k, v in VOSNetwork(variant).state_dict().items()}


def _empty(variant: Variant) -> VOSNetwork:
    """A network without drawing random numbers for weights that a file replaces."""
    with torch.device("meta"):
        network = VOSNetwork(variant)
    return network.to_empty(device="cpu")


def _mismatches(weights: Mapping[str, Tensor], variant: Variant) -> list[str]:
    """What keeps the weights from being exactly those of the variant, in words."""
    expected = _shapes(variant)
    problems = []
    for what, keys in (
        ("weights are missing", sorted(expected.keys() - weights.keys())),
        ("unknown weights are in it", sorted(weights.keys() - expected.keys())),
    ):
        if keys:
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            problems.append(f"{what}: {', '.join(keys[:SHOWN])}{more}")
    for key in sorted(expected.keys() & weights.keys()):
        if tuple(weights[key].shape) != expected[key]:
            problems.append(f"{key} has shape {tuple(weights[key].shape)}, expected {expected[key]}")
    return problems


def _surprise(weights: Mapping[str, Tensor]) -> str:
    keys = list(weights)
    if any(k.startswith("LSTT.") for k in keys):
        return "weights of an AOT or DeAOT whose encoder or number of layers is none of the known ones"
    return f"holds other weights ({', '.join(keys[:3])}, ...)"


def _wanted(variant: Variant | None) -> str:
    return variant.name if variant else f"one of {', '.join(VARIANTS)}"
