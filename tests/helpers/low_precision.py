"""Autocast as it is without `device.autocast(..., networks)`: weights are converted at every call."""

from unittest import mock

import torch

from rvos_ensemble.adapters.inference import device


def autocast_alone():
    """Within it, no weights are converted for good."""
    return mock.patch.object(device, "_convert_once", lambda network, dtype: None)


def converted(network):
    """The share of a network's weights that are kept in bfloat16."""
    sizes = [(p.numel(), p.dtype == torch.bfloat16) for p in network.parameters()]
    return sum(n for n, low in sizes if low) / sum(n for n, _ in sizes)
