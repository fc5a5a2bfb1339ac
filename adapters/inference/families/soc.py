"""The family SOC: its checkpoints, those published included.

The numbers are those that the authors report; they are not reproduced here, because the files are not available to us.
Source: Luo et al., "SOC: Semantic-Assisted Object Cluster for Referring Video Object Segmentation", NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rvos_ensemble.adapters.inference.checkpoints.segmenter_family import PublishedSegmenter, SegmenterFamily, has
from rvos_ensemble.adapters.networks.rvos.soc import SOC as Network


class SOCFamily(SegmenterFamily):
    """SOC with all its backbones."""

    network_class = Network
    training = "rvos_ensemble.adapters.training.segmenters"
    renamed = ("vita.", "voc.")
    page = (
        "https://github.com/RobertLuo1/NeurIPS2023_SOC#model-zoo",
        ".tar on Google Drive, with the weights under `model_state_dict`",
    )
    published = (
        PublishedSegmenter("video_swin_t_p4w7", "ytb_from_scratch"),
        PublishedSegmenter("video_swin_t_p4w7", "ytb_with_pretrain"),
        PublishedSegmenter("video_swin_b_p4w7", "ytb_with_pretrain"),
        PublishedSegmenter("video_swin_t_p4w7", "ytb_joint_train"),
        PublishedSegmenter("video_swin_b_p4w7", "ytb_joint_train"),
        PublishedSegmenter("video_swin_t_p4w7", "a2d_from_scratch"),
        PublishedSegmenter("video_swin_t_p4w7", "a2d_with_pretrain"),
        PublishedSegmenter("video_swin_b_p4w7", "a2d_with_pretrain"),
    )

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return has(weights, "spatial_decoder.") and has(weights, "mti.", "voc.", "vita.")
