"""Official checkpoints of ReferFormer, MUTR, SOC and UNINEXT: which model a file holds, and whether it fits.

Loading is strict: every weight of the network comes from the file, and every weight in the file is used, but for the
names listed in `PASSED_OVER` and those that a network says it does without.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.weights import mismatches, read_note, read_weights, shape_of, weights_file
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.interface import Network


@dataclass(frozen=True)
class Family:
    """Where a model's parts lie in its checkpoints.

    Attributes:
        network: class, in the file of `adapters/networks` that is called like the model.
        backbone, language_model: beginnings of their names.
        language: of its text encoder.
        vita: today's name of the module that the first uploads call `vita.`.
    """

    network: str
    backbone: str = "backbone.0.body."
    language_model: str = "text_encoder."
    language: text.Language = text.ROBERTA
    vita: str = ""


FAMILIES = {
    "referformer": Family("ReferFormer"),
    "mutr": Family("MUTR", vita="mti."),
    "soc": Family("SOC", vita="voc."),
    "uninext": Family("Uninext", "detr.detr.backbone.0.backbone.", "text_encoder.body.model.", text.BERT),
}
_SWIN, _DEEP = "patch_embed.proj.weight", "layers.2.blocks.17.norm1.weight"
BACKBONES: dict[str, dict[str, tuple[int, ...] | None]] = {  # what tells them apart: shapes, None where there is none
    "resnet50": {"layer3.5.conv1.weight": (256, 1024, 1, 1), "layer3.6.conv1.weight": None},
    "resnet101": {"layer3.22.conv1.weight": (256, 1024, 1, 1)},
    "swin_t_p4w7": {_SWIN: (96, 3, 4, 4), _DEEP: None},
    "swin_s_p4w7": {_SWIN: (96, 3, 4, 4), _DEEP: (384,)},
    "swin_b_p4w7": {_SWIN: (128, 3, 4, 4)},
    "swin_l_p4w7": {_SWIN: (192, 3, 4, 4)},
    "video_swin_t_p4w7": {_SWIN: (96, 3, 1, 4, 4), _DEEP: None},
    "video_swin_s_p4w7": {_SWIN: (96, 3, 1, 4, 4), _DEEP: (384,)},
    "video_swin_b_p4w7": {_SWIN: (128, 3, 1, 4, 4)},
    "convnext_large": {"stem.0.weight": (192, 3, 4, 4)},
    "convmae_base": {"patch_embed1.proj.weight": (256, 3, 4, 4)},
    "resnet_nano": {"conv1.weight": (16, 3, 7, 7)},  # ours, and so is the next
    "video_swin_nano": {_SWIN: (24, 3, 1, 4, 4)},
}
BACKBONES_OF_UNINEXT: dict[str, dict[str, tuple[int, ...] | None]] = {
    "resnet50": {"res4.5.conv1.weight": (256, 1024, 1, 1), "res4.6.conv1.weight": None},
    "convnext_large": {"downsample_layers.0.0.weight": (192, 3, 4, 4)},
    "vit_huge": {"patch_embed.proj.weight": (1280, 3, 16, 16)},
    "convnext_nano": {"downsample_layers.0.0.weight": (32, 3, 4, 4)},  # ours
}
PASSED_OVER = (  # endings of names: counters of a profiler, and a buffer that transformers kept before 4.31
    "total_params",
    "total_ops",
    ".position_ids",
)
DERIVED = ".relative_position_index"  # of Swin, megabytes that follow from its windows: a file may leave them out


@dataclass(frozen=True)
class Checkpoint:
    """A file whose weights are exactly those of a network.

    Attributes:
        path: of the file.
        model, backbone: names, as adapters and their setting `backbone` have them.
        weights: by the network's names; read from the file when they are used.
        ignored: how many others the file holds that inference does without.
        parameters: of the network, its text encoder included.
        layer: of the decoder, that it was trained to answer with, where the file says so: what `auto` takes.
    """

    path: Path
    model: str
    backbone: str
    weights: Mapping[str, Tensor]
    ignored: int
    parameters: int
    layer: str | None = None

    @property
    def family(self) -> Family:
        return FAMILIES[self.model]

    @property
    def small(self) -> bool:
        """Whether it is a small network of our own."""
        return self.backbone.endswith("_nano")

    def network(self, layer: str | None = None, training: bool = False) -> Network:
        """The network, its weights loaded, on the CPU.

        Args:
            layer: "official", "last" or "auto", for the models that know them.
            training: it is to be trained; else it is made ready for inference.
        """
        if layer == "auto" and self.layer:
            layer = self.layer
        with torch.device("meta"):  # no time for random numbers that the file replaces
            network = _build(self.model, self.backbone, self.weights, layer)
        weights = {k: v.float() if v.is_floating_point() else v for k, v in self.weights.items()}
        network.load_state_dict(weights, strict=False, assign=True)
        text.fill_buffers(network.language_model)
        return network if training else network.requires_grad_(False).fold()


def open_checkpoint(path: str | Path, model: str | None = None, backbone: str | None = None) -> Checkpoint:
    """Recognises and checks a file; only names and shapes are read.

    Args:
        path: file of the official code, in any layout that `read_weights` knows.
        model: expected; None takes what it is.
        backbone: expected; None takes what it is.

    Raises:
        InputError: no file, damaged, another model or backbone, or weights that are missing, unknown or of another
            shape; with the likely cause.
    """
    wanted = f"a checkpoint of {model or ', '.join(FAMILIES)}"
    weights = read_weights(path, wanted)
    found = recognise(weights)
    if found is None:
        raise InputError(f"{path}: {_surprise(weights)}, expected {wanted}")
    family = FAMILIES[found]
    if model not in (None, found):
        raise InputError(f"{path}: holds weights of {found}, expected {model}; use `adapter: {found}` for it")
    if family.vita:
        weights = {family.vita + k[5:] if k.startswith("vita.") else k: v for k, v in weights.items()}
    held = recognise_backbone(weights, found)
    if held is None:
        raise InputError(f"{path}: weights of {found} with a backbone that is none of {', '.join(backbones(found))}")
    if (
        found == "uninext"
        and held != "convnext_nano"
        and not any(k.startswith("detr.reid_embed_head.") for k in weights)
    ):
        raise InputError(
            f"{path}: weights of UNINEXT's image-level training, expected those of its video-level training: "
            "take video_joint_* (model_final.pth in it), not image_joint_* or the first stage"
        )
    if backbone not in (None, held):
        raise InputError(f"{path}: holds weights of {found} with backbone {held}, expected {backbone}")
    kept = {k: v for k, v in weights.items() if not _ignored(k, found)}
    if f"{family.language_model}embeddings.word_embeddings.weight" not in kept:
        raise InputError(f"{path}: weights of {found} without its text encoder ({family.language_model}*)")
    try:
        with torch.device("meta"):
            network = _build(found, held, kept)
    except Exception as error:  # sizes that no network can be built of, or a weight missing that says one
        why = reason(error)
        raise InputError(
            f"{path}: recognised as {found} with backbone {held}, but no network is of its sizes ({why})"
        ) from error
    expected = {
        k: tuple(v.shape)
        for k, v in network.state_dict().items()
        if not _ignored(k, found) and (k in kept or not k.endswith(DERIVED))
    }
    if problems := mismatches(kept, expected):
        told = [f"{path}: recognised as {found} with backbone {held}, but {p}" for p in problems]
        raise InputError([*told, f"{path}: likely {_cause(weights, kept, expected, family)}"])
    parameters = sum(p.numel() for p in network.parameters())
    layer = read_note(path, "layer")
    return Checkpoint(weights_file(path), found, held, kept, len(weights) - len(kept), parameters, layer)


def recognise(weights: Mapping[str, Tensor]) -> str | None:
    """The model whose weights these are; None for any other."""

    def has(*beginnings: str) -> bool:
        return any(key.startswith(beginnings) for key in weights)

    temporal = has("mti.", "voc.", "vita.")
    if has("detr.detr."):
        return "uninext"
    if has("spatial_decoder.") and temporal:
        return "soc"
    if has("pixel_decoder."):
        return "mutr" if temporal else "referformer"
    return None


def recognise_backbone(weights: Mapping[str, Tensor], model: str) -> str | None:
    """The name of the backbone, None for an unknown one."""
    prefix = FAMILIES[model].backbone
    for name, marks in backbones(model).items():
        shapes = {key: shape_of(weights, prefix + key) if prefix + key in weights else None for key in marks}
        if all(shapes[key] == shape for key, shape in marks.items()):
            return name
    return None


def backbones(model: str) -> dict[str, dict[str, tuple[int, ...] | None]]:
    """The backbones that can be had for a model, and what tells them apart."""
    return BACKBONES_OF_UNINEXT if model == "uninext" else BACKBONES


def _module(model: str) -> ModuleType:
    """The file of a model's network."""
    folder = "uninext" if model == "uninext" else "rvos"
    return importlib.import_module(f"rvos_ensemble.adapters.networks.{folder}.{model}")


