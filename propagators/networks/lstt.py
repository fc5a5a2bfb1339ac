"""The long short-term transformer of AOT: self-attention, long- and short-term attention, feed-forward.

Source: Yang et al., "Associating Objects with Transformers for Video Object Segmentation", NeurIPS 2021, Sec. 4.2-4.3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.layers import DropPath
from rvos_ensemble.propagators.networks.attention import WINDOW, LocalWindow, Values, attend
from rvos_ensemble.propagators.networks.layers import NormGELUConv
from rvos_ensemble.propagators.networks.memory import ReadableMemory, Tokens


class LSTTQuery(NamedTuple):
    """What a block computes before it reads its memory.

    Q is 1 in the first block, which depends on the image alone, and B in later ones.

    Attributes:
        x: [Q, N, C], the residual stream.
        y: [Q, N, C], the normalised residual stream.
        q: [Q, N, C], the query, which is also the key for later frames.
    """

    x: Tensor
    y: Tensor
    q: Tensor


class LSTTSelfAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, c: int, heads: int):
        super().__init__()
        self.heads = heads
        self.linear_Q = nn.Linear(c, c)
        self.linear_K = nn.Linear(c, c)
        self.linear_V = nn.Linear(c, c)
        self.projection = nn.Linear(c, c)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Tokens [B, N, C] and their position embedding [1, N, C] to tokens [B, N, C]."""
        qk = x + position
        return self.projection(attend(self.linear_Q(qk), self.linear_K(qk), (self.linear_V(x),), self.heads)[0])


class LongTermAttention(nn.Module):
    """Attention to all remembered frames."""

    def __init__(self, c: int, heads: int):
        super().__init__()
        self.heads = heads
        self.projection = nn.Linear(c, c)

    def forward(self, q: Tensor, memory: ReadableMemory) -> Tensor:
        """Queries [1 or B, N, C] to tokens [B, N, C]."""
        (read,) = memory.read(q, self.heads)
        return self.projection(read)


class ShortTermAttention(nn.Module):
    """Attention to the 15x15 window in the previous frame, with learned keys and values per offset."""

    def __init__(self, c: int, heads: int):
        super().__init__()
        self.relative_emb_v = nn.Parameter(torch.zeros(heads, c // heads, WINDOW**2))
        self.relative_emb_k = nn.Conv2d(c, heads * WINDOW**2, 1, groups=heads)
        self.projection = nn.Linear(c, c)

    def forward(self, q: Tensor, memory: Tokens, window: LocalWindow) -> Tensor:
        """Queries [1 or B, N, C] to tokens [B, N, C]."""
        relative_k = self.relative_emb_k.weight.flatten(1), self.relative_emb_k.bias
        (read,) = window.attend(q, memory.key, memory.values, relative_k, self.relative_emb_v)
        return self.projection(read)


class LSTTBlock(nn.Module):
    """One block: `query`, then `forward` with the memories; a reference frame is its own memory."""

    def __init__(self, c: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(c)
        self.self_attn = LSTTSelfAttention(c, heads)
        self.norm2 = nn.LayerNorm(c)
        self.linear_Q = nn.Linear(c, c)
        self.linear_V = nn.Linear(c, c)
        self.long_term_attn = LongTermAttention(c, heads)
        self.short_term_attn = ShortTermAttention(c, heads)
        self.norm3 = nn.LayerNorm(c)
        self.linear1 = nn.Linear(c, 4 * c)
        self.activation = NormGELUConv(4 * c)
        self.linear2 = nn.Linear(4 * c, c)
        self.drop_path = DropPath()

    def query(self, stream: Tensor, position: Tensor, size: tuple[int, int]) -> LSTTQuery:
        """Self-attention and the query.

        Args:
            stream: output of the block before, [Q, N, C].
            position: position embedding, [1, N, C].
            size: (h, w); not used, `GatedPropagationModule.query` has the same arguments.
        """
        x = stream + self.drop_path(self.self_attn(self.norm1(stream), position))
        y = self.norm2(x)
        return LSTTQuery(x, y, self.linear_Q(y))

    def remember(self, query: LSTTQuery, ids: Tensor) -> Tokens:
        """Key and value of this frame for later frames, from its identity embedding [B, N, C]."""
        return Tokens(query.q, (self.linear_V(query.y + ids),))

    def forward(self, query: LSTTQuery, long: ReadableMemory, short: Tokens, window: LocalWindow) -> Tensor:
        """The residual stream [B, N, C] after both attentions and the feed-forward part."""
        x = query.x + self.long_term_attn(query.q, long) + self.short_term_attn(query.q, short, window)
        y = self.activation(self.linear1(self.norm3(x)), (window.h, window.w))
        return x + self.drop_path(self.linear2(y))


class LSTT(nn.Module):
    """All blocks, and the norms of their outputs for the decoder."""

    def __init__(self, c: int, layers: int, heads: int):
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, c))  # only the official training uses it; its files contain it
        self.layers = nn.ModuleList(LSTTBlock(c, heads) for _ in range(layers))
        self.decoder_norms = nn.ModuleList(nn.LayerNorm(c) for _ in range(layers))

    def outputs(self, streams: list[Tensor]) -> Values:
        """The inputs of the decoder: the normalised stream of each block, [B, N, C]."""
        return tuple(norm(x) for norm, x in zip(self.decoder_norms, streams, strict=True))
