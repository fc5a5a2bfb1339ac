"""The network with which the training of a grounding network or a judge starts, and the settings of its encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.settings import text
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights
from rvos_ensemble.adapters.inference.options import TOKENIZER
from rvos_ensemble.adapters.inference.pretrained_encoders import read_image_backbone, read_text_encoder
from rvos_ensemble.adapters.inference.tokenization import load_tokenizer, stored_tokenizer
from rvos_ensemble.adapters.networks.grounding.description import Description
from rvos_ensemble.adapters.networks.grounding.grounding import Grounding
from rvos_ensemble.adapters.networks.grounding.variants import GroundingVariant
from rvos_ensemble.adapters.networks.grounding.visual import VISUAL
from rvos_ensemble.adapters.training.loop import settings as common

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# rates that modules pass on to functions, ours and those of transformers
DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "dropout_prob", "dropout_rate")

SETTINGS: dict[str, Any] = {
    # a folder of transformers, in place of the variant's text encoder
    "text_encoder": text(None, what="a folder with config.json, safetensors and a tokenizer"),
    # the same for images, or the name of an encoder, one of adapters.networks.grounding.visual.VISUAL
    "image_backbone": text(None, what="a folder with config.json and safetensors, or the name of an encoder"),
    "text_lr": common.RATE.at(1.0),  # relative learning rate of the text encoder; 0 freezes it
    "backbone_lr": common.RATE.at(1.0),  # the same of the visual encoder
    "visual_weights": common.FILE,  # of an encoder trained on ImageNet, with torchvision's names for ResNets
    "text_weights": common.FILE,  # of the variant's language model
    "tokenizer": TOKENIZER,  # folder; None uses that of `text_encoder`, or of the variant
}


def make(
    settings: Mapping[str, Any], variants: Mapping[str, GroundingVariant], where: str
) -> tuple[GroundingVariant, Tokenizer, Grounding]:
    """The variant that settings describe, its tokenizer, and its network with initial weights.

    Args:
        settings: values for `SETTINGS`, `variant`, `seed`, `size` and `dropout`.
        variants: by name.
        where: the command, for messages.

    Raises:
        InputError: unknown variant, or an encoder, tokenizer or weights that cannot be read; all of it together.
    """
    if settings["variant"] not in variants:
        raise InputError(f"{where}: no variant {settings['variant']!r}, expected one of {', '.join(variants)}")
    variant, trained = _with_encoders(variants[settings["variant"]], settings, where)
    if variant.text_encoder:
        tokenizer = stored_tokenizer(variant.text_encoder.tokenizer, settings["text_encoder"])
    else:
        tokenizer = load_tokenizer(variant.language, variant.tokenizer(settings["tokenizer"]))
    torch.manual_seed(settings["seed"])
    network = variant.network()
    for name, module in trained.items():
        network.get_submodule(name).load_state_dict(module.state_dict())
    set_dropout(network, settings["dropout"])
    for part, key in (("visual.body", "visual_weights"), ("text_encoder", "text_weights")):
        if settings[key]:
            load_encoder(network.get_submodule(part), settings[key])
    for prefix, rate in rates(settings).items():
        network.get_submodule(prefix[:-1]).requires_grad_(rate > 0)
    return variant, tokenizer, network


def rates(settings: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The relative learning rates of the encoders, see `TrainingTask.rates`.

    Args:
        settings: values for `SETTINGS`.
        prefix: of the names of the network's weights.
    """
    return {f"{prefix}visual.": settings["backbone_lr"], f"{prefix}text_encoder.": settings["text_lr"]}


def _with_encoders(
    variant: GroundingVariant, settings: Mapping[str, Any], where: str
) -> tuple[GroundingVariant, dict[str, nn.Module]]:
    """The variant with the encoders of the settings, and those of transformers with their weights, by name.

    Raises:
        InputError: encoders that cannot be read, or settings that exclude each other.
    """
    words, images = settings["text_encoder"], settings["image_backbone"]
    if words is None and images is None:
        return variant, {}
    folder = images is not None and images not in VISUAL
    problems = [
        f"{where}: {encoder} and {weights} are both set; the folder has weights, so remove {weights}"
        for encoder, weights, both in (
            ("text_encoder", "text_weights", words and settings["text_weights"]),
            ("image_backbone", "visual_weights", folder and settings["visual_weights"]),
        )
        if both
    ]
    if folder and not user_path(images).is_dir():
        problems.append(f"{where}: image_backbone={images}: no such folder, and none of {', '.join(VISUAL)}")
        folder = False
    parts: dict[str, Any] = {}
    trained: dict[str, nn.Module] = {}
    for part, name, wanted, read in (
        ("text", "text_encoder", words, lambda: read_text_encoder(words, settings["tokenizer"])),
        ("image", "visual", folder, lambda: read_image_backbone(images)),
    ):
        if wanted:
            try:
                parts[part], trained[name] = read()
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(problems)
    if images in VISUAL:
        variant = replace(variant, visual=images)
    return variant.with_description(Description(min(settings["size"]), **parts)), trained


def set_dropout(network: nn.Module, share: float) -> None:
    """Sets the rate of every dropout of a network."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = share
        for name in DROPOUTS:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, share)


def load_encoder(module: nn.Module, path: str | Path) -> None:
    """Loads the weights of an encoder from a network of another task; other weights of the file are ignored.

    Raises:
        InputError: the file lacks some of the module's weights.
    """
    content = read_weights(path, "weights to start from")
    for prefix in ("", "bert.", "roberta.", "backbone."):
        if all(prefix + k in content for k in module.state_dict()):
            module.load_state_dict({k: content[prefix + k] for k in module.state_dict()})
            return
    raise InputError(f"{path}: lacks weights such as {next(k for k in module.state_dict() if k not in content)}")
