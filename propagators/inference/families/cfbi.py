"""The family CFBI: checkpoints of CFBI+ and CFBI, those published included.

Source: Yang, Wei and Yang, CFBI, ECCV 2020, and CFBI+, TPAMI 2021; README.md of https://github.com/z-x-yang/CFBI.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.propagators.networks.cfbi.network import CFBINetwork
from rvos_ensemble.propagators.networks.cfbi.sizes import CFBISizes, sizes_of

ALIASES = "semantic_embedding."  # a second name of four layers of CFBI
DRIVE = "https://drive.google.com/file/d/"


class PublishedCFBI(NamedTuple):
    """One published checkpoint with ResNet-101, as README.md of the official code lists it."""

    network: str
    trained_on: str
    mean: float  # J&F: G on YouTube-VOS 2018 valid, or on DAVIS 2017 valid
    fps: float  # with several objects, on a V100
    link: str


PUBLISHED = (
    PublishedCFBI("CFBI+", "YouTube-VOS", 82.8, 4.03, "1tEg9sy6LYEXQP8QLsagmXpxYc9D3X5Vc"),
    PublishedCFBI("CFBI+", "DAVIS", 83.0, 5.52, "1KkU-Dxew1wI1affTjN1LmTld0kgpUUQH"),
    PublishedCFBI("CFBI", "YouTube-VOS", 81.8, 3.48, "1YKQL8ruEfcDvKPO5Rs3d6HfVXAv08hX6"),
    PublishedCFBI("CFBI", "DAVIS", 81.9, 5.88, "1G6tVaaU4RYKXKKFxqxdE_p8Fwju_0nVE"),
)


class CFBIFamily(Family):
    """CFBI+ and CFBI with ResNet-101."""

    kind = "propagator"
    expects = "a checkpoint of CFBI+ or CFBI with ResNet-101"
    heading = (
        "propagator cfbi: `propagators.aot.propagator=cfbi propagators.aot.weights=FILE`; ResNet-101, official code "
        "BSD-3-Clause, no licence stated for the files",
        f"  {'network':8} {'trained on':12} {'J&F':>5} {'FPS V100':>8}  file",
    )

    def rows(self) -> list[str]:
        """One line per published checkpoint."""
        return [f"  {p.network:8} {p.trained_on:12} {p.mean:5.1f} {p.fps:8.2f}  {DRIVE}{p.link}" for p in PUBLISHED]

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return any(k.startswith("dynamic_seghead.") for k in weights)

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: Any = None) -> CFBISizes:
        """The sizes of the network, which the shapes of the weights show."""
        if any(k.startswith("feature_extracter.backbone.features.") for k in weights):
            raise InputError(f"{path}: CFBI with MobileNetV2, expected {self.expects}")
        sizes = sizes_of(weights)
        widths = sizes.stem, sizes.aspp, sizes.shortcut, sizes.embedding, sizes.head, sizes.refine, *sizes.blocks
        if 0 in widths or sizes.multi_scale == bool(sizes.prehead):
            raise InputError(f"{path}: weights of {sizes.name} without some that say how wide it is, likely cut short")
        return sizes

    def title(self, variant: CFBISizes) -> str:
        """See `Family.title`."""
        if variant.blocks == CFBISizes.blocks:
            return f"{variant.name} with ResNet-101"
        return f"{variant.name} with a ResNet of {variant.blocks} blocks"

    def build(self, weights: Mapping[str, Tensor], variant: CFBISizes, **options: Any) -> CFBINetwork:
        """See `Family.build`."""
        return CFBINetwork(variant)

    def select(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Family.select`."""
        return {k: v for k, v in weights.items() if not k.startswith(ALIASES)}

    def finish(self, network: CFBINetwork) -> CFBINetwork:
        """See `Family.finish`."""
        return network.fold()
