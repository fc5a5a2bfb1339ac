"""The settings `device` and `precision` of every model and propagator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from rvos_ensemble.adapters.inference.options import DEVICE, PRECISION
from rvos_ensemble.adapters.inference.precision import resolved

KNOWN = {"device": DEVICE, "precision": PRECISION}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CONVERTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def problems(settings: Mapping[str, Any], where: str) -> Iterator[str]:
    """Problems of the settings `device` and `precision`, one sentence each.

    Args:
        settings: may contain both.
        where: the component that they belong to, for messages.
    """
    device, precision = settings.get("device", DEVICE.default), settings.get("precision", "fp32")
    invalid = {key: why for key, known in KNOWN.items() if key in settings and (why := known.problem(settings[key]))}
    yield from (f"{where}: setting `{key}` {why}" for key, why in invalid.items())
    if invalid:
        return
    if device.startswith("cuda") and not torch.cuda.is_available():
        yield f"{where}: setting `device` is {device!r}, but there is no CUDA device here; auto takes what there is"
    elif device.startswith("cuda:") and int(device[5:]) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        yield f"{where}: setting `device` is {device!r}, but there are {count} CUDA devices here, numbered from 0"
    elif precision == "fp16" and (device == "cpu" or not torch.cuda.is_available()):
        yield f"{where}: setting `precision` is 'fp16', which needs CUDA; a CPU can do fp32 and bf16"


def pick(device: str) -> torch.device:
    """The device of that name; `auto` means CUDA if it is available."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def dtype_of(device: torch.device, precision: str) -> torch.dtype:
    """The type of weights and activations in that precision; `auto` means what `precision.decide` chooses."""
    return PRECISIONS[resolved({"device": device.type, "precision": precision})]


def autocast(device: torch.device, precision: str, *networks: nn.Module) -> AbstractContextManager:
    """The context that computes in that precision.

    Args:
        device: where.
        precision: "auto", or one of `PRECISIONS`.
        networks: those that run in it. Autocast converts the weights of linear layers and convolutions at every call;
            of these networks they are converted once, by the first call in such a context. The results are the same.
    """
    dtype = dtype_of(device, precision)
    if dtype == torch.float32:
        return nullcontext()
    for network in networks:
        _convert_once(network, dtype)
    return torch.autocast(device.type, dtype)


def _convert_once(network: nn.Module, dtype: torch.dtype) -> None:
    """Prepares the layers of a network that autocast computes in `dtype`; a layer that runs without it stays."""
    if getattr(network, "_converts_to", None) == dtype:
        return
    network._converts_to = dtype
    for layer in network.modules():
        if isinstance(layer, CONVERTED) and layer.weight.dtype == torch.float32:
            layer.register_forward_pre_hook(partial(_convert, dtype))


def _convert(dtype: torch.dtype, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Converts the weights of a layer at its first call under autocast."""
    if layer.weight.dtype == torch.float32 and torch.is_autocast_enabled(inputs[0].device.type):
        for own in layer.parameters(recurse=False):  # not those of a normalisation within a layer that derives from it
            own.data = own.data.to(dtype)
