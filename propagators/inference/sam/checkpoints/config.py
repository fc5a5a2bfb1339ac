"""Reads config.json of a folder of SAM weights as data: nothing in it is executed or downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.checkpoints.folder import MOST_JSON
from rvos_ensemble.adapters.networks.pretrained.entries import sizes_only

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# {kind: values of `model_type` of networks that track with it}; the config of the network for images alone states the
# same sizes, and some repositories combine it with weights for video, which are checked against it
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
    if problems := list(_problems(content)):
        raise InputError([f"{file}: {p}" for p in problems])
    return make_config(_cleaned(content), kind, file)


def make_config(values: dict[str, Any], kind: str, path: Path) -> PreTrainedConfig:
    """The config of transformers with some values; images are square.

    Raises:
        InputError: values that it does not accept.
    """
    import transformers  # here, because it takes a second

    classes = {
        "sam2": transformers.Sam2VideoConfig,
        "edgetam": transformers.EdgeTamVideoConfig,
        "sam3": transformers.Sam3TrackerVideoConfig,
    }
    try:
        return classes[kind].from_dict(values)
    except Exception as error:  # its classes check types, each in its own way
        raise InputError(f"{path}: describes no network of {kind}: {reason(error)}") from error


def _use(kind: str, found: Any) -> str:
    """What a config of another type is good for."""
    owner = next((k for k, types in MODEL_TYPES.items() if found in types), None)
    if owner is not None:
        return f"; use the propagator `{owner}` for it"
    if found == "sam3":
        return ", the tracker; this is the detector alone: take facebook/sam3, whose config says sam3_video"
    return f"; take a folder such as {'facebook/sam2.1-hiera-tiny' if kind == 'sam2' else kind}"


def _problems(values: dict[str, Any], place: str = "") -> Iterator[str]:
    """What cannot be part of such a config, one sentence each."""
    for key, value in values.items():
        where = f"{place}{key}"
        if type(value) in (int, float) and abs(value) > MOST:
            yield f"`{where}` is {shown(value)}, expected a number of at most {MOST}"
        if key in PARTS and value is not None:
            found = value.get("model_type") if isinstance(value, dict) else value
            if found is not None and found not in PARTS[key]:
                yield f"`{where}` has the model_type {shown(found)}, expected one of {', '.join(PARTS[key])}"
        if key == "architecture" and not (isinstance(value, str) and value.startswith("repvit")):
            yield f"`{where}` is {shown(value)}, expected a RepViT of timm"
        if key == "image_size" and isinstance(value, list) and len(set(map(str, value))) != 1:
            yield f"`{where}` is {shown(value)}, expected a square"
        if isinstance(value, dict):
            yield from _problems(value, f"{where}.")


def _cleaned(values: dict[str, Any]) -> dict[str, Any]:
    """The values that state sizes: without names of code, precisions and kernels, and with one number for images."""
    result = sizes_only(values)
    result.pop("model_type", None)
    for part in ("prompt_encoder_config", "mask_decoder_config"):  # called differently in a network for images
        if isinstance(result.get(part), dict):
            result[part].pop("model_type", None)
    if isinstance(result.get("image_size"), list):
        result["image_size"] = result["image_size"][0]
    return result
