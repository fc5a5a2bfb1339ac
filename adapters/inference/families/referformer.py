"""The family ReferFormer: its checkpoints, those published included.

The numbers are those that the authors report; they are not reproduced here, because the files are not available to us.
Source: Wu et al., "Language as Queries for Referring Video Object Segmentation", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rvos_ensemble.adapters.inference.checkpoints.segmenter_family import PublishedSegmenter, SegmenterFamily, has
from rvos_ensemble.adapters.networks.rvos.referformer import ReferFormer as Network


class ReferFormerFamily(SegmenterFamily):
    """ReferFormer with all its backbones."""

    network_class = Network
    training = "rvos_ensemble.adapters.training.segmenters"
    page = (
        "https://github.com/wjn922/ReferFormer#model-zoo",
        ".pth on Google Drive, column Model, with the weights under `model`",
    )
    published = (
        PublishedSegmenter("resnet50", "RefCOCO, then RYTVOS", 55.6, 58.5),
        PublishedSegmenter("resnet101", "RefCOCO, then RYTVOS", 57.3),
        PublishedSegmenter("swin_t_p4w7", "RefCOCO, then RYTVOS", 58.7),
        PublishedSegmenter("swin_l_p4w7", "RefCOCO, then RYTVOS", 62.4, 60.5),
        PublishedSegmenter("video_swin_t_p4w7", "RYTVOS", 56.0),
        PublishedSegmenter("video_swin_t_p4w7", "RefCOCO, then RYTVOS", 59.4),
        PublishedSegmenter("video_swin_s_p4w7", "RefCOCO, then RYTVOS", 60.1),
        PublishedSegmenter("video_swin_b_p4w7", "RefCOCO, then RYTVOS", 62.9, 61.1),
        PublishedSegmenter("resnet50", "RefCOCO and RYTVOS", 58.7),
        PublishedSegmenter("resnet101", "RefCOCO and RYTVOS", 59.3),
        PublishedSegmenter("swin_l_p4w7", "RefCOCO and RYTVOS", 64.2),
        PublishedSegmenter("video_swin_t_p4w7", "RefCOCO and RYTVOS", 62.6),
        PublishedSegmenter("video_swin_s_p4w7", "RefCOCO and RYTVOS", 63.3),
        PublishedSegmenter("video_swin_b_p4w7", "RefCOCO and RYTVOS", 64.9),
        PublishedSegmenter("video_swin_t_p4w7", "A2D", a2d=48.6),
        PublishedSegmenter("video_swin_t_p4w7", "RefCOCO, then A2D", a2d=52.8),
        PublishedSegmenter("video_swin_s_p4w7", "RefCOCO, then A2D", a2d=53.9),
        PublishedSegmenter("video_swin_b_p4w7", "RefCOCO, then A2D", a2d=55.0),
    )

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return has(weights, "pixel_decoder.") and not has(weights, "mti.", "voc.", "vita.")
