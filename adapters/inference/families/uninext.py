"""The family UNINEXT: its checkpoints, those published included.

The numbers are those that the authors report; they are not reproduced here, because the files are not available to us.
Source: Yan et al., "Universal Instance Perception as Object Discovery and Retrieval", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.backbone_shapes import DETECTRON2_BACKBONES
from rvos_ensemble.adapters.inference.checkpoints.segmenter_family import PublishedSegmenter, SegmenterFamily, has
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.uninext.uninext import Uninext


class UNINEXTFamily(SegmenterFamily):
    """UNINEXT with all its backbones, in its video-level training."""

    network_class = Uninext
    backbones = DETECTRON2_BACKBONES
    backbone_prefix = "detr.detr.backbone.0.backbone."
    language_prefix = "text_encoder.body.model."
    language = text.BERT
    training = "rvos_ensemble.adapters.training.uninext"
    unused = (
        "detr.detr.ref_backbone.",  # sees the first frame and its mask when tracking: nearly half of the file
        "detr.detr.transformer.decoder.bbox_embed.",  # the same weights as detr.detr.bbox_embed.
        "detr.detr.transformer.decoder.class_embed.",  # the same as detr.detr.class_embed.
        "detr.detr.transformer.resizer.",  # the sentence as a query; its result is multiplied by 0
        "detr.resizer.",  # the same for training
        "detr.reid_embed_head.",  # embeddings that recognise an object in another frame
        "detr.adjust_layer.",  # single-object tracking
        "detr.sot_fuser.",
        "criterion.",  # training
    )
    page = (
        "https://github.com/MasterBin-IIAU/UNINEXT/blob/master/assets/MODEL_ZOO.md",
        "model_final.pth in a OneDrive folder of that name, with the weights under `model`; image_joint_* does not do",
    )
    published = (
        PublishedSegmenter("resnet50", "video_joint_r50", 61.2, 63.9),
        PublishedSegmenter("convnext_large", "video_joint_convnext_large", 66.2, 66.7),
        PublishedSegmenter("vit_huge", "video_joint_vit_huge", 70.1, 72.5),
        PublishedSegmenter("resnet50", "single_task_rvos", 57.2),
    )

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return has(weights, "detr.detr.")

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: str | None = None) -> str:
        """The name of the backbone, of the video-level training only; see `Family.variant`."""
        backbone = super().variant(weights, path, expected)
        if not backbone.endswith("_nano") and not has(weights, "detr.reid_embed_head."):
            raise InputError(
                f"{path}: weights of UNINEXT's image-level training, expected those of its video-level training: "
                "take video_joint_* (model_final.pth in it), not image_joint_* or the first stage"
            )
        return backbone