def class_of(model: str) -> type[Network]:
    """The class of a model's network."""
    return getattr(_module(model), FAMILIES[model].network)


def _build(model: str, backbone: str, weights: Mapping[str, Tensor], layer: str | None = None) -> Network:
    """The network, its language model and its class heads of the geometry that the weights have."""
    family = FAMILIES[model]
    options: dict[str, Any] = {} if layer is None else {"layer": layer}
    if shape := shape_of(weights, "class_embed.0.weight"):
        options["classes"] = shape[0]
    return class_of(model)(backbone, text.like(weights, family.language_model, family.language), **options)


def _ignored(key: str, model: str) -> bool:
    without = getattr(_module(model), "IGNORED", ())
    return key.endswith(PASSED_OVER) or key.startswith(without)


def _cause(weights: Mapping, kept: Mapping, expected: Mapping, family: Family) -> str:
    """Why weights do not fit, as far as their names tell."""
    wrong = [k for k in kept.keys() ^ expected.keys()]
    wrong += [k for k in kept.keys() & expected.keys() if tuple(kept[k].shape) != expected[k]]
    if "bbox_embed.layers.0.weight" in weights:
        return "a model trained without --with_box_refine, which all published ones are trained with"
    if any("rel_pos" in k for k in wrong):
        return "a ConvMAE trained with another --max_size than the published 640"
    if all(k.startswith(family.backbone) for k in wrong):
        return "a backbone of another size than those published"
    if all(k.startswith(family.language_model) for k in wrong):
        return f"another text encoder than {family.language.name}"
    if not kept.keys() - expected.keys():
        return "a file that was saved in part"
    return "a model of another version of the code"


def _surprise(weights: Mapping[str, Tensor]) -> str:
    """What a file without any of the models holds."""
    keys = list(weights)
    if any(k.startswith("LSTT.") for k in keys):
        return "weights of the propagators AOT or DeAOT (propagators.aot.weights=FILE)"
    if any(k.endswith("encoder.layer.0.attention.self.query.weight") for k in keys):
        return "a language model alone"
    if any(k.endswith(("patch_embed.proj.weight", "layer1.0.conv1.weight", "stem.0.weight")) for k in keys):
        return "a backbone alone, as it was pre-trained"
    return f"holds other weights ({', '.join(keys[:3])}, ...)"
