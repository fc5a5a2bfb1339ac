"""The checkpoints of ReferFormer, MUTR, SOC and UNINEXT that were published: what to look for, what was reported.

Source: the tables of the pages named in `PAGES`, where the links are. We reproduce none of these numbers: we have no
weights. Equality to the official code is tested with random ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from rvos_ensemble.adapters.inference.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.weights import read_weights
from rvos_ensemble.adapters.networks import grounding
from rvos_ensemble.adapters.networks.urvos import urvos

PAGES = {  # model: (page with the links, what the file is)
    "referformer": (
        "https://github.com/wjn922/ReferFormer#model-zoo",
        ".pth on Google Drive, column Model, with the weights under `model`",
    ),
    "mutr": (
        "https://github.com/OpenGVLab/MUTR#model-zoo-and-results",
        ".pth on Google Drive, column Model, with the weights under `model`; README and docs/ link different uploads,"
        " the names `vita.*` of the first are known",
    ),
    "soc": (
        "https://github.com/RobertLuo1/NeurIPS2023_SOC#model-zoo",
        ".tar on Google Drive, with the weights under `model_state_dict`",
    ),
    "uninext": (
        "https://github.com/MasterBin-IIAU/UNINEXT/blob/master/assets/MODEL_ZOO.md",
        "model_final.pth in a OneDrive folder of that name, with the weights under `model`; image_joint_* does not do",
    ),
}


class Published(NamedTuple):
    """One file: J&F as its authors report it, None where they do not."""

    model: str
    backbone: str
    trained: str
    youtube: float | None = None
    davis: float | None = None
    a2d: float | None = None  # mAP


PUBLISHED = [
    Published("referformer", "resnet50", "RefCOCO, then RYTVOS", 55.6, 58.5),
    Published("referformer", "resnet101", "RefCOCO, then RYTVOS", 57.3),
    Published("referformer", "swin_t_p4w7", "RefCOCO, then RYTVOS", 58.7),
    Published("referformer", "swin_l_p4w7", "RefCOCO, then RYTVOS", 62.4, 60.5),
    Published("referformer", "video_swin_t_p4w7", "RYTVOS", 56.0),
    Published("referformer", "video_swin_t_p4w7", "RefCOCO, then RYTVOS", 59.4),
    Published("referformer", "video_swin_s_p4w7", "RefCOCO, then RYTVOS", 60.1),
    Published("referformer", "video_swin_b_p4w7", "RefCOCO, then RYTVOS", 62.9, 61.1),
    Published("referformer", "resnet50", "RefCOCO and RYTVOS", 58.7),
    Published("referformer", "resnet101", "RefCOCO and RYTVOS", 59.3),
    Published("referformer", "swin_l_p4w7", "RefCOCO and RYTVOS", 64.2),
    Published("referformer", "video_swin_t_p4w7", "RefCOCO and RYTVOS", 62.6),
    Published("referformer", "video_swin_s_p4w7", "RefCOCO and RYTVOS", 63.3),
    Published("referformer", "video_swin_b_p4w7", "RefCOCO and RYTVOS", 64.9),
    Published("referformer", "video_swin_t_p4w7", "A2D", a2d=48.6),
    Published("referformer", "video_swin_t_p4w7", "RefCOCO, then A2D", a2d=52.8),
    Published("referformer", "video_swin_s_p4w7", "RefCOCO, then A2D", a2d=53.9),
    Published("referformer", "video_swin_b_p4w7", "RefCOCO, then A2D", a2d=55.0),
    Published("mutr", "resnet50", "RYTVOS", 61.9, 65.3),
    Published("mutr", "resnet101", "RYTVOS", 63.6, 65.3),
    Published("mutr", "swin_l_p4w7", "RYTVOS", 68.4, 68.0),
    Published("mutr", "video_swin_t_p4w7", "RYTVOS", 64.0, 66.5),
    Published("mutr", "video_swin_s_p4w7", "RYTVOS", 65.1, 66.1),
    Published("mutr", "video_swin_b_p4w7", "RYTVOS", 67.5, 66.4),
    Published("mutr", "convnext_large", "RYTVOS", 66.7, 69.0),
    Published("mutr", "convmae_base", "RYTVOS", 66.9, 69.2),
    Published("soc", "video_swin_t_p4w7", "ytb_from_scratch"),
    Published("soc", "video_swin_t_p4w7", "ytb_with_pretrain"),
    Published("soc", "video_swin_b_p4w7", "ytb_with_pretrain"),
    Published("soc", "video_swin_t_p4w7", "ytb_joint_train"),
    Published("soc", "video_swin_b_p4w7", "ytb_joint_train"),
    Published("soc", "video_swin_t_p4w7", "a2d_from_scratch"),
    Published("soc", "video_swin_t_p4w7", "a2d_with_pretrain"),
    Published("soc", "video_swin_b_p4w7", "a2d_with_pretrain"),
    Published("uninext", "resnet50", "video_joint_r50", 61.2, 63.9),
    Published("uninext", "convnext_large", "video_joint_convnext_large", 66.2, 66.7),
    Published("uninext", "vit_huge", "video_joint_vit_huge", 70.1, 72.5),
    Published("uninext", "resnet50", "single_task_rvos", 57.2),
]


def table() -> str:
    """All of them, and where they are."""
    lines = ["models: `sources.NAME.adapter=MODEL sources.NAME.weights=FILE`; J&F and mAP as the authors report them"]
    lines.append(f"  {'model':12} {'backbone':18} {'trained on, or as':27} {'RYTVOS':>6} {'RDAVIS':>6} {'A2D':>6}")
    for p in PUBLISHED:
        numbers = " ".join(f"{'-' if n is None else format(n, '.1f'):>6}" for n in (p.youtube, p.davis, p.a2d))
        lines.append(f"  {p.model:12} {p.backbone:18} {p.trained:27} {numbers}")
    for model, (page, file) in PAGES.items():
        lines.append(f"  {model}: {page}")
        lines.append(f"    {file}")
    return "\n".join(lines)


def verify(path: str | Path) -> str:
    """What a file is, after comparing every name and shape.

    Raises:
        InputError: it fits none of the models; why, in words.
    """
    return opened(path)[0]


def opened(path: str | Path) -> tuple[str, Mapping[str, Tensor]]:
    """What a file is, and the weights of ReferFormer, MUTR, SOC, UNINEXT, URVOS or a grounding network in it.

    Raises:
        InputError: it fits none of the models; why, in words.
    """
    weights = read_weights(path)
    if grounding.recognise(weights):
        network = grounding.open_grounding(path)[0]
        return f"{path}: a grounding network (operation `ground`), {_millions(network)}, fits", network.state_dict()
    if "vocabulary" in weights:
        network = urvos.load(path)
        return f"{path}: urvos (adapter and propagator `urvos`), {_millions(network)}, fits", network.state_dict()
    found = open_checkpoint(path)
    told = f"{path}: {found.model} with backbone {found.backbone} (adapter `{found.model}`)"
    others = f", {found.ignored} weights that inference does without" if found.ignored else ""
    return f"{told}, {found.parameters / 1e6:.1f} million parameters{others}, fits", found.weights


def _millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} million parameters"
