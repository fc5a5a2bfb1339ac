"""The variants of AOT and DeAOT: a few settings each."""

from __future__ import annotations

from dataclasses import dataclass

from rvos_ensemble.adapters.core.errors import InputError

ENCODER_CHANNELS = {  # of the maps at strides 4, 8, 16 and, for the transformer, 16
    "mobilenetv2": (24, 32, 96, 1280),
    "resnet50": (256, 512, 1024, 1024),
    "resnet101": (256, 512, 1024, 1024),
    "swin_base": (128, 256, 512, 512),
    "swin_large": (192, 384, 768, 768),
    "resnet_nano": (24, 48, 96, 96),
}


@dataclass(frozen=True)
class VOSVariant:
    """One variant of AOT or DeAOT.

    Attributes:
        name: lower case, as in the official configuration files.
        family: "aot" (LSTT blocks) or "deaot" (gated propagation modules).
        encoder: a key of `ENCODER_CHANNELS`.
        layers: number of transformer blocks.
        memory_gap: frames between two long-term memories at test time; None keeps the reference frames only.
        embedding: channels of the transformer.
        heads: number of heads of AOT's attention.
        max_long_edge: the longer side of the input at test time, pixels.
        crop: (H, W) of the training images.
    """

    name: str
    family: str
    encoder: str
    layers: int
    memory_gap: int | None
    embedding: int = 256
    heads: int = 8
    max_long_edge: int = 1040  # 800 * 1.3
    crop: tuple[int, int] = (465, 465)

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the encoder's four maps."""
        return ENCODER_CHANNELS[self.encoder]

    @property
    def small(self) -> bool:
        """Whether the variant is one of ours, which train without frozen layers' and blocks' regularisation."""
        return self.embedding < 256

    @property
    def align_corners(self) -> bool:
        """Whether maps are resized with aligned corners: the sides of inputs are then 16 n + 1, otherwise 16 n."""
        return not self.encoder.startswith("swin")


VARIANTS = {
    v.name: v
    for v in (
        VOSVariant("aott", "aot", "mobilenetv2", 1, None),
        VOSVariant("aots", "aot", "mobilenetv2", 2, None),
        VOSVariant("aotb", "aot", "mobilenetv2", 3, None),
        VOSVariant("aotl", "aot", "mobilenetv2", 3, 5),
        VOSVariant("r50_aotl", "aot", "resnet50", 3, 5),
        VOSVariant("r101_aotl", "aot", "resnet101", 3, 5),
        VOSVariant("swinb_aotl", "aot", "swin_base", 3, 5, crop=(464, 464)),
        VOSVariant(
            "swinl_aotl", "aot", "swin_large", 3, 5, crop=(464, 464)
        ),  # LSVOS 2023 winners; not in the official code
        VOSVariant("deaott", "deaot", "mobilenetv2", 1, None),
        VOSVariant("deaots", "deaot", "mobilenetv2", 2, None),
        VOSVariant("deaotb", "deaot", "mobilenetv2", 3, None),
        VOSVariant("deaotl", "deaot", "mobilenetv2", 3, 5),
        VOSVariant("r50_deaotl", "deaot", "resnet50", 3, 5),
        VOSVariant("swinb_deaotl", "deaot", "swin_base", 3, 5, crop=(464, 464)),
        VOSVariant(
            "swinl_deaotl", "deaot", "swin_large", 3, 5, crop=(464, 464)
        ),  # LSVOS 2023 winners; not in the official code
        VOSVariant("aot_nano", "aot", "resnet_nano", 2, 5, 64, 2, 640, (129, 193)),  # ours, see docs/training.md
        VOSVariant("deaot_nano", "deaot", "resnet_nano", 2, 5, 64, 1, 640, (129, 193)),
        VOSVariant("aot_real", "aot", "mobilenetv2", 2, 5, 64, 2, 640, (145, 225)),  # ours, for real video
        VOSVariant("deaot_real", "deaot", "mobilenetv2", 2, 5, 64, 1, 640, (145, 225)),
    )
}


def find_variant(name: str, family: str | None = None) -> VOSVariant:
    """The variant with a name, in any spelling of the papers.

    >>> find_variant("R50-DeAOTL").name
    'r50_deaotl'

    Raises:
        InputError: no variant (of the family) has that name; the message lists all names.
    """
    key = str(name).lower().replace("-", "_")
    names = [v.name for v in VARIANTS.values() if family in (None, v.family)]
    if key not in names:
        raise InputError(f"no {(family or 'aot').upper()} variant is called {name!r}. Valid: {', '.join(names)}")
    return VARIANTS[key]
