"""Initial weights of AOT and DeAOT, drawn at random or loaded from a file, and the rates of their drop paths."""

from __future__ import annotations

import re

import torch
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.weights import mismatches, read_weights
from rvos_ensemble.adapters.networks.backbones.swin import SwinBlock
from rvos_ensemble.adapters.networks.layers import DropPath
from rvos_ensemble.propagators.networks.attention import RADIUS
from rvos_ensemble.propagators.networks.network import VOSNetwork

SPREAD = 2.0  # standard deviation of the initial local attention in tokens
_STEPS = torch.arange(-RADIUS, RADIUS + 1.0) ** 2
_DISTANCES = (_STEPS[:, None] + _STEPS).flatten()  # squared distance of each place of the local window


def initialise(network: VOSNetwork) -> VOSNetwork:
    """Draws random weights: Xavier as in the official code, except for two parts that take long to learn.

    The identity bank starts as the share of a patch that an object covers, times a code for the object; the local
    window starts with attention to its centre.
    """
    for name, weight in network.named_parameters():
        if name == "patch_wise_id_bank.weight":
            codes = nn.init.orthogonal_(torch.empty(weight.shape[:2])) * len(weight) ** 0.5
            weight.data.copy_(codes[..., None, None] / weight[0, 0].numel())
        elif name.endswith("relative_emb_k.bias"):
            weight.data.copy_((-_DISTANCES / (2 * SPREAD**2)).repeat(len(weight) // len(_DISTANCES)))
        elif weight.dim() > 1 and name.startswith("encoder."):
            nn.init.kaiming_normal_(weight, mode="fan_out")
        elif weight.dim() > 1 and "mask_token" not in name:
            nn.init.xavier_uniform_(weight)
    return network


def set_drop_paths(network: VOSNetwork, rate: float, encoder: float) -> None:
    """Sets the probability with which blocks are skipped during training.

    Args:
        network: all blocks of its transformer get `rate`.
        encoder: rate of the last block of a full Swin, whose last stage of two blocks the encoder does not have; it
            rises linearly from 0 at the first block. Frozen blocks are never skipped.
    """
    for module in network.LSTT.modules():
        if isinstance(module, DropPath):
            module.rate = rate
    blocks = [m for m in network.encoder.modules() if isinstance(m, SwinBlock)]
    for i, block in enumerate(blocks):
        trained = any(weight.requires_grad for weight in block.parameters())
        block.drop_path.rate = trained * encoder * i / (len(blocks) + 1)


def load_initial(network: VOSNetwork, path: str, encoder_only: bool = False) -> None:
    """Loads the weights of the whole network or of its encoder alone.

    Args:
        network: whose weights are replaced.
        path: of a network, or of an encoder or classifier.
        encoder_only: takes the encoder of the network in the file, which may be one of another architecture.

    Raises:
        InputError: weights are missing or of another shape.
    """
    content = read_weights(path, "weights to start from")
    if encoder_only:
        content = {k.removeprefix("encoder."): v for k, v in content.items() if k.startswith("encoder.")}
        if not content:
            raise InputError(
                f"{path}: encoder_only=true expects the weights of AOT or DeAOT; none starts with `encoder.`"
            )
    whole = any(k.startswith("LSTT.") for k in content)
    part = network if whole else network.encoder
    expected = {k: tuple(v.shape) for k, v in part.state_dict().items()}
    kept = content
    if not whole:  # a classifier has an additional last layer, and a Swin of images has no norms of its maps
        kept = {k: v for k, v in content.items() if k in expected}
        expected = {k: shape for k, shape in expected.items() if k in kept or not re.match(r"norm\d\.", k)}
    problems = mismatches(kept, expected)
    if problems:
        name = f"the {'network' if whole else 'encoder'} of {network.variant.name}"
        raise InputError([f"{path}: as {name}: {problem}" for problem in problems])
    part.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in kept.items()}, strict=whole)
