"""Pixel decoders: from the encoder's levels and the backbone's map at stride 4 to features per pixel.

Source: Wu et al., "Language as Queries for Referring Video Object Segmentation" (ReferFormer), CVPR 2022: cross-modal
FPN, also in MUTR. Botach et al., "End-to-End Referring Video Object Segmentation with Multimodal Transformers" (MTTR),
CVPR 2022: spatial decoder, as in SOC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.interface import in_steps
from rvos_ensemble.adapters.networks.layers import Attention, FeedForward, Size, sine_map, to_map, to_tokens


@dataclass(frozen=True)
class WordFeatures:
    """E expressions, projected to the width of the network.

    Args:
        states: [E, L, C].
        position: [E, L, C], position embedding of each word.
        seen: bool [E, 1, 1, L], True for words, False for padding.
        sentence: [E, C], embedding of the whole expression.
    """

    states: Tensor
    position: Tensor
    seen: Tensor
    sentence: Tensor

    def __getitem__(self, rows: Tensor) -> WordFeatures:
        return WordFeatures(self.states[rows], self.position[rows], self.seen[rows], self.sentence[rows])


class ConvGN(nn.Conv2d):
    """Convolution without bias, then group normalisation with 8 groups."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(8, c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h, w]."""
        return self.norm(super().forward(x))


