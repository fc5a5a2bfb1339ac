"""The family of SAM 3's tracker, in the Hugging Face layout, alone or inside a SAM 3 for videos.

facebook/sam3 holds a detector and a tracker that share an image encoder; what the tracker needs is taken from it.

Source: Carion et al., "SAM 3: Segment Anything with Concepts", arXiv 2511.16719.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.propagators.inference.sam.checkpoints.family import MEMORY, SamFamily, SamVariant
from rvos_ensemble.propagators.inference.sam.checkpoints.published import LINKS

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TRACKER = "tracker_model."  # in a SAM 3 for videos; transformers writes it before all names of a tracker alone, too
# beginnings of the names of the image encoder there, and of the same weights in the network that tracks
ENCODER = {
    "tracker_neck.": "vision_encoder.neck.",
    "detector_model.vision_encoder.backbone.": "vision_encoder.backbone.",
}
DETECTOR = ("detr_encoder.", "detector_model.")
OFFICIAL = ("detector.backbone.", "detector.transformer.", "tracker.maskmem_backbone.", "tracker.transformer.")


class SAM3Family(SamFamily):
    """The tracker of SAM 3."""

    model = "Sam3TrackerVideoModel"
    published_as = "facebook/sam3"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        beginnings = (TRACKER, *DETECTOR, *OFFICIAL, "vision_encoder.backbone.layers.")
        return any(name.startswith(beginnings) for name in weights)

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: Any = None) -> SamVariant:
        """See `SamFamily.variant`; a detector alone and a file of the official code are refused."""
        if any(name.startswith(OFFICIAL) for name in weights):
            raise InputError(f"{path}: a file of the official code of SAM 3, which is not known here; {self._take()}")
        tracker = self.select(weights)
        if any(name.startswith(DETECTOR) for name in weights) and not any(n.startswith(MEMORY) for n in tracker):
            raise InputError(f"{path}: the detector of SAM 3 alone, which does not track; {self._take()}")
        variant = super().variant(tracker, path, expected)
        if len(tracker) < len(weights):
            return SamVariant(variant.config, f"{variant.title} inside a SAM 3 for videos")
        return variant

    def describe(self, config: PreTrainedConfig) -> str:
        """The name of a network in words."""
        return "the tracker of SAM 3"

    def select(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Family.select`."""
        if not any(name.startswith(TRACKER) for name in weights):
            return weights
        kept = {}
        for name, tensor in weights.items():
            plain = name
            while plain.startswith(TRACKER):  # transformers 5.24 writes it twice into a SAM 3 for videos
                plain = plain.removeprefix(TRACKER)
            old = next((beginning for beginning in ENCODER if plain.startswith(beginning)), None)
            if old is not None:
                kept[ENCODER[old] + plain.removeprefix(old)] = tensor
            elif plain != name:
                kept[plain] = tensor
        return kept

    def links(self) -> list[str]:
        """See `Family.links`; the last of the families with this table says it for all."""
        return list(LINKS)
