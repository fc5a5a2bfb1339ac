"""GroundingDINO: sentences to boxes, and boxes to masks by SAM 2 or SAM 3.

Source: Liu et al., "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection", ECCV 2024;
https://github.com/IDEA-Research/GroundingDINO. Zhao et al., "An Open and Comprehensive Pipeline for Unified Object
Grounding and Detection" (MM-GroundingDINO), arXiv 2401.02361.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rvos_ensemble.adapters.core.settings import number
from rvos_ensemble.adapters.inference.transformers_models.adapter import FOLDER
from rvos_ensemble.adapters.inference.transformers_models.expression_adapter import (
    DEFAULTS,
    KeyFrameExpressionAdapter,
)

if TYPE_CHECKING:
    from rvos_ensemble.adapters.inference.transformers_models.detector import Detector


class GroundingDinoAdapter(KeyFrameExpressionAdapter):
    """GroundingDINO or MM-GroundingDINO on key frames: needs `weights` and `masks`, the folder of a SAM."""

    defaults: ClassVar[dict[str, Any]] = {
        **DEFAULTS,
        "masks": FOLDER,  # SAM 2 or SAM 3, for images or for videos, which turns boxes into masks
        "threshold": number(0.25, least=0, most=1),  # lowest score of a box; 0.35 in the authors' demo
    }
    score = "box score times predicted IoU of the mask, of the best box of the frame"

    def open(self) -> Detector:
        """See `KeyFrameAdapter.open`."""
        from rvos_ensemble.adapters.inference.transformers_models.detector import Detector

        return Detector(vars(self.settings))
