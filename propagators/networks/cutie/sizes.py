"""The sizes of Cutie's networks."""

from __future__ import annotations

from dataclasses import dataclass

STAGES = ("res2", "layer2", "layer3")  # of the pixel encoder; those of the mask encoder are layer1 to layer3


@dataclass(frozen=True)
class CutieSizes:
    """Channels and depths; the defaults are those of both published networks, which differ in the first two.

    Attributes:
        bottleneck: whether the blocks of the pixel encoder are those of ResNet-50.
        blocks: of the pixel encoder per stage.
        stem: channels before the first stage of the pixel encoder.
        mask_blocks, mask_stem: the same of the mask encoder, a ResNet-18.
        pixel: channels of the projected features of a frame.
        key: channels of keys.
        value: channels of the pixel memory.
        sensory: channels of the sensory memory.
        embed: channels of the object transformer.
        feed_forward: hidden channels of its feed-forward layers.
        layers: number of its blocks.
        queries: number of object queries; half of them see the object, the other half the background.
        up: channels of the decoder at strides 8 and 4.
    """

    bottleneck: bool
    blocks: tuple[int, ...]
    stem: int = 64
    mask_blocks: tuple[int, ...] = (2, 2, 2)
    mask_stem: int = 64
    pixel: int = 256
    key: int = 64
    value: int = 256
    sensory: int = 256
    embed: int = 256
    feed_forward: int = 2048
    layers: int = 3
    queries: int = 16
    up: tuple[int, int] = (128, 128)


BASE = CutieSizes(True, (3, 4, 6))
SMALL = CutieSizes(False, (2, 2, 2))
