"""The family SAM 2 and SAM 2.1, in the Hugging Face layout and in that of the official code.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos", arXiv 2408.00714;
https://github.com/facebookresearch/sam2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rvos_ensemble.propagators.inference.sam.checkpoints.config import tracker_config
from rvos_ensemble.propagators.inference.sam.checkpoints.family import MEMORY, SamCheckpoint, SamFamily, SamVariant
from rvos_ensemble.propagators.inference.sam.checkpoints.original_config import ENCODERS, original_config
from rvos_ensemble.propagators.inference.sam.checkpoints.original_names import is_original, renamed

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class SAM2Family(SamFamily):
    """SAM 2 and SAM 2.1, all sizes."""

    model = "Sam2VideoModel"
    published_as = "facebook/sam2.1-hiera-tiny"

    @property
    def expects(self) -> str:
        """See `Family.expects`."""
        return f"{super().expects}, or a file of the official code such as sam2.1_hiera_tiny.pt"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        if any(name.startswith("spatial_perceiver.") for name in weights):
            return False  # EdgeTAM
        return is_original(weights) or any(name.startswith("vision_encoder.backbone.blocks.") for name in weights)

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: Any = None) -> SamVariant:
        """The sizes of the network: from the weights of an official file, otherwise from the config beside them."""
        if not is_original(weights) or not any(name.startswith(MEMORY) for name in weights):
            return super().variant(weights, path, expected)
        config = tracker_config(original_config(weights, path), self.name, path)
        return SamVariant(config, f"{self.describe(config)}, a file of the official code")

    def describe(self, config: PreTrainedConfig) -> str:
        """The name of a network in words: "SAM 2.1 hiera tiny"."""
        backbone = config.vision_config.backbone_config
        version = "2.1" if config.enable_occlusion_spatial_embedding else "2"
        encoder = ENCODERS.get(tuple(backbone.blocks_per_stage))
        width = "" if encoder and backbone.hidden_size == encoder.width else f" of width {backbone.hidden_size}"
        return f"SAM {version} hiera {encoder.name if encoder else 'of another size'}{width}"

    def select(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Family.select`."""
        return renamed(weights) if is_original(weights) else weights

    def checkpoint(self, path: Path, variant: SamVariant, weights: Mapping[str, Tensor], *about: Any) -> SamCheckpoint:
        """See `Family.checkpoint`; `select` leaves nothing out, though it returns another number of weights."""
        return SamCheckpoint(path, self, variant, weights, about[0])
