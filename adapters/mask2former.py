"""Mask2Former: the instances of single frames.

Source: Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022;
https://github.com/facebookresearch/Mask2Former, in transformers Mask2FormerForUniversalSegmentation.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rvos_ensemble.adapters.inference.transformers_models.segmenter_adapter import (
    DEFAULTS,
    UPSAMPLE,
    InstanceSegmenterAdapter,
)


class Mask2FormerAdapter(InstanceSegmenterAdapter):
    """Objects by Mask2Former on key frames: needs `weights`, such as facebook/mask2former-swin-large-coco-instance."""

    defaults: ClassVar[dict[str, Any]] = {**DEFAULTS, "upsample": UPSAMPLE}
