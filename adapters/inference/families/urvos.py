"""The family URVOS, whose weights an adapter and a propagator share. None was published.

Source: Seo et al., "URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark",
ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.networks.urvos.urvos import URVOS as Network
from rvos_ensemble.adapters.networks.urvos.urvos import URVOSVariant
from rvos_ensemble.adapters.networks.urvos.vocabulary import Vocabulary

LONGEST_VOCABULARY = 1 << 24  # bytes of all words
LARGEST = 1 << 14  # short side of a frame, pixels


class URVOSFamily(Family):
    """URVOS of every size; a checkpoint also holds its vocabulary."""

    training = "rvos_ensemble.adapters.training.urvos"
    expects = "weights of URVOS"
    used_by = "adapter and propagator `urvos`"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return "vocabulary" in weights or "memory.present.weight" in weights

    def variant(
        self, weights: Mapping[str, Tensor], path: Path, expected: tuple[URVOSVariant, Vocabulary] | None = None
    ) -> tuple[URVOSVariant, Vocabulary]:
        """The sizes of the network and its words."""
        try:
            return sizes_of(weights), Vocabulary.unpack(_vocabulary(weights["vocabulary"]))
        except Exception as error:  # a weight is missing or has another form
            raise InputError(f"{path}: not weights of URVOS ({reason(error)} is missing or damaged)") from error

    def build(self, weights: Mapping[str, Tensor], variant: tuple[URVOSVariant, Vocabulary], **options: Any) -> Network:
        """See `Family.build`."""
        return Network(*variant)


def sizes_of(weights: Mapping[str, Tensor]) -> URVOSVariant:
    """The sizes that weights have.

    Raises:
        KeyError, IndexError, TypeError, ValueError, RuntimeError: a weight that says one is missing or damaged.
    """
    parts = [k.split(".") for k in weights if k.startswith("backbone.layer") and k.count(".") > 2]
    stages = sorted({p[1] for p in parts})
    short_side = int(weights["short_side"])
    if not 0 < short_side <= LARGEST:
        raise ValueError(f"short_side {short_side}")
    return URVOSVariant(
        blocks=tuple(len({p[2] for p in parts if p[1] == stage}) for stage in stages),
        stem=len(weights["backbone.conv1.weight"]),
        word=weights["word.weight"].shape[1],
        cross=len(weights["cross.query.word.weight"]),
        key=len(weights["memory.key.weight"]),
        value=len(weights["memory.present.weight"]),
        pyramid=len(weights["decoder.cross.weight"]),
        short_side=short_side,
    )


def _vocabulary(packed: Tensor) -> Tensor:
    """The bytes of the words.

    Raises:
        ValueError: the tensor is something else.
    """
    if packed.dtype != torch.uint8 or packed.dim() != 1 or len(packed) > LONGEST_VOCABULARY:
        raise ValueError(f"vocabulary of {packed.dtype} {tuple(packed.shape)}")
    return packed