class VisionLanguageBlock(FeedForward):
    """Attention among the pixels of all frames, then from the pixels to the words.

    Args:
        channels, hidden: of the tokens and inside the feed-forward part.
        reduction: the attention among pixels runs on a map smaller by this factor.
    """

    def __init__(self, channels: int, hidden: int, reduction: int):
        super().__init__(channels, hidden)
        self.reduction = reduction
        self.self_attn = Attention(channels)
        self.multihead_attn = Attention(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def attend_frames(self, x: Tensor, size: Size, clips: int, step: int | None) -> Tensor:
        """The part without text, which couples the frames of a clip; returns x.

        Args:
            x: tokens [clips * T, h * w, C], changed in place, because at stride 4 they take most of the memory.
            size: (h, w).
            clips: number of clips of T frames each.
            step: frames per pass where they are not coupled; None for all.
        """
        small = (size[0] // self.reduction, size[1] // self.reduction)
        value = to_tokens(F.interpolate(to_map(x, size), small))  # [clips * T, h' * w', C], nearest neighbours
        position = to_map(sine_map(size, x.shape[2], x.device)[None], size)
        query = (value + to_tokens(F.interpolate(position, small))).view(clips, -1, x.shape[2])
        update = self.self_attn(query, query, value.reshape(query.shape)).view(value.shape)
        step = step or len(x)
        for part in (slice(i, i + step) for i in range(0, len(x), step)):
            grown = F.interpolate(to_map(update[part], small), size, mode="bilinear", align_corners=False)
            x[part] = self.norm1(x[part] + to_tokens(grown))
        return x

    def attend_words(self, x: Tensor, size: Size, words: WordFeatures) -> Tensor:
        """The part with text: tokens [B, h * w, C] of frames, each with its own words, to the same."""
        query = x + sine_map(size, x.shape[2], x.device)
        x = self.norm2(x + self.multihead_attn(query, words.states + words.position, words.states, words.seen))
        return self.norm3(x + self.feed_forward(x))


class CrossModalFPN(nn.Module):
    """Top-down over strides 32, 16, 8 and 4, with a `VisionLanguageBlock` at each."""

    def __init__(self, fine_channels: int, channels: int = 256, hidden: int = 2048):
        super().__init__()
        for i, (c, reduction) in enumerate(zip((fine_channels, *[channels] * 3), (8, 4, 2, 1), strict=True), start=1):
            self.add_module(f"adapter_{i}", ConvGN(c, channels, 1))
            self.add_module(f"layer_{i}", ConvGN(channels, channels, 3))
            self.add_module(f"cross_attn_{i}", VisionLanguageBlock(channels, hidden, reduction))
        self.mask_features = nn.Conv2d(channels, channels, 3, padding=1)

    def prepare(self, fine: Tensor, size: Size, step: int | None, clips: int = 1) -> Tensor:
        """The part at stride 4 without text: tokens [clips * T, h * w, C] after the adapter, for `forward`."""
        return self.cross_attn_1.attend_frames(fine, size, clips, step)

    def forward(
        self,
        fine: Tensor,
        rows: Tensor,
        fine_size: Size,
        levels: Sequence[tuple[Tensor, Size]],
        words: WordFeatures,
        step: int | None,
        head: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Applies a head to the features of every frame under every expression.

        Args:
            fine: tokens [rows, h * w, C] from `prepare`.
            rows: int64 [E * T], the row of `fine` for frame t under expression e.
            fine_size: its (h, w).
            levels: tokens [E * T, h * w, C] of the encoder and their sizes, at strides 8, 16, 32.
            words: E expressions.
            step: frames per pass, counted once per expression; None for all.
            head: function of features [B, C, h, w] before `mask_features`, and of the indices e * T + t [B] of their
                frames.
        """
        expressions = len(words.states)
        frames = len(rows) // expressions
        pairs = torch.arange(len(rows), device=fine.device)
        above, above_size = fine.new_zeros(len(pairs), 1, fine.shape[2]), (1, 1)  # zeros above the coarsest level
        for i, (x, size) in zip((4, 3, 2), reversed(levels), strict=True):
            adapter, block = getattr(self, f"adapter_{i}"), getattr(self, f"cross_attn_{i}")
            x = in_steps(lambda x, size=size, adapter=adapter: to_tokens(adapter(to_map(x, size))), step, x)
            x = block.attend_frames(x, size, expressions, step)

            def merge(x: Tensor, above: Tensor, pair: Tensor, i=i, size=size, above_size=above_size) -> Tensor:
                return to_tokens(self._merge(i, x, size, to_map(above, above_size), words[pair // frames]))

            above, above_size = in_steps(merge, step, x, above, pairs), size

        def finish(above: Tensor, pair: Tensor) -> Tensor:
            above = to_map(above, above_size)
            return head(self._merge(1, fine[rows[pair]], fine_size, above, words[pair // frames]), pair)

        return in_steps(finish, step, above, pairs)

    def _merge(self, i: int, x: Tensor, size: Size, above: Tensor, words: WordFeatures) -> Tensor:
        """Level i: tokens x [B, h * w, C] with the words, plus the upsampled map above, to a map [B, C, h, w]."""
        x = to_map(getattr(self, f"cross_attn_{i}").attend_words(x, size, words), size)
        x = x + F.interpolate(above.to(x.dtype), size)
        return getattr(self, f"layer_{i}")(x).relu_()


class SpatialFPN(nn.Module):
    """Top-down over strides 32, 16, 8 and 4, with half the channels at each step, but at least 16."""

    def __init__(self, fine_channels: int, out: int, channels: int = 256):
        super().__init__()
        widths = [channels, *(max(16, channels >> i) for i in range(5))]  # 256, 256, 128, 64, 32, 16
        for i in range(1, 6):
            self.add_module(f"lay{i}", nn.Conv2d(widths[i - 1], widths[i], 3, padding=1))
            self.add_module(f"gn{i}", nn.GroupNorm(8, widths[i]))
        for i, c in enumerate((channels, channels, fine_channels), start=1):
            self.add_module(f"adapter{i}", nn.Conv2d(c, widths[i + 1], 1))
        self.out_lay = nn.Conv2d(widths[5], out, 3, padding=1)

    def forward(self, fine: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """Features per pixel.

        Args:
            fine: stride 4 after `adapter3`, [B, 32, h, w].
            levels: maps at strides 8, 16, 32, [B, 256, h, w].

        Returns:
            [B, out, h, w] at stride 4.
        """
        x8, x16, x32 = levels
        x = self.gn1(self.lay1(x32)).relu_()
        x = self.gn2(self.lay2(x)).relu_()
        for i, lateral in enumerate((self.adapter1(x16), self.adapter2(x8), fine), start=3):
            x = lateral + F.interpolate(x, lateral.shape[-2:])
            x = getattr(self, f"gn{i}")(getattr(self, f"lay{i}")(x)).relu_()
        return self.out_lay(x)
