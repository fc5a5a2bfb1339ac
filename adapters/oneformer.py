"""OneFormer, told that its task is instance segmentation.

Source: Jain et al., "OneFormer: One Transformer to Rule Universal Image Segmentation", CVPR 2023;
https://github.com/SHI-Labs/OneFormer, in transformers OneFormerForUniversalSegmentation. Instances are rated as in the
official code, which is that of Mask2Former; the processor of transformers rates them by their class alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rvos_ensemble.adapters.inference.transformers_models.segmenter_adapter import (
    DEFAULTS,
    UPSAMPLE,
    InstanceSegmenterAdapter,
)


class OneFormerAdapter(InstanceSegmenterAdapter):
    """Objects by OneFormer on key frames: needs `weights`, such as shi-labs/oneformer_coco_swin_large."""

    defaults: ClassVar[dict[str, Any]] = {**DEFAULTS, "upsample": UPSAMPLE}
