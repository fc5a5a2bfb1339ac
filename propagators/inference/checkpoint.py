"""Loads the weights of AOT and DeAOT from files as the official code writes them; says what is wrong with others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.weights import mismatches, read_weights, shape_of
from rvos_ensemble.propagators.networks.network import VOSNetwork
from rvos_ensemble.propagators.networks.variants import VARIANTS, Variant


def load_network(path: str | Path, variant: Variant | None = None) -> VOSNetwork:
    """The network with the weights of a file, ready for inference on the CPU (see `VOSNetwork.fold`).

    Args:
        path: {'state_dict', 'optimizer', 'scaler'?} as the official code saves it, raw or averaged (EMA), a bare state
            dict, or either under the names `model` and `ema`; keys with or without `module.`.
        variant: expected; None takes what is recognised from the file. Variants B and L of MobileNetV2 have the same
            weights and differ in the memory gap only; None takes B where the file is called so, as the official
            `AOTB_PRE_YTB_DAV.pth`, else L.

    Raises:
        InputError: no file, damaged, no weights of these networks, or those of another variant; a pickle that wants to
            run code is not loaded.
    """
    weights = read_weights(path, "a checkpoint of AOT or DeAOT")
    names = recognise(weights)
    if not names:
        raise InputError(f"{path}: {_surprise(weights)}, expected weights of {_wanted(variant)}")
    if variant is not None and variant.name not in names:
        raise InputError(f"{path}: holds weights of {' or '.join(names)}, expected {variant.name}")
    called = re.split(r"[_.]", Path(path).name.lower())[0]
    variant = variant or VARIANTS[called if called in names else names[-1]]
    problems = mismatches(weights, _shapes(variant))
    if problems:
        raise InputError(f"{path}: recognised as {variant.name}, but {problem}" for problem in problems)
    network = _empty(variant)
    network.load_state_dict({k: weights[k].float() if weights[k].is_floating_point() else weights[k] for k in weights})
    return network.fold()


def recognise(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the variants that have these weights' encoder, family and number of layers; L after B."""

    def width(key: str) -> int:
        return next(iter(shape_of(weights, key)), 0)

    encoder = {
        "mobilenetv2": "encoder.features.0.0.weight" in weights,
        "resnet50": "encoder.layer3.5.conv1.weight" in weights and "encoder.layer3.6.conv1.weight" not in weights,
        "resnet101": "encoder.layer3.22.conv1.weight" in weights,
        "swin_base": width("encoder.patch_embed.proj.weight") == 128,
        "swin_large": width("encoder.patch_embed.proj.weight") == 192,
        "resnet_nano": width("encoder.conv1.weight") == 16,
    }
    family = "deaot" if "LSTT.layers.0.linear_QV.weight" in weights else "aot"
    layers = len({k.split(".")[2] for k in weights if k.startswith("LSTT.layers.") and k.count(".") > 2})
    return [v.name for v in VARIANTS.values() if encoder[v.encoder] and (v.family, v.layers) == (family, layers)]


@lru_cache(maxsize=2)
def _shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {k: tuple(v.shape) for k, v in VOSNetwork(variant).state_dict().items()}


def _empty(variant: Variant) -> VOSNetwork:
    """A network without drawing random numbers for weights that a file replaces."""
    with torch.device("meta"):
        network = VOSNetwork(variant)
    return network.to_empty(device="cpu")


def _surprise(weights: Mapping[str, Tensor]) -> str:
    keys = list(weights)
    if any(k.startswith("LSTT.") for k in keys):
        return "weights of an AOT or DeAOT whose encoder or number of layers is none of the known ones"
    return f"holds other weights ({', '.join(keys[:3])}, ...)"


def _wanted(variant: Variant | None) -> str:
    return variant.name if variant else f"one of {', '.join(VARIANTS)}"
