"""The object transformer of Cutie: object queries and pixels read each other, blocks after blocks.

Source: sec. 3.2 and 3.3 of the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.layers import Attention, FeedForward, to_map, to_tokens
from rvos_ensemble.propagators.networks.cutie.blocks import ChannelAttentionBlock
from rvos_ensemble.propagators.networks.cutie.position import PixelPosition
from rvos_ensemble.propagators.networks.cutie.sizes import CutieSizes


class CrossAttention(nn.Module):
    """Attention with residual; the residual is the normalised input."""

    def __init__(self, channels: int, norm: bool):
        super().__init__()
        self.cross_attn = Attention(channels)
        self.norm = nn.LayerNorm(channels) if norm else nn.Identity()

    def forward(self, x: Tensor, place: Tensor, memory: Tensor, memory_place: Tensor, mask: Tensor | None = None):
        """x [B, N, E] reads memory [B, M, E]; both have position embeddings; mask as in `Attention`."""
        x = self.norm(x)
        return x + self.cross_attn(x + place, memory + memory_place, memory, mask)


class SelfAttention(nn.Module):
    """Self-attention with residual; the residual is the normalised input."""

    def __init__(self, channels: int):
        super().__init__()
        self.self_attn = Attention(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, place: Tensor) -> Tensor:
        """x [B, N, E] with position embeddings to the same."""
        x = self.norm(x)
        return x + self.self_attn(x + place, x + place, x)


class QueryFeedForward(FeedForward):
    """The feed-forward layer of the queries, normalised before."""

    def __init__(self, channels: int, hidden: int):
        super().__init__(channels, hidden)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, Q, E] to the same."""
        return x + self.feed_forward(self.norm(x))


class PixelFeedForward(nn.Module):
    """The feed-forward layer of the pixels, with convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = ChannelAttentionBlock(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, E, h, w] to the same."""
        return self.conv(x)


class ObjectTransformerBlock(nn.Module):
    """Queries read pixels and each other, then pixels read queries."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.read_from_pixel = CrossAttention(channels, norm=True)
        self.self_attn = SelfAttention(channels)
        self.ffn = QueryFeedForward(channels, hidden)
        self.read_from_query = CrossAttention(channels, norm=False)
        self.pixel_ffn = PixelFeedForward(channels)

    def forward(
        self, queries: Tensor, place: Tensor, pixels: Tensor, pixel_place: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both after the block.

        Args:
            queries, place: object queries and their embeddings, [B, Q, E].
            pixels: [B, E, h, w].
            pixel_place: their embeddings, [B, N, E].
            mask: the pixels that each query may read, bool [B, 1, Q, N].
        """
        tokens = to_tokens(pixels)
        queries = self.read_from_pixel(queries, place, tokens, pixel_place, mask)
        queries = self.ffn(self.self_attn(queries, place))
        tokens = self.read_from_query(tokens, pixel_place, queries, place)
        return queries, self.pixel_ffn(to_map(tokens, tuple(pixels.shape[-2:])))


class ObjectTransformer(nn.Module):
    """Enriches pixel readouts with the object memory."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        e, q = sizes.embed, sizes.queries
        self.query_init, self.query_emb = nn.Embedding(q, e), nn.Embedding(q, e)
        self.summary_to_query_init, self.summary_to_query_emb = nn.Linear(e, e), nn.Linear(e, e)
        self.pixel_init_proj, self.pixel_emb_proj = nn.Conv2d(e, e, 1), nn.Conv2d(e, e, 1)
        self.spatial_pe = PixelPosition(e)
        self.blocks = nn.ModuleList(ObjectTransformerBlock(e, sizes.feed_forward) for _ in range(sizes.layers))
        # the last one is only used in training
        self.mask_pred = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Conv2d(e, 1, 1)) for _ in range(sizes.layers + 1))

    def forward(self, pixels: Tensor, summaries: Tensor) -> Tensor:
        """Pixel readouts [B, E, h, w] and object memory [B, Q, E + 1] to object readouts [B, E, h, w]."""
        objects = summaries[..., :-1] / (summaries[..., -1:] + 1e-4)  # [B, Q, E]
        queries = self.query_init.weight + self.summary_to_query_init(objects)
        place = self.query_emb.weight + self.summary_to_query_emb(objects)
        pixel_place = to_tokens(self.pixel_emb_proj(pixels)) + self.spatial_pe(tuple(pixels.shape[-2:]))
        pixels = self.pixel_init_proj(pixels)
        for block, predict in zip(self.blocks, self.mask_pred[:-1], strict=True):
            mask = readable(predict(pixels), queries.shape[1])
            queries, pixels = block(queries, place, pixels, pixel_place, mask)
        return pixels


def readable(logits: Tensor, queries: int) -> Tensor:
    """The pixels that each query may read: the first half those of the object, the second those of the background.

    A query that could read nothing reads everything.

    Args:
        logits: of the object, [B, 1, h, w].
        queries: their number.

    Returns:
        bool [B, 1, queries, h * w].
    """
    p = logits.float().sigmoid().flatten(1)
    inside = p >= 1 - p  # [B, N]
    both = torch.stack([inside, ~inside], 1)  # [B, 2, N]
    both = both | ~both.any(2, keepdim=True)
    return both.repeat_interleave(queries // 2, 1)[:, None]
