"""The family MUTR: its checkpoints, those published included.

The numbers are those that the authors report; they are not reproduced here, because the files are not available to us.
Source: Yan et al., "Referred by Multi-Modality: A Unified Temporal Transformer for Video Object Segmentation", AAAI
2024.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rvos_ensemble.adapters.inference.checkpoints.segmenter_family import PublishedSegmenter, SegmenterFamily, has
from rvos_ensemble.adapters.networks.rvos.mutr import MUTR as Network


class MUTRFamily(SegmenterFamily):
    """MUTR with all its backbones."""

    network_class = Network
    training = "rvos_ensemble.adapters.training.segmenters"
    renamed = ("vita.", "mti.")
    page = (
        "https://github.com/OpenGVLab/MUTR#model-zoo-and-results",
        ".pth on Google Drive, column Model, with the weights under `model`; README and docs/ link different uploads,"
        " the names `vita.*` of the first are known",
    )
    published = (
        PublishedSegmenter("resnet50", "RYTVOS", 61.9, 65.3),
        PublishedSegmenter("resnet101", "RYTVOS", 63.6, 65.3),
        PublishedSegmenter("swin_l_p4w7", "RYTVOS", 68.4, 68.0),
        PublishedSegmenter("video_swin_t_p4w7", "RYTVOS", 64.0, 66.5),
        PublishedSegmenter("video_swin_s_p4w7", "RYTVOS", 65.1, 66.1),
        PublishedSegmenter("video_swin_b_p4w7", "RYTVOS", 67.5, 66.4),
        PublishedSegmenter("convnext_large", "RYTVOS", 66.7, 69.0),
        PublishedSegmenter("convmae_base", "RYTVOS", 66.9, 69.2),
    )

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return has(weights, "pixel_decoder.") and has(weights, "mti.", "voc.", "vita.")
