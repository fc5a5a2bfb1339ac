"""The sizes of CFBI and CFBI+, which follow from the shapes of their weights, and what each compares at each stride."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from rvos_ensemble.adapters.inference.checkpoints.weights import shape_of


@dataclass(frozen=True)
class Level:
    """What is compared at one stride.

    Attributes:
        channels: the number of leading channels of the embedding that are compared.
        radii: of the windows of the previous frame, pixels, ascending.
        stride: of the pixels in a window, and of those of a reference frame unless the user sets another.
        halved: whether the previous frame is compared at half the resolution.
    """

    channels: int
    radii: tuple[int, ...]
    stride: int = 1
    halved: bool = False


@dataclass(frozen=True)
class CFBISizes:
    """The widths of one network; the defaults are those of the published CFBI+.

    Attributes:
        multi_scale: whether it is CFBI+ (three strides) or CFBI (stride 4 only).
        blocks: number of blocks in each stage of the ResNet.
        stem: channels before the first stage.
        aspp: channels of DeepLabV3+.
        shortcut: channels of its shortcut at stride 4.
        embedding: channels of the embeddings.
        head: channels of the ensembler at stride 4.
        refine: channels of the ensembler's shortcut.
        prehead: channels of the matching maps of CFBI after their projection; CFBI+ does not project them.
    """

    multi_scale: bool = True
    blocks: tuple[int, ...] = (3, 4, 23, 3)
    stem: int = 64
    aspp: int = 256
    shortcut: int = 48
    embedding: int = 256
    head: int = 256
    refine: int = 64
    prehead: int = 0

    @property
    def name(self) -> str:
        """The name of the method in its papers."""
        return "CFBI+" if self.multi_scale else "CFBI"

    @property
    def levels(self) -> tuple[Level, ...]:
        """What is compared at strides 4, 8 and 16, or at stride 4 alone."""
        c = self.embedding
        if not self.multi_scale:
            return (Level(c, (2, 4, 6, 8, 10, 12), halved=True),)
        return (
            Level(c // 8, (4, 8, 12, 16, 20, 24), stride=2),
            Level(c // 4, (2, 4, 6, 8, 10, 12)),
            Level(c // 2, (2, 4, 6, 8, 10)),
        )

    @property
    def inputs(self) -> tuple[int, ...]:
        """Channels that the ensembler gets at each level: embeddings of two frames, and the matching maps."""
        return tuple(3 * self.embedding + (self.prehead or matching_maps(level)) for level in self.levels)


def matching_maps(level: Level) -> int:
    """Number of matching maps: global distance and windows, of the object and of the rest, and the previous label."""
    return 2 * (1 + len(level.radii)) + 1


def sizes_of(weights: Mapping[str, Tensor]) -> CFBISizes:
    """The sizes of the network that weights with the official names belong to; 0 where one of them is missing."""

    def width(key: str) -> int:
        return next(iter(shape_of(weights, key)), 0)

    def blocks(stage: int) -> int:
        prefix = f"feature_extracter.backbone.layer{stage}."
        return len({k[len(prefix) :].split(".")[0] for k in weights if k.startswith(prefix)})

    multi_scale = any(k.startswith("fpn.") for k in weights)
    return CFBISizes(
        multi_scale,
        tuple(blocks(stage) for stage in (1, 2, 3, 4)),
        width("feature_extracter.backbone.conv1.weight"),
        width("feature_extracter.aspp.conv1.weight"),
        width("feature_extracter.decoder.conv1.weight"),
        width("fpn.toplayer.0.weight" if multi_scale else "embedding_conv.weight"),
        2 * width("dynamic_seghead.conv2.weight"),
        width("dynamic_seghead.conv_sc.weight"),
        width("dynamic_prehead.conv.weight"),
    )
