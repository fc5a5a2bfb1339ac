"""The family of the grounding networks, which find the tracklet that an expression means. None was published.

Source: Liang et al., "Rethinking Cross-modal Interaction from a Top-down Perspective for Referring Video Object
Segmentation", arXiv 2106.01061.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from rvos_ensemble.adapters.inference.checkpoints.backbone_shapes import BACKBONES, recognise_backbone
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.inference.checkpoints.weights import shape_of
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding.grounding import NARROW, VISUAL
from rvos_ensemble.adapters.networks.grounding.grounding import Grounding as Network
from rvos_ensemble.adapters.networks.grounding.tracklets import PATH
from rvos_ensemble.adapters.networks.grounding.variants import VARIANTS, GroundingVariant

TOKEN_TYPES = "text_encoder.embeddings.token_type_embeddings.weight"
WORDS = f"text_encoder.{text.WORDS}"
MATRICES = ("visual_proj.weight", "text_proj.weight", "modality.weight", TOKEN_TYPES, WORDS)
ENCODERS = {name: shapes for name, shapes in BACKBONES.items() if name in VISUAL}


class GroundingFamily(Family):
    """Grounding networks of every size."""

    kind = "grounding"
    training = "rvos_ensemble.adapters.training.grounding"
    expects = "a checkpoint of `run_ensemble.py train grounding`"
    used_by = "operation `ground`"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return _visual(weights) is not None and all(len(shape_of(weights, key)) == 2 for key in MATRICES)

    def variant(
        self, weights: Mapping[str, Tensor], path: Path, expected: GroundingVariant | None = None
    ) -> GroundingVariant:
        """The sizes of the network, which follow from those of its weights."""
        visual, path_layer = _visual(weights), shape_of(weights, "path.layers.0.weight")
        words, text_channels = shape_of(weights, WORDS)
        return GroundingVariant(
            visual,
            channels=shape_of(weights, "modality.weight")[1],
            layers=_count(weights, "encoder.layers."),
            points=path_layer[1] // PATH if len(path_layer) == 2 else 0,
            language=text.BERT if shape_of(weights, TOKEN_TYPES)[0] == 2 else text.ROBERTA,
            words=words,
            text_layers=_count(weights, "text_encoder.encoder.layer."),
            text_channels=text_channels,
            short_side=VARIANTS["grounding_nano" if visual == NARROW else "grounding"].short_side,
        )

    def title(self, variant: GroundingVariant) -> str:
        """See `Family.title`."""
        return f"a grounding network with visual encoder {variant.visual}"

    def build(self, weights: Mapping[str, Tensor], variant: GroundingVariant) -> Network:
        """See `Family.build`."""
        return variant.network()

    def fill(self, network: nn.Module) -> None:
        """See `Family.fill`."""
        text.fill_buffers(network.text_encoder)


def _visual(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the visual encoder; None for an unknown one."""
    return recognise_backbone(weights, "visual.body.", ENCODERS) or (
        NARROW if "visual.layers.0.weight" in weights else None
    )


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Number of layers: of different parts that follow the prefix in the names."""
    return len({key.removeprefix(prefix).partition(".")[0] for key in weights if key.startswith(prefix)})
