"""The family Cutie: its checkpoints, those published included.

Source: Cheng et al., "Putting the Object Back into Video Object Segmentation", CVPR 2024, table 1; the files of release
v1.0 of https://github.com/hkchengrex/Cutie.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from rvos_ensemble.adapters.inference.checkpoints.family import Family
from rvos_ensemble.adapters.inference.checkpoints.weights import shape_of
from rvos_ensemble.propagators.networks.cutie.network import Cutie
from rvos_ensemble.propagators.networks.cutie.sizes import BASE, SMALL, STAGES, CutieSizes

RELEASE = "https://github.com/hkchengrex/Cutie/releases/tag/v1.0"


class PublishedCutie(NamedTuple):
    """One published checkpoint, with those figures of the paper that could be looked up; None where none could.

    Attributes:
        file: its name.
        parameters: millions, those of inference.
        training: data beside images, DAVIS and YouTube-VOS.
        mose, davis: J&F on MOSE valid and DAVIS 2017 valid.
        ytvos: G on YouTube-VOS 2019 valid.
        fps: measured by the authors on a V100.
    """

    file: str
    parameters: float
    training: str
    mose: float | None
    davis: float | None
    ytvos: float | None
    fps: float


PUBLISHED = (
    PublishedCutie("cutie-small-nomose.pth", 28.7, "none", 62.2, 87.2, 86.2, 45.5),
    PublishedCutie("cutie-small-wmose.pth", 28.7, "MOSE", None, None, None, 45.5),
    PublishedCutie("cutie-small-mega.pth", 28.7, "MOSE, OVIS, BURST", None, None, None, 45.5),
    PublishedCutie("cutie-base-nomose.pth", 35.0, "none", 64.0, 88.8, 86.1, 36.4),
    PublishedCutie("cutie-base-wmose.pth", 35.0, "MOSE", 68.3, 88.8, 86.5, 36.4),
    PublishedCutie("cutie-base-mega.pth", 35.0, "MOSE, OVIS, BURST", None, None, None, 36.4),
)


class CutieFamily(Family):
    """Cutie base and small, and networks of the same kind with other sizes."""

    kind = "propagator"
    expects = "a checkpoint of Cutie"
    heading = (
        f"propagator cutie: `propagators.aot.propagator=cutie propagators.aot.weights=FILE`; files (MIT) at {RELEASE}",
        f"  {'file':23} {'M params':>8} {'further data':18} {'MOSE J&F':>8} {'DAVIS17 J&F':>11} {'G YTB19':>8}"
        f" {'FPS V100':>8}",
    )

    def rows(self) -> list[str]:
        """One line per published file."""
        return [
            f"  {p.file:23} {p.parameters:8.1f} {p.training:18} {_shown(p.mose):>8} {_shown(p.davis):>11}"
            f" {_shown(p.ytvos):>8} {p.fps:8.1f}"
            for p in PUBLISHED
        ]

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """See `Family.recognises`."""
        return "pixel_fuser.sensory_compress.weight" in weights and "key_proj.key_proj.weight" in weights

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: CutieSizes | None = None) -> CutieSizes:
        """The sizes of the network."""
        return sizes_of(weights)

    def title(self, variant: CutieSizes) -> str:
        """See `Family.title`."""
        return {BASE: "cutie base", SMALL: "cutie small"}.get(variant, "cutie of sizes of its own")

    def select(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Family.select`; the auxiliary predictor is only used in training."""
        return {k: v for k, v in weights.items() if not k.startswith("aux_computer.")}

    def derives(self, name: str) -> bool:
        """See `Family.derives`."""
        return name.endswith("inv_freq")

    def build(self, weights: Mapping[str, Tensor], variant: CutieSizes) -> Cutie:
        """See `Family.build`."""
        return Cutie(variant)

    def finish(self, network: Cutie) -> Cutie:
        """See `Family.finish`."""
        return network.requires_grad_(False).fold()


def sizes_of(weights: Mapping[str, Tensor]) -> CutieSizes:
    """The sizes of the network that these weights belong to; 0 where a weight that states one is missing."""

    def rows(key: str) -> int:
        return next(iter(shape_of(weights, f"{key}.weight")), 0)

    def count(prefix: str) -> int:
        place = prefix.count(".") + 1
        return len({k.split(".")[place] for k in weights if k.startswith(f"{prefix}.")})

    return CutieSizes(
        bottleneck="pixel_encoder.res2.0.conv3.weight" in weights,
        blocks=tuple(count(f"pixel_encoder.{stage}") for stage in STAGES),
        stem=rows("pixel_encoder.conv1"),
        mask_blocks=tuple(count(f"mask_encoder.layer{i}") for i in (1, 2, 3)),
        mask_stem=rows("mask_encoder.conv1"),
        pixel=rows("pix_feat_proj"),
        key=rows("key_proj.key_proj"),
        value=rows("mask_encoder.fuser.distributor.g_transform"),
        sensory=rows("mask_encoder.sensory_update.transform") // 3,
        embed=rows("pixel_fuser.fuser.distributor.g_transform"),
        feed_forward=rows("object_transformer.blocks.0.ffn.linear1"),
        layers=count("object_transformer.blocks"),
        queries=rows("object_transformer.query_init"),
        up=(rows("mask_decoder.up_16_8.out_conv.conv1"), rows("mask_decoder.up_8_4.out_conv.conv1")),
    )


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f}"
