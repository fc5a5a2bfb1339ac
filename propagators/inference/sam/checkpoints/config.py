"""Reads config.json of a folder of SAM weights as data: nothing in it is executed or downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.inference.checkpoints.folder import MOST_JSON
from rvos_ensemble.adapters.networks.pretrained.config import make_config, numbers_up_to, plain_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# {kind: values of `model_type` of networks that track with it, its own first}; the config of the network for images
# alone states the same sizes, and some repositories combine it with weights for video, which are checked against it
MODEL_TYPES = {
    "sam2": ("sam2_video", "sam2"),
    "edgetam": ("edgetam_video", "edgetam"),
    "sam3": ("sam3_tracker_video", "sam3_video"),
}
PARTS = {  # {key: values of `model_type` in it}; other networks in their place would be built, or even be downloaded
    "vision_config": ("sam2_vision_model", "edgetam_vision_model", "sam3_vision_model"),
    "backbone_config": ("sam2_hiera_det_model", "timm_wrapper", "sam3_vit_model"),
}
MOST = 1 << 16  # of any number: more channels or layers than that are no size of a network


def read_config(file: Path, kind: str) -> PreTrainedConfig:
    """The config of the network that tracks.

    Args:
        file: config.json.
        kind: "sam2", "edgetam" or "sam3".

    Raises:
        InputError: not such a file, or it describes another kind of network.
    """
    content = read_json(file, MOST_JSON)
    found = content.get("model_type") if isinstance(content, dict) else None
    if found not in MODEL_TYPES[kind]:
        raise InputError(f"{file}: `model_type` is {shown(found)}, expected {MODEL_TYPES[kind][0]}{_use(kind, found)}")
    if found == "sam3_video":
        content = content.get("tracker_config")
        if not isinstance(content, dict):
            raise InputError(f"{file}: a sam3_video without `tracker_config`, which states the sizes of the tracker")
    return tracker_config(_as_for_videos(plain_config(content, str(file), RULES)), kind, file)


def tracker_config(values: dict[str, Any], kind: str, path: Path) -> PreTrainedConfig:
    """The config of transformers with some values; images are square.

    Raises:
        InputError: values that it does not accept.
    """
    return make_config(values, str(path), MODEL_TYPES[kind][0], f"describes no network of {kind}")


def _use(kind: str, found: Any) -> str:
    """What a config of another type is good for."""
    owner = next((k for k, types in MODEL_TYPES.items() if found in types), None)
    if owner is not None:
        return f"; use the propagator `{owner}` for it"
    if found == "sam3":
        return ", the tracker; this is the detector alone: take facebook/sam3, whose config says sam3_video"
    return f"; take a folder such as {'facebook/sam2.1-hiera-tiny' if kind == 'sam2' else kind}"


def _fits(name: str, value: Any) -> str | None:
    """Refuses what cannot be part of such a config, see `Rule`."""
    key = name.rpartition(".")[2]
    if key in PARTS and value is not None:
        found = value.get("model_type") if isinstance(value, dict) else value
        if found is not None and found not in PARTS[key]:
            return f"`{name}` has the model_type {shown(found)}, expected one of {', '.join(PARTS[key])}"
    if key == "architecture" and not (isinstance(value, str) and value.startswith("repvit")):
        return f"`{name}` is {shown(value)}, expected a RepViT of timm"
    if key == "image_size" and isinstance(value, list) and len(set(map(str, value))) != 1:
        return f"`{name}` is {shown(value)}, expected a square"
    return None


RULES = (numbers_up_to(MOST), _fits)


def _as_for_videos(values: dict[str, Any]) -> dict[str, Any]:
    """The values as a network for videos states them, with one number for the side of the images."""
    result = dict(values)
    for part in ("prompt_encoder_config", "mask_decoder_config"):
        if isinstance(result.get(part), dict):
            result[part].pop("model_type", None)
    if isinstance(result.get("image_size"), list):
        result["image_size"] = result["image_size"][0]
    return result
