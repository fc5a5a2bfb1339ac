"""Initial weights of URVOS: drawn at random, or loaded from a file."""

from __future__ import annotations

import torch
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.weights import mismatches, read_weights
from rvos_ensemble.adapters.networks.urvos.urvos import URVOS

BACKBONE = "backbone.0.body."  # prefix of the backbone in the weights of `train backbone=resnet_nano`


def initialise(network: URVOS) -> URVOS:
    """Draws random weights: He's for convolutions; residual blocks start as the identity, masks start empty.

    Query and key of the memory start equal, so that a cell attends to similar cells from the beginning. With
    independent weights they attended to nothing useful for hundreds of steps, and the network learned to ignore its
    memory.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for conv in (network.memory.remembered, network.memory.mask):  # the mask has few channels beside the features
        nn.init.kaiming_normal_(conv.weight, mode="fan_in")
    network.memory.query.load_state_dict(network.memory.key.state_dict())
    for block in network.decoder.refine:
        nn.init.zeros_(block.conv2.weight)
    nn.init.normal_(network.decoder.head[-1].weight, std=0.01)
    nn.init.constant_(network.decoder.head[-1].bias, -2)
    for embedding in (network.word, network.position):
        nn.init.normal_(embedding.weight, std=0.5)
    return network


def load_initial(network: URVOS, path: str) -> None:
    """Loads weights of the whole network, with or without its memory, or of a backbone with at least as many stages.

    The backbone may be torchvision's, or come from `train backbone=resnet_nano`.

    Raises:
        InputError: weights are missing, unknown or of another shape.
    """
    content = read_weights(path, "weights to start from")
    if any(k.startswith(BACKBONE) for k in content):
        content = {k.removeprefix(BACKBONE): v for k, v in content.items() if k.startswith(BACKBONE)}
    whole = any(k.startswith("backbone.") for k in content)
    part = network if whole else network.backbone
    ignored = ["short_side"] if whole else ["fc."]
    if whole and not any(k.startswith("memory.") for k in content):
        ignored.append("memory.")
    if not whole:
        ignored += [f"layer{i}." for i in range(len(network.variant.blocks) + 1, 5)]
    expected = {k: tuple(v.shape) for k, v in part.state_dict().items() if not k.startswith(tuple(ignored))}
    kept = {k: v for k, v in content.items() if not k.startswith(tuple(ignored))}
    problems = mismatches(kept, expected)
    if whole and not problems and not torch.equal(kept["vocabulary"], network.vocabulary):
        problems = ["trained with other words than those of the data"]
    if problems:
        raise InputError(f"{path}: to start from: {problem}" for problem in problems)
    part.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in kept.items()}, strict=False)
