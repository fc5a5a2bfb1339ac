"""The family of the grounding networks, which find the tracklet that an expression means. None was published.

Source: Liang et al., "Rethinking Cross-modal Interaction from a Top-down Perspective for Referring Video Object
Segmentation", arXiv 2106.01061.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.backbone_shapes import BACKBONES, recognise_backbone
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.inference.checkpoints.weights import shape_of
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding.description import KEY as DESCRIPTION
from rvos_ensemble.adapters.networks.grounding.description import read_description
from rvos_ensemble.adapters.networks.grounding.grounding import Grounding as Network
from rvos_ensemble.adapters.networks.grounding.tracklets import PATH
from rvos_ensemble.adapters.networks.grounding.variants import VARIANTS, GroundingVariant
from rvos_ensemble.adapters.networks.grounding.visual import MOBILE, NARROW, VISUAL

TOKEN_TYPES = "text_encoder.embeddings.token_type_embeddings.weight"
WORDS = f"text_encoder.{text.WORDS}"
MATRICES = ("visual_proj.weight", "text_proj.weight", "modality.weight")
OWN_TEXT = (TOKEN_TYPES, WORDS)  # of BERT and RoBERTa, whose sizes need no description
ENCODERS = {name: shapes for name, shapes in BACKBONES.items() if name in VISUAL}
ENCODERS[MOBILE] = {"features.18.0.weight": (1280, 320, 1, 1)}


class GroundingFamily(Family):
    """Grounding networks of every size."""

    kind = "grounding"
    training = "rvos_ensemble.adapters.training.grounding"
    expects = "a checkpoint of `run_ensemble.py train grounding`"
    used_by = "operation `ground`"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        described = DESCRIPTION in weights
        return (described or _visual(weights) is not None) and all(
            len(shape_of(weights, key)) == 2 for key in (*MATRICES, *(() if described else OWN_TEXT))
        )

    def variant(
        self, weights: Mapping[str, Tensor], path: Path, expected: GroundingVariant | None = None
    ) -> GroundingVariant:
        """The sizes of the network, which follow from those of its weights and from its description."""
        description = read_description(weights[DESCRIPTION], str(path)) if DESCRIPTION in weights else None
        path_layer = shape_of(weights, "path.layers.0.weight")
        variant = GroundingVariant(
            _visual(weights) or "",
            channels=shape_of(weights, "modality.weight")[1],
            layers=_count(weights, "encoder.layers."),
            points=path_layer[1] // PATH if len(path_layer) == 2 else 0,
        )
        if not (description and description.text):
            variant = replace(variant, **_text(weights, path))
        if description:
            if not (description.image or variant.visual):
                raise InputError(f"{path}: neither describes its visual encoder nor has one of ours")
            try:
                return variant.with_description(description)
            except InputError as error:
                raise InputError(f"{path}: {problem}" for problem in error.problems) from error
        narrow = variant.visual == NARROW
        return replace(variant, short_side=VARIANTS["grounding_nano" if narrow else "grounding"].short_side)

    def title(self, variant: GroundingVariant) -> str:
        """See `Family.title`."""
        return f"a grounding network with {encoders(variant)}"

    def derives(self, name: str) -> bool:
        """See `Family.derives`: counters of batch norms, whose statistics do not change."""
        return name.endswith("num_batches_tracked")

    def build(self, weights: Mapping[str, Tensor], variant: GroundingVariant) -> Network:
        """See `Family.build`."""
        return variant.network()

    def fill(self, network: nn.Module) -> None:
        """See `Family.fill`."""
        if network.description is None:  # those of transformers are computed by their constructors
            text.fill_buffers(network.text_encoder)


def encoders(variant: GroundingVariant) -> str:
    """The encoders of a network in words."""
    words = f" and text encoder {variant.language.name}" if variant.text_encoder else ""
    return f"visual encoder {variant.visual}{words}"


def _text(weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The sizes of a BERT or RoBERTa, as values of `GroundingVariant`.

    Raises:
        InputError: another text encoder, without a description of it.
    """
    if any(len(shape_of(weights, key)) != 2 for key in OWN_TEXT):
        raise InputError(f"{path}: neither describes its text encoder nor has a BERT or RoBERTa")
    words, channels = shape_of(weights, WORDS)
    return {
        "language": text.BERT if shape_of(weights, TOKEN_TYPES)[0] == 2 else text.ROBERTA,
        "words": words,
        "text_layers": _count(weights, "text_encoder.encoder.layer."),
        "text_channels": channels,
    }


def _visual(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the visual encoder; None for an unknown one."""
    return recognise_backbone(weights, "visual.body.", ENCODERS) or (
        NARROW if "visual.layers.0.weight" in weights else None
    )


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Number of layers: of different parts that follow the prefix in the names."""
    return len({key.removeprefix(prefix).partition(".")[0] for key in weights if key.startswith(prefix)})
