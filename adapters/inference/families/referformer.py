"""The family ReferFormer: its checkpoints, those published included.

The numbers are those that the authors report; they are not reproduced here, because the files are not available to us.
Source: Wu et al., "Language as Queries for Referring Video Object Segmentation", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rvos_ensemble.adapters.inference.segmenter_family import Published, SegmenterFamily, has
from rvos_ensemble.adapters.networks.rvos.referformer import ReferFormer as Network


class ReferFormer(SegmenterFamily):
    """ReferFormer with all its backbones."""

    network_class = Network
    training = "rvos_ensemble.adapters.training.segmenters"
    page = (
        "https://github.com/wjn922/ReferFormer#model-zoo",
        ".pth on Google Drive, column Model, with the weights under `model`",
    )
    published = (
        Published("resnet50", "RefCOCO, then RYTVOS", 55.6, 58.5),
        Published("resnet101", "RefCOCO, then RYTVOS", 57.3),
        Published("swin_t_p4w7", "RefCOCO, then RYTVOS", 58.7),
        Published("swin_l_p4w7", "RefCOCO, then RYTVOS", 62.4, 60.5),
        Published("video_swin_t_p4w7", "RYTVOS", 56.0),
        Published("video_swin_t_p4w7", "RefCOCO, then RYTVOS", 59.4),
        Published("video_swin_s_p4w7", "RefCOCO, then RYTVOS", 60.1),
        Published("video_swin_b_p4w7", "RefCOCO, then RYTVOS", 62.9, 61.1),
        Published("resnet50", "RefCOCO and RYTVOS", 58.7),
        Published("resnet101", "RefCOCO and RYTVOS", 59.3),
        Published("swin_l_p4w7", "RefCOCO and RYTVOS", 64.2),
        Published("video_swin_t_p4w7", "RefCOCO and RYTVOS", 62.6),
        Published("video_swin_s_p4w7", "RefCOCO and RYTVOS", 63.3),
        Published("video_swin_b_p4w7", "RefCOCO and RYTVOS", 64.9),
        Published("video_swin_t_p4w7", "A2D", a2d=48.6),
        Published("video_swin_t_p4w7", "RefCOCO, then A2D", a2d=52.8),
        Published("video_swin_s_p4w7", "RefCOCO, then A2D", a2d=53.9),
        Published("video_swin_b_p4w7", "RefCOCO, then A2D", a2d=55.0),
    )

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        return has(weights, "pixel_decoder.") and not has(weights, "mti.", "voc.", "vita.")
