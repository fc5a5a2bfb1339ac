"""Parts of ReferFormer, MUTR and SOC beside the transformer: sizes, features, queries, words, masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.dynamic_masks import Kernels, dynamic_masks
from rvos_ensemble.adapters.networks.fpn import WordFeatures
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.layers import Attention, Size, sine_wave, to_map

STRIDE = 4  # of the masks

Levels = Sequence[tuple[Tensor, Size]]  # tokens [B, h * w, C] of the encoder and their (h, w), at strides 8, 16, 32


@dataclass(frozen=True)
class Geometry:
    """Sizes of a network; the defaults are the same in all published networks.

    Args:
        queries: Q per frame.
        layers: of the decoder.
        encoder_layers: of the encoder.
        mask_channels: of the features from which masks are computed.
        width: C.
        hidden: channels inside the feed-forward parts.
        points: of deformable attention, per level and head.
        temporal: layers of the encoder and of the decoder of the module for queries of the clip.
    """

    queries: int
    layers: int
    encoder_layers: int
    mask_channels: int = 256
    width: int = 256
    hidden: int = 2048
    points: int = 4
    temporal: int = 3


@dataclass(frozen=True)
class ClipFeatures:
    """Text-independent features of a clip: about 20 MB per frame of 360x640 (ReferFormer, MUTR), 7 MB (SOC).

    In training they hold several clips of T frames each, one after the other, so that every tensor has clips * T rows.

    Args:
        tokens: [T, S, C] of the levels at strides 8, 16, 32, 64, concatenated.
        sizes: (h, w) of the levels.
        fine: input of the pixel decoder at stride 4, tokens [T, h4 * w4, C].
        fine_size: (h4, w4).
        size: (h, w) of the frames.
        clips: number of clips.
    """

    tokens: Tensor
    sizes: list[Size]
    fine: Tensor
    fine_size: Size
    size: Size
    clips: int = 1

    def __len__(self) -> int:
        return len(self.tokens) // self.clips

    def rows(self, words: WordFeatures) -> Tensor:
        """The row of each frame under each expression, int64 [E * T].

        Args:
            words: of E expressions, the same number for each clip, clip by clip.
        """
        frames = torch.arange(len(self.tokens), device=self.tokens.device).view(self.clips, -1)
        return frames.repeat_interleave(len(words.states) // self.clips, 0).flatten()


@dataclass(frozen=True)
class QueryOutputs:
    """The queries after the transformer, for E expressions in T frames.

    Args:
        logits: [E, T, Q, classes].
        boxes: [E, T, Q, 4].
        centres: [E, T, Q, 2] in 0..1, relative to which the masks are computed.
        states: [E, T, Q, C], from which the masks' kernels are computed.
    """

    logits: Tensor
    boxes: Tensor
    centres: Tensor
    states: Tensor


class Resizer(nn.Module):
    """Projects states of the language model to the width of the network."""

    def __init__(self, c_in: int, channels: int):
        super().__init__()
        self.fc = nn.Linear(c_in, channels)
        self.layer_norm = nn.LayerNorm(channels, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """[..., c_in] to [..., channels]."""
        return self.layer_norm(self.fc(x))


class WordFusion(nn.Module):
    """Attention from the tokens of a frame to the words; each network uses the result in its own way."""

    def __init__(self, channels: int):
        super().__init__()
        self.multihead_attn = Attention(channels)

    def forward(self, x: Tensor, words: WordFeatures) -> Tensor:
        """Tokens [B, S, C], each row with its own words, to [B, S, C]."""
        return self.multihead_attn(x, words.states + words.position, words.states, words.seen)


def levels_of(tokens: Tensor, features: ClipFeatures) -> Levels:
    """Splits the concatenated tokens [B, S', C] of the encoder into its levels at strides 8, 16, 32."""
    lengths = [h * w for h, w in features.sizes[:3]]
    return list(zip(tokens.split(lengths, 1), features.sizes, strict=False))


def resize_words(text: Text, resizer: Resizer) -> WordFeatures:
    """Expressions through a resizer, with a position embedding of each word."""
    states, valid = resizer(text.states), ~text.padding
    position = valid.cumsum(1) / (valid.sum(1, keepdim=True) + 1e-6) * (2 * math.pi)  # [E, L]
    return WordFeatures(states, sine_wave(position, states.shape[2]), valid[:, None, None], resizer(text.sentence))


def level_maps(levels: Levels, rows: Tensor) -> list[Tensor]:
    """The maps [B, C, h, w] of the frames `rows` [B], one per level."""
    return [to_map(x[rows], size) for x, size in levels]


def masks_of(
    rows: Tensor, features: Tensor, kernels: Kernels, centres: Tensor, conv: nn.Conv2d | None = None
) -> Tensor:
    """Mask logits [B, K, h4, w4] of the frames `rows` [B], from their features [B, C, h4, w4]; see `dynamic_masks`."""
    return dynamic_masks(features, Kernels(*(k[rows] for k in kernels)), centres[rows], STRIDE, conv)
