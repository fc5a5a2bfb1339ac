"""The family EdgeTAM, in the Hugging Face layout.

Source: Zhou et al., "EdgeTAM: On-Device Track Anything Model", CVPR 2025, arXiv 2501.07256;
https://github.com/facebookresearch/EdgeTAM.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.propagators.inference.sam.checkpoints.family import SamFamily, SamVariant

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

OFFICIAL = "image_encoder."
BEGINNINGS = ("spatial_perceiver.", "image_encoder.trunk.body.", "vision_encoder.backbone.timm_model.")


class EdgeTAMFamily(SamFamily):
    """EdgeTAM."""

    model = "EdgeTamVideoModel"
    published_as = "yonigozlan/EdgeTAM-hf"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return any(name.startswith(BEGINNINGS) for name in weights)

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: Any = None) -> SamVariant:
        """See `SamFamily.variant`; a file of the official code is refused."""
        if any(name.startswith(OFFICIAL) for name in weights):
            raise InputError(f"{path}: a file of the official code of EdgeTAM, which is not known here; {self._take()}")
        variant = super().variant(weights, path, expected)
        backbone = variant.config.vision_config.backbone_config
        if backbone.model_type == "timm_wrapper" and importlib.util.find_spec("timm") is None:
            raise InputError(
                f"{path}: the image encoder of EdgeTAM is one of timm, which is not installed: pip install timm"
            )
        return variant

    def describe(self, config: PreTrainedConfig) -> str:
        """The name of a network in words."""
        return "EdgeTAM"
