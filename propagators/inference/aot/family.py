"""The base of the families AOT and DeAOT: video object segmentation networks with checkpoints of the official code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.inference.checkpoints.weights import shape_of
from rvos_ensemble.propagators.networks.network import VOSNetwork
from rvos_ensemble.propagators.networks.variants import VARIANTS, VOSVariant

ZOO = "https://github.com/yoxu515/aot-benchmark/blob/main/MODEL_ZOO.md"


class PublishedVOS(NamedTuple):
    """One published checkpoint, as MODEL_ZOO.md of the official code lists it."""

    file: str
    parameters: float  # millions
    mean: float  # G on YouTube-VOS 2018 valid, default frame rate
    fps: float  # measured there on a V100


class VOSFamily(Family):
    """One of the two families, with all its variants.

    Attributes:
        published: {variant: its checkpoint}.
        unpublished: {variant: why there is no checkpoint to download}.
    """

    kind = "propagator"
    training = "rvos_ensemble.propagators.training"
    expects = "a checkpoint of AOT or DeAOT"
    heading = (
        f"propagators aot and deaot: `propagators.aot.weights=FILE`; files at {ZOO}",
        f"  {'variant':13} {'file':30} {'M params':>8} {'G YTB18':>8} {'FPS V100':>8}",
    )
    published: ClassVar[Mapping[str, PublishedVOS]] = {}
    unpublished: ClassVar[Mapping[str, str]] = {}

    def rows(self) -> list[str]:
        """One line per variant."""
        lines = []
        for name in (v.name for v in VARIANTS.values() if v.family == self.name):
            if p := self.published.get(name):
                lines.append(f"  {name:13} {p.file:30} {p.parameters:8.1f} {p.mean:8.1f} {p.fps:8.1f}")
            else:
                lines.append(f"  {name:13} {self.unpublished[name]}")
        return lines

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return any(k.startswith("LSTT.") for k in weights) and family_of(weights) == self.name

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: VOSVariant | None = None) -> VOSVariant:
        """The variant that the weights belong to.

        Variants B and L of MobileNetV2 have weights of the same shapes and differ in the memory gap only. The result is
        B if it is expected or if the name of the file begins with it, as the official `AOTB_PRE_YTB_DAV.pth` does;
        otherwise it is L.
        """
        names = recognise_variants(weights)
        if not names:
            wanted = expected.name if expected else f"one of {', '.join(VARIANTS)}"
            raise InputError(
                f"{path}: weights of an AOT or DeAOT whose encoder, number of layers or channels is none of the known "
                f"ones, expected weights of {wanted}"
            )
        if expected is not None and expected.name not in names:
            raise InputError(f"{path}: holds weights of {' or '.join(names)}, expected {expected.name}")
        first_word = re.split(r"[_.]", path.name.lower())[0]
        return expected or VARIANTS[first_word if first_word in names else names[-1]]

    def title(self, variant: VOSVariant) -> str:
        """See `Family.title`."""
        return variant.name

    def build(self, weights: Mapping[str, Tensor], variant: VOSVariant, **options: Any) -> VOSNetwork:
        """See `Family.build`."""
        return VOSNetwork(variant)

    def finish(self, network: VOSNetwork) -> VOSNetwork:
        """See `Family.finish`."""
        return network.fold()


def family_of(weights: Mapping[str, Tensor]) -> str:
    """The family of networks with LSTT blocks: "deaot" where these are gated propagation modules, else "aot"."""
    return "deaot" if "LSTT.layers.0.linear_QV.weight" in weights else "aot"


def recognise_variants(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the variants that have these weights' encoder, family, layers and channels; L after B."""

    def width(key: str) -> int:
        return next(iter(shape_of(weights, key)), 0)

    encoder = {
        "mobilenetv2": "encoder.features.0.0.weight" in weights,
        "resnet50": "encoder.layer3.5.conv1.weight" in weights and "encoder.layer3.6.conv1.weight" not in weights,
        "resnet101": "encoder.layer3.22.conv1.weight" in weights,
        "swin_base": width("encoder.patch_embed.proj.weight") == 128,
        "swin_large": width("encoder.patch_embed.proj.weight") == 192,
        "resnet_nano": width("encoder.conv1.weight") == 16,
    }
    family = family_of(weights)
    layers = len({k.split(".")[2] for k in weights if k.startswith("LSTT.layers.") and k.count(".") > 2})
    found = family, layers, width("encoder_projector.weight")
    return [v.name for v in VARIANTS.values() if encoder[v.encoder] and (v.family, v.layers, v.embedding) == found]
