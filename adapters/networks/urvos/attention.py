"""The two attentions of URVOS: between words and places (cross-modal), and from a frame to earlier frames (memory).

Source: Seo et al., "URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark",
ECCV 2020, Eq. 2-7 and 8-14; 8-d coordinates after Hu et al., "Segmentation from Natural Language Expressions",
ECCV 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import Size, to_map, to_tokens

HEADS = 8  # of the cross-modal attention, as in the authors' released baseline


def coordinates(size: Size, times: Tensor | None = None, length: int = 1) -> Tensor:
    """Coordinates of the cells of a map: minimum, mean and maximum of x, then y, in -1..1; 1/width, 1/height.

    With `times` also minimum, mean and maximum of t in -1..1 of the clip, and 1/length.

    Args:
        size: (h, w) of the map.
        times: frame indices, float [T].
        length: number of frames of the clip.

    Returns:
        [h * w, 8], or [T, h * w, 12].

    >>> coordinates((1, 2))[1].tolist()
    [0.0, 0.5, 1.0, -1.0, 0.0, 1.0, 0.5, 1.0]
    >>> coordinates((1, 2), torch.tensor([1.0]), 4)[0, 1, 8:].tolist()
    [-0.5, -0.25, 0.0, 0.25]
    """

    def spans(start: Tensor, n: int) -> Tensor:  # [..., 3]
        return torch.stack([start, start + 0.5, start + 1], -1) * 2 / n - 1

    h, w = size
    device = None if times is None else times.device
    y, x = (spans(torch.arange(n, dtype=torch.float32, device=device), n) for n in size)
    steps = torch.tensor([1 / w, 1 / h], device=device)
    cells = torch.cat([x.expand(h, w, 3), y[:, None].expand(h, w, 3), steps.expand(h, w, 2)], 2).flatten(0, 1)
    if times is None:
        return cells
    t = torch.cat([spans(times, length), torch.full_like(times, 1 / length)[:, None]], 1)  # [T, 4]
    return torch.cat([cells.expand(len(t), -1, -1), t[:, None].expand(-1, len(cells), -1)], 2)


class ResidualSelfAttention(nn.Module):
    """Self-attention within one modality, with the values as residual connection."""

    def __init__(self, c_in: int, channels: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(c_in, channels) for _ in range(3))

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """[B, N, c_in] to [B, N, channels]; padding, bool [B, N], is masked."""
        value = self.value(x)
        mask = None if padding is None else ~padding[:, None]
        return F.scaled_dot_product_attention(self.query(x), self.key(x), value, attn_mask=mask) + value


class Pairs(nn.Module):
    """A linear map of [place; word] as the sum of two maps, one of the place and one of the word."""

    def __init__(self, channels: int):
        super().__init__()
        self.place = nn.Linear(channels, channels)
        self.word = nn.Linear(channels, channels, bias=False)


class CrossModalAttention(nn.Module):
    """Self-attention over all pairs of a place and a word, averaged over the words (Eq. 2-7).

    Query, key and value of a pair are linear in [place; word], so each is a sum of one part from the place and one from
    the word. A score is then the sum of a term for the other pair's place and a term for its word, the softmax over
    pairs is the product of a softmax over places and one over words, and the attended value is the sum of two
    expectations. This is exact and takes (L N)(L + N) steps instead of (L N)^2 for L words and N places.

    Args:
        visual: channels of the frame's features, without coordinates.
        words: channels of the words.
        channels: of the attention.
    """

    def __init__(self, visual: int, words: int, channels: int):
        super().__init__()
        self.visual = ResidualSelfAttention(visual + 8, channels)
        self.language = ResidualSelfAttention(words, channels)
        self.query, self.key, self.value, self.residual = (Pairs(channels) for _ in range(4))

    def forward(self, x: Tensor, words: Tensor, padding: Tensor) -> Tensor:
        """Attention for every expression in every frame.

        Args:
            x: map [T, C, h, w].
            words: [E, L, C_l].
            padding: bool [E, L], True after the last word.

        Returns:
            Map [E * T, channels, h, w].
        """
        size = x.shape[-2:]
        place = torch.cat([to_tokens(x), coordinates(size).to(x).expand(len(x), -1, -1)], 2)
        place = self.visual(place)  # [T, N, C]
        word = self.language(words, padding)  # [E, L, C]
        e, t, n, count = len(word), len(place), place.shape[1], word.shape[1]

        def heads(tokens: Tensor) -> Tensor:
            return tokens.unflatten(2, (HEADS, -1)).transpose(1, 2)  # [B, heads, tokens, c]

        def of_places(pairs: Pairs) -> Tensor:
            return heads(pairs.place(place)).repeat(e, 1, 1, 1)  # [E T, heads, N, c]

        def of_words(pairs: Pairs) -> Tensor:
            return heads(pairs.word(word)).repeat_interleave(t, 0)  # [E T, heads, L, c]

        query = (of_words(self.query)[:, :, :, None] + of_places(self.query)[:, :, None]).flatten(2, 3)
        seen = ~padding.repeat_interleave(t, 0)[:, None, None]  # [E T, 1, 1, L]
        mixed = F.scaled_dot_product_attention(query, of_places(self.key), of_places(self.value))
        mixed = mixed + F.scaled_dot_product_attention(query, of_words(self.key), of_words(self.value), attn_mask=seen)
        share = (~padding).float() / (~padding).sum(1, keepdim=True)  # of each word in the mean, [E, L]
        mixed = mixed.unflatten(2, (count, n)).transpose(1, 3).flatten(3)  # [E T, N, L, C]
        mixed = torch.einsum("bnlc,bl->bnc", mixed, share.repeat_interleave(t, 0).to(mixed))
        rest = torch.einsum("elc,el->ec", self.residual.word(word), share.to(word))
        mixed = mixed.unflatten(0, (e, t)) + self.residual.place(place) + rest[:, None, None]
        return to_map(mixed.flatten(0, 1), size)


@dataclass(frozen=True)
class Memory:
    """The remembered frames of E sequences, as tokens.

    Args:
        key: [E, M, K].
        value: [E, M, V].
        padding: bool [E, M], True for padding of shorter memories; None if all have the same length.
    """

    key: Tensor
    value: Tensor
    padding: Tensor | None = None


class MemoryAttention(nn.Module):
    """Attention from the cells of a frame to the cells of remembered frames (Eq. 8-14).

    Keys are computed from features and coordinates in space and time; values by a 3x3 convolution of both and the
    mask.

    Args:
        visual: channels of the frame's features, without coordinates.
        fold: number of cells of the mask along each side of a cell of the features.
        key, value: channels.
        channels: of the result.
    """

    def __init__(self, visual: int, fold: int, key: int, value: int, channels: int):
        super().__init__()
        self.fold = fold
        self.key = nn.Linear(visual + 12, key)
        self.query = nn.Linear(visual + 12, key)
        self.remembered = nn.Conv2d(visual + 12, value, 3, padding=1)
        self.mask = nn.Conv2d(fold * fold, value, 3, padding=1, bias=False)
        self.present = nn.Linear(visual + 12, value)
        self.out = nn.Linear(2 * value, channels)

    def remember(self, x: Tensor, mask: Tensor, times: Tensor, length: int) -> Memory:
        """Encodes frames and their masks as a memory.

        Args:
            x: map [T, C, h, w].
            mask: probabilities [E, T, h * fold, w * fold].
            times, length: see `coordinates`.

        Returns:
            The tokens of all frames, M = T * h * w.
        """
        tokens = self._placed(x, times, length)  # [T, N, C]
        folded = F.pixel_unshuffle(mask.flatten(0, 1)[:, None], self.fold)  # [E T, fold^2, h, w]
        of_mask = to_tokens(self.mask(folded)).unflatten(0, mask.shape[:2])  # [E, T, N, V]
        of_frame = to_tokens(self.remembered(to_map(tokens, x.shape[-2:])))  # [T, N, V], the same for all sequences
        value = (of_frame + of_mask).flatten(1, 2)
        return Memory(self.key(tokens).flatten(0, 1).expand(len(mask), -1, -1), value)

    def forward(self, x: Tensor, memory: Memory, times: Tensor, length: int) -> Tensor:
        """Map [T, C, h, w] to [E * T, channels, h, w], read from the memory of each sequence."""
        e, (t, _, h, w) = len(memory.key), x.shape
        tokens = self._placed(x, times, length)
        query = self.query(tokens).flatten(0, 1).expand(e, -1, -1)  # [E, T N, K]
        mask = None if memory.padding is None else ~memory.padding[:, None]
        recalled = F.scaled_dot_product_attention(query, memory.key, memory.value, attn_mask=mask)
        present = self.present(tokens).flatten(0, 1).expand(e, -1, -1)
        recalled = self.out(torch.cat([recalled, present], 2))
        return to_map(recalled.unflatten(1, (t, h * w)).flatten(0, 1), (h, w))

    def _placed(self, x: Tensor, times: Tensor, length: int) -> Tensor:
        """Map [T, C, h, w] to tokens [T, h * w, C + 12], with coordinates."""
        return torch.cat([to_tokens(x), coordinates(x.shape[-2:], times, length).to(x)], 2)
